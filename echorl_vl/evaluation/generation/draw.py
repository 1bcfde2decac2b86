"""Sample missing responses. The batches are the same in every run of a command, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.generation.base import Generator, Request, Response, seed_of
from echorl_vl.evaluation.generation.store import ResponseStore
from echorl_vl.evaluation.settings import Sampling
from echorl_vl.types import Problem


def measure(generator: Generator, questions: Sequence[Question], source: str, sampling: Sampling) -> list[int]:
    """Return the length of each prompt in tokens, and check all prompts before the first response.

    Raises:
        UserError: a problem is invalid, or prompt and response may exceed the model's context.
    """
    lengths = generator.lengths(_Problems(questions, source))
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if generator.context is not None and generator.context - lengths[longest] < sampling.max_tokens:
        room = max(generator.context - lengths[longest], 0)
        raise UserError(
            f"{source}, row {longest} (id {questions[longest].uid}): the prompt takes {lengths[longest]} of the "
            f"{generator.context} tokens of the model's context; expected --max-tokens of at most {room}, got "
            f"{sampling.max_tokens}"
        )
    return lengths


def draw(
    generator: Generator,
    benchmark: str,
    questions: Sequence[Question],
    source: str,
    sampling: Sampling,
    lengths: Sequence[int],
    store: ResponseStore,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Sample the responses that `store` does not have yet and append them question by question.

    All questions are divided into batches, longest prompt first, whether or not they are done: floating-point results
    depend on the other rows of a batch, so an interrupted batch has to be computed again with the same rows.

    Args:
        generator: the model.
        benchmark: name of the benchmark, a part of the seeds.
        questions: all questions.
        source: name of the data file, for messages.
        sampling: sampling parameters.
        lengths: length of each prompt, from `measure`.
        store: the responses.
        progress: called with the number of finished questions.
    """
    problems = _Problems(questions, source)
    order = sorted(range(len(questions)), key=lambda index: (-lengths[index], index))
    per_batch = max(1, generator.batch_size // sampling.samples)
    progress(len(store.responses))
    for start in range(0, len(order), per_batch):
        batch = [(index, questions[index].uid) for index in order[start : start + per_batch]]
        if all(uid in store.responses for _, uid in batch):
            continue
        requests = [
            Request(problem, seed_of(sampling.seed, benchmark, uid, sample))
            for problem, uid in [(problems[index], uid) for index, uid in batch]
            for sample in range(sampling.samples)
        ]
        responses: list[Response] = []
        for first in range(0, len(requests), generator.batch_size):
            responses += generator.generate(requests[first : first + generator.batch_size], sampling)
        for place, (_, uid) in enumerate(batch):
            if uid not in store.responses:
                store.append(uid, responses[place * sampling.samples : (place + 1) * sampling.samples])
                progress(len(store.responses))


class _Problems(Sequence[Problem]):
    """The questions as problems, read on access: the images of thousands of questions don't fit in memory."""

    def __init__(self, questions: Sequence[Question], source: str) -> None:
        self._questions, self._source = questions, source

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._questions[index].problem(f"{self._source}:{index}")
