"""Templates that never end, use all memory or raise: each gives an error that names it, in bounded time."""

from __future__ import annotations

import threading

import pytest
from transformers import AutoTokenizer

from echorl_vl.data import template_trial, templates
from echorl_vl.data.prompts import PromptEncoder
from echorl_vl.data.templates import bounded, load_format_prompt
from echorl_vl.data.time_limit import TimeLimitExceeded, time_limit
from echorl_vl.errors import UserError
from echorl_vl.types import Problem

DOUBLING = "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
HOSTILE = {
    "include": ("{% include '/etc/passwd' %}", "fails"),
    "product": ("{{ 'a' * (10 ** 11) }}", "memory"),
    "power": ("{{ 10 ** (10 ** 10) }}", "takes more than"),
    "doubling": (DOUBLING, "takes more than"),
    "filter": ("{{ 'a' | center(10 ** 11) }}", "memory"),
    "long": ("{{ 'a' * 2000000 }}", "1,000,000 characters"),
    "range": ("{% for i in range(10 ** 12) %}{% endfor %}", "OverflowError"),
    "nested ranges": ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes more"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    "division": ("{{ 1 / 0 }}", "ZeroDivisionError"),
    "type": ("{{ 1 + 'a' }}", "TypeError"),
    "deep source": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "not a jinja template"),
}


@pytest.fixture(autouse=True)
def short_limit(monkeypatch):
    monkeypatch.setattr(template_trial, "CPU_SECONDS", 1)
    monkeypatch.setattr(templates, "RENDER_SECONDS", 0.5)


@pytest.fixture(scope="module")
def tokenizer(processor_folder):
    return AutoTokenizer.from_pretrained(processor_folder)


def refused(action, *words) -> str:
    with pytest.raises(UserError) as error:
        action()
    assert all(str(word) in str(error.value) for word in words), str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_a_hostile_format_prompt_is_an_error(tmp_path, name):
    text, words = HOSTILE[name]
    path = tmp_path / "hostile.jinja"
    path.write_text(text + "{{ content }}")
    refused(lambda: load_format_prompt(path), path, "data.format_prompt", words)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in ("long", "filter")])
@pytest.mark.timeout(60)
def test_a_hostile_chat_template_is_an_error(tokenizer, tmp_path, name):
    """Both the model's template and one that overrides it; a limit is checked before any row is read."""
    text, words = HOSTILE[name]
    words = {"include": "TypeError", "deep source": "fails"}.get(name, words)
    path = tmp_path / "hostile.jinja"
    path.write_text(text + "{{ messages[0].content }}")

    def encode(**options):
        PromptEncoder(None, tokenizer, **options).render(Problem("set.jsonl:3", "1 + 1?", "2"))

    refused(lambda: encode(override_chat_template=path), path, "data.override_chat_template", words)
    own, tokenizer.chat_template = tokenizer.chat_template, path.read_text()
    try:
        refused(encode, f"the chat template of {tokenizer.name_or_path}", words)
    finally:
        tokenizer.chat_template = own


@pytest.mark.timeout(60)
def test_a_template_that_never_ends_for_one_question(tmp_path):
    path = tmp_path / "slow.jinja"
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    path.write_text("{% if content == 'slow' %}" + loops + "{% endif %}{{ content }}")
    render = load_format_prompt(path)
    assert render("quick") == "quick"
    refused(lambda: render("slow"), path, "more than 0.5 s for one question")
    found = []
    thread = threading.Thread(target=lambda: found.append(refused(lambda: render("slow"), path)))
    thread.start()
    thread.join()
    assert found and render("quick") == "quick"


def test_the_time_limit_ends_with_its_block():
    for _ in range(200):
        with time_limit(0.001):
            pass
    with pytest.raises(TimeLimitExceeded), time_limit(0.1):
        while True:
            pass
    assert bounded("x", lambda: "y") == "y"


def test_common_template_features_are_allowed(tokenizer, tmp_path):
    path = tmp_path / "usual.jinja"
    tags = "{% generation %}{{ messages[0].content }}{% endgeneration %}", "{% for i in 'ab' %}{% break %}{% endfor %}"
    path.write_text("".join(tags))
    encoder = PromptEncoder(None, tokenizer, override_chat_template=path)
    assert encoder.render(Problem("set.jsonl:3", "1 + 1?", "2")) == "1 + 1?"


def test_the_cases_of_past_failures(shared_data, tmp_path):
    cases = sorted((shared_data.parent / "cases" / "faults" / "templates").glob("*.jinja"))
    if not cases:
        pytest.skip("the templates of past failures (../shared/cases) are missing")
    for path in cases:
        refused(lambda path=path: load_format_prompt(path), path)
