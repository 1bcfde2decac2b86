"""Draw what is missing, in batches by length: the same ones in every run of a command, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.generation.base import Generator, Request, Response, seed_of
from echorl_vl.evaluation.generation.store import ResponseStore
from echorl_vl.evaluation.settings import Sampling
from echorl_vl.types import Problem


def measure(generator: Generator, questions: Sequence[Question], source: str, sampling: Sampling) -> list[int]:
    """Tokens of each question's prompt.

    Raises UserError for a prompt that can't be made, or that leaves no room for `sampling.max_tokens` in the model's
    context: before anything is drawn, and not after hours.
    """
    lengths = generator.lengths(_Problems(questions, source))
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if generator.context is not None and generator.context - lengths[longest] < sampling.max_tokens:
        room = max(generator.context - lengths[longest], 0)
        raise UserError(
            f"{source}, row {longest} (id {questions[longest].uid}): the prompt has {lengths[longest]} tokens and the "
            f"model's context {generator.context}: room for {room}, and --max-tokens is {sampling.max_tokens}"
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
    """Draws the responses to the questions that `store` does not have, and appends them question by question.

    Batches are cut from all questions, longest prompt first, not from those that are left: a row's floats depend on the
    rows beside it, so a batch that was cut off is computed again as it was. `lengths` are the prompts', as `measure`
    gives them; `progress` is called with the number of questions done.
    """
    problems = _Problems(questions, source)
    order = sorted(range(len(questions)), key=lambda index: (-lengths[index], index))
    together = max(1, generator.batch_size // sampling.samples)
    progress(len(store.responses))
    for start in range(0, len(order), together):
        batch = [(index, questions[index].uid) for index in order[start : start + together]]
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
    """The questions as problems, read when asked for: pictures of thousands of questions do not fit in memory."""

    def __init__(self, questions: Sequence[Question], source: str) -> None:
        self._questions, self._source = questions, source

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._questions[index].problem(f"{self._source}:{index}")
