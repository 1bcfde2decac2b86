"""Responses on disk survive a kill at any moment, and what is drawn after it is what would have been drawn."""

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
    """What stops a run in these tests."""


@dataclass
class Recorder:
    """A generator whose responses name their seed and whatever stood in the batch, as floats of a real one do."""

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
    """Is killed when it has written `left` questions."""

    left = 0

    def append(self, uid, responses):
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().append(uid, responses)


def go_on(generator, store, questions=QUESTIONS, sampling=SAMPLING) -> None:
    draw(generator, "bench", questions, "file", sampling, measure(generator, questions, "file", sampling), store)


def drawn(path, generator=None) -> dict[str, list[Response]]:
    store = ResponseStore(path)
    go_on(generator or Recorder(), store)
    return store.responses


@pytest.mark.parametrize("after", range(11))
def test_killed_at_any_question_and_gone_on_with(tmp_path, after):
    whole = drawn(tmp_path / "whole.jsonl")
    assert set(whole) == {question.uid for question in QUESTIONS} and all(len(row) == 2 for row in whole.values())
    stopping = Stopping(tmp_path / "killed.jsonl")
    stopping.left = after
    with pytest.raises(Killed):
        go_on(Recorder(), stopping)
    assert len(ResponseStore(tmp_path / "killed.jsonl").responses) == after
    assert drawn(tmp_path / "killed.jsonl") == whole
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_batches_are_of_one_length_longest_first_and_done_ones_are_not_drawn_again(tmp_path):
    generator = Recorder()
    drawn(tmp_path / "r.jsonl", generator)
    rows = [[len(QUESTIONS[int(uid.rpartition(":")[2])].text) for uid in call] for call in generator.calls]
    flat = [length for row in rows for length in row]
    assert flat == sorted(flat, reverse=True) and max(map(len, rows)) <= generator.batch_size
    again = Recorder()
    drawn(tmp_path / "r.jsonl", again)
    assert again.calls == []


def test_more_samples_than_a_batch_holds(tmp_path):
    generator = Recorder(batch_size=3)
    store = ResponseStore(tmp_path / "r.jsonl")
    go_on(generator, store, QUESTIONS[:2], Sampling(samples=7, temperature=1.0, max_tokens=8))
    assert [len(call) for call in generator.calls] == [3, 3, 1, 3, 3, 1]
    assert all(len(row) == 7 for row in store.responses.values())
    # One problem for all of its responses: its pictures are read and encoded once.
    assert len({id(problem) for problem in generator.problems}) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_cut_off_is_drawn_again(tmp_path, cut):
    path = tmp_path / "r.jsonl"
    whole = drawn(path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert len(ResponseStore(path).responses) == len(QUESTIONS) - 1
    assert path.read_bytes().endswith(b"\n")
    assert drawn(path) == whole and path.read_bytes() == content


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    drawn(path)
    lines = path.read_bytes().split(b"\n")
    lines[3] = b'{"uid": "q1", "responses": [{"text": 3'
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"r\.jsonl, line 4: not the responses to a question"):
        ResponseStore(path)


def test_texts_with_newlines_and_other_characters_come_back(tmp_path):
    store = ResponseStore(tmp_path / "r.jsonl")
    responses = [Response("a\nb\u2028c\r\nπ \\boxed{5}", 9, False), Response("", 0, True)]
    store.append("q", responses)
    assert ResponseStore(tmp_path / "r.jsonl").responses == {"q": responses}


def test_a_prompt_without_room_for_the_response_is_named():
    with pytest.raises(
        UserError, match=r"file, row 2 \(id q2\): the prompt has 5 tokens .* 12: room for 7, and --max-tok"
    ):
        measure(Recorder(context=12), QUESTIONS, "file", SAMPLING)


def test_other_settings_do_not_mix(tmp_path):
    check_same({"seed": 1, "a": None}, {"seed": 1, "a": None}, tmp_path)
    with pytest.raises(UserError, match="seed: 1 there, 2 now"):
        check_same({"seed": 1}, {"seed": 2}, tmp_path)
    with pytest.raises(UserError, match=r"torch_version: None there, '2\.6' now"):
        check_same({}, {"torch_version": "2.6"}, tmp_path)
