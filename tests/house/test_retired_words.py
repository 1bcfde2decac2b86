"""Retired words don't come back. Each is listed with its replacement, for prose and for names in Python code."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT_FILES = {".py", ".md", ".yaml", ".yml", ".toml", ".html", ".css", ".js", ".jinja", ".ipynb", ".cff"}

ANSWERS = r"(?:answers?|responses?|rollouts?|solutions?|choices?|letters?|ones?)"
PHRASES = {
    r"rehears\w*": "CPU dry run",
    r"embedded engine": "local engine",
    r"build_parts": "build_context",
    r"assess(?:ed|es|ing|ment)?": "compute_advantages, TrainBatch",
    r"own[ _](?:policy|rows|tokens)": "on-policy rows, on_policy_tokens",
    r"expert'?s?[ _](?:traces?|rows?|answers?)": "demonstrations, off-policy rows",
    r"echo_only|silent rows?": "aux_only",
    r"has_both_kinds": "has_positive_and_negative",
    r"kept_rows": "select_rows",
    r"prompt_of|of_prompt": "prompt_index",
    r"AskedPrompts?": "PromptRecord",
    r"RewardTap": "RewardRecorder",
    r"rebound": "patched",
    r"held[- ]out": "validation",
    r"(?:go|goes|went|going|gone) on from": "resumes from",
    r"what came of": "summary",
    r"wanted [^.;\n]{1,60}, (?:found|got)": "expected X, got Y",
    rf"(?:right|wrong) {ANSWERS}": "correct, incorrect",
    rf"{ANSWERS} (?:is|are|was|were) (?:right|wrong)": "correct, incorrect",
    r"(?:drawn|draw|draws) (?:rollouts?|responses?|answers?|tokens?)": "sampled",
    r"(?:rollouts?|responses?|answers?|tokens?) (?:is|are|was|were) drawn": "sampled",
    r"not better [0-9]": "P(B <= A) =",
    r"least sure of": "highest entropy",
}
NAMES = {
    "picture": "image",
    "pictures": "images",
    "wrong": "incorrect (an answer), invalid (an input)",
    "drawn": "sampled",
    "wanted": "expected",
    "expert": "demonstration, off_policy",
    "experts": "demonstrations",
    "rehearsal": "dry_run",
    "beside": "extra_sections",
}


ALLOWED = {
    ("CHANGELOG.md", "has_both_kinds"),  # what a public name is called now
    ("echorl_vl/core/__init__.py", "has_both_kinds"),
    ("tests/core/test_core_imports.py", "has_both_kinds"),
    ("echorl_vl/engines/ray/dry_run.py", "rehearsal"),  # a label of random numbers
    ("echorl_vl/evaluation/benchmarks/choices.py", "right choice"),  # a prompt: its text is part of published results
}


def repository_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs a git checkout, which lists the project's own files")
    names = [Path(name) for name in listed.stdout.split("\0") if name]
    return [name for name in names if name.suffix in TEXT_FILES and name.name != Path(__file__).name]


def retired_phrases(text: str) -> list[tuple[int, str, str]]:
    """(line, phrase, replacement) for each retired phrase of a text."""
    found = []
    for pattern, replacement in PHRASES.items():
        for match in re.finditer(rf"(?<![A-Za-z_])(?:{pattern})(?![A-Za-z])", text, re.IGNORECASE):
            found.append((text.count("\n", 0, match.start()) + 1, match.group(), replacement))
    return found


def retired_names(source: str) -> list[tuple[int, str, str]]:
    """(line, name, replacement) for each identifier of Python code that has a retired word in it."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", token.string)
            found += [(token.start[0], token.string, NAMES[word.lower()]) for word in words if word.lower() in NAMES]
    return found


def test_no_retired_word_comes_back():
    lines = []
    for name in repository_files():
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        found = retired_phrases(text) + (retired_names(text) if name.suffix == ".py" else [])
        lines += [
            f"{name}:{line}: {word!r}: {replacement}"
            for line, word, replacement in sorted(found)
            if (name.as_posix(), word) not in ALLOWED
        ]
    assert not lines, f"{len(lines)} retired words\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a rehearsal on a CPU", "rehearsal"),
        ("the wrong answers", "wrong answers"),
        ("accuracy on held-out problems", "held-out"),
        ("it goes on from step 3", "goes on from"),
        ("wanted a number, found 'x'", "wanted a number, found"),
    ],
)
def test_a_retired_phrase_is_found(text, word):
    assert [found for _, found, _ in retired_phrases(f"fine\n{text}")] == [word]


def test_a_retired_name_is_found_in_code_alone():
    source = "# the picture\nwrongAnswers = draw_picture(wanted)\n"
    assert [name for _, name, _ in retired_names(source)] == ["wrongAnswers", "draw_picture", "wanted"]
