"""Responses on disk survive a kill at any moment, and a resumed run samples the same responses."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Question
from echorl_vl.evaluation.generation.base import Response
from echorl_vl.evaluation.generation.draw import draw, measure
from echorl_vl.evaluation.generation.store import ResponseStore
from echorl_vl.evaluation.settings import Sampling, check_same
from echorl_vl.types import Problem

QUESTIONS = [Question(f"q{index}", "?" * (index * 7 % 5 + 1), "1") for index in range(11)]
SAMPLING = Sampling(samples=2, temperature=1.0, max_tokens=8)


class Killed(BaseException):
    """Stops a run in these tests."""


@dataclass
class Recorder:
    """A generator whose responses depend on their seed and on the rest of the batch, as rounding errors do."""

    batch_size: int = 5
    context: int | None = 100
    calls: list[tuple[str, ...]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def lengths(self, problems):
        return [len(problem.question) for problem in problems]

    def generate(self, requests, sampling):
        self.calls.append(tuple(request.problem.uid for request in requests))
        self.problems += [request.problem for request in requests]
        neighbours = sum(request.seed for request in requests)
        return [Response(f"{request.seed} of {neighbours}", 1, False) for request in requests]


class Stopping(ResponseStore):
    """A store that is killed after writing `left` questions."""

    left = 0

    def append(self, uid, responses):
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().append(uid, responses)


def resume(generator, store, questions=QUESTIONS, sampling=SAMPLING) -> None:
    draw(generator, "bench", questions, "file", sampling, measure(generator, questions, "file", sampling), store)


def responses_of(path, generator=None) -> dict[str, list[Response]]:
    store = ResponseStore(path)
    resume(generator or Recorder(), store)
    return store.responses


@pytest.mark.parametrize("after", range(11))
def test_a_run_killed_at_any_question_resumes(tmp_path, after):
    whole = responses_of(tmp_path / "whole.jsonl")
    assert set(whole) == {question.uid for question in QUESTIONS} and all(len(row) == 2 for row in whole.values())
    stopping = Stopping(tmp_path / "killed.jsonl")
    stopping.left = after
    with pytest.raises(Killed):
        resume(Recorder(), stopping)
    assert len(ResponseStore(tmp_path / "killed.jsonl").responses) == after
    assert responses_of(tmp_path / "killed.jsonl") == whole
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_batches_are_sorted_by_length_and_finished_ones_are_skipped(tmp_path):
    generator = Recorder()
    responses_of(tmp_path / "r.jsonl", generator)
    rows = [[len(QUESTIONS[int(uid.rpartition(":")[2])].text) for uid in call] for call in generator.calls]
    flat = [length for row in rows for length in row]
    assert flat == sorted(flat, reverse=True) and max(map(len, rows)) <= generator.batch_size
    again = Recorder()
    responses_of(tmp_path / "r.jsonl", again)
    assert again.calls == []


def test_more_samples_than_the_batch_size(tmp_path):
    generator = Recorder(batch_size=3)
    store = ResponseStore(tmp_path / "r.jsonl")
    resume(generator, store, QUESTIONS[:2], Sampling(samples=7, temperature=1.0, max_tokens=8))
    assert [len(call) for call in generator.calls] == [3, 3, 1, 3, 3, 1]
    assert all(len(row) == 7 for row in store.responses.values())
    # All responses share one problem, whose images are read and encoded once.
    assert len({id(problem) for problem in generator.problems}) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_an_incomplete_line_is_sampled_again(tmp_path, cut):
    path = tmp_path / "r.jsonl"
    whole = responses_of(path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert len(ResponseStore(path).responses) == len(QUESTIONS) - 1
    assert path.read_bytes().endswith(b"\n")
    assert responses_of(path) == whole and path.read_bytes() == content


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    responses_of(path)
    lines = path.read_bytes().split(b"\n")
    lines[3] = b'{"uid": "q1", "responses": [{"text": 3'
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"r\.jsonl, line 4: expected the responses to a question"):
        ResponseStore(path)


def test_newlines_and_special_characters_survive_on_disk(tmp_path):
    store = ResponseStore(tmp_path / "r.jsonl")
    responses = [Response("a\nb\u2028c\r\nπ \\boxed{5}", 9, False), Response("", 0, True)]
    store.append("q", responses)
    assert ResponseStore(tmp_path / "r.jsonl").responses == {"q": responses}


def test_a_prompt_without_room_for_the_response_is_named():
    message = r"file, row 2 \(id q2\): the prompt takes 5 of the 12 tokens .* --max-tokens of at most 7, got 8"
    with pytest.raises(UserError, match=message):
        measure(Recorder(context=12), QUESTIONS, "file", SAMPLING)


def test_other_settings_are_refused(tmp_path):
    check_same({"seed": 1, "a": None}, {"seed": 1, "a": None}, tmp_path)
    with pytest.raises(UserError, match="seed: 1 there, 2 now"):
        check_same({"seed": 1}, {"seed": 2}, tmp_path)
    with pytest.raises(UserError, match=r"torch_version: None there, '2\.6' now"):
        check_same({}, {"torch_version": "2.6"}, tmp_path)
