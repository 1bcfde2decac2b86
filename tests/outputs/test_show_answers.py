"""What `echorl show` says about the answer of a rollout."""

from __future__ import annotations

import pytest

from echorl_vl.errors import UserError
from echorl_vl.outputs.show import _answers, find_file


@pytest.mark.parametrize(
    ("response", "verified", "line"),
    [
        (r"so \boxed{5 cm}", True, "answer: 5 cm (the quantity '5 cm' equals the number '5')"),
        (r"so \boxed{6}", False, "answer: 6 (6 is not 5)"),
        (r"so \boxed{6}", True, "answer: 6 (6 is not 5; the reward function says otherwise)"),
        ("so it is", False, "no answer"),
        ("so \\boxed{\x1b[31m6}", None, r"answer: \x1b[31m6 (expected the number '5', got the text '\x1b[31 m6')"),
    ],
)
def test_the_answer_and_why_it_is_correct_or_not(response, verified, line):
    row = {"response": response, "answer": "5", "verified": verified, "truncated": False}
    assert _answers(row).plain.splitlines() == ["ground truth: 5", line]


def test_a_rollout_without_a_ground_truth():
    assert _answers({"response": "5", "answer": "", "verified": None, "truncated": False}).plain == "ground truth: "


def test_a_folder_that_does_not_exist_gets_a_suggestion(tmp_path, monkeypatch):
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"tiny: no such file or folder; did you mean runs/tiny\?"):
        find_file("tiny")
    with pytest.raises(UserError, match=r"other: no such file or folder$"):
        find_file("other")
