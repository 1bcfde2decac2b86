"""The documentation site: its navigation and links lead to pages that are there, and its reference holds every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from echorl_vl.config import Config
from echorl_vl.config.options import schema_options

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MADE = {"configuration.md", "changelog.md"}  # by docs/hooks.py
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


class Loader(yaml.SafeLoader):
    """mkdocs.yml names a Python function."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def in_navigation(entry: object) -> set[str]:
    if isinstance(entry, str):
        return {entry}
    inner = entry.values() if isinstance(entry, dict) else entry
    return set().union(*map(in_navigation, inner))


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """As mkdocs makes them of headings: words in lower case, joined by dashes."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_every_page_is_in_the_navigation_once_and_the_other_way_round():
    pages = {page.relative_to(DOCS).as_posix() for kind in ("*.md", "*.ipynb") for page in DOCS.rglob(kind)}
    assert in_navigation(SITE["nav"]) == pages | MADE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    """Files, and headings of pages, also outside docs/ (mkdocs checks those within)."""
    for target in re.findall(r"\]\(([^()\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if "://" in target or (page.parent == DOCS and path in MADE):
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or linked.suffix != ".md" or anchor in anchors(linked), target


def test_the_reference_holds_every_key():
    pytest.importorskip("latex2mathml", reason="the extra docs is not installed here: make docs installs it")
    import importlib.util

    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    sections = re.split(r"^## ", hooks.configuration(), flags=re.MULTILINE)[1:]
    keys = {
        (section.split("\n")[0], key)
        for section in sections
        for key in re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    }
    wanted = {option.key.rpartition(".")[::2] for option in schema_options(Config).values()}
    assert {("" if section == key else section, key) for section, key in keys} == wanted
