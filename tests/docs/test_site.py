"""The navigation and the links of the documentation site work, and its reference lists every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from echorl_vl.config.schema import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = {"configuration.md", "changelog.md"}  # by docs/hooks.py
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


def test_snippets_name_files_of_the_documentation():
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"-+8 <", line), f"{page}: a formatter has rewritten the snippet {line}"
            if match := re.fullmatch(r'--8<-- "(.+)"', line):
                assert (DOCS / match[1]).is_file(), f"{page}: {match[1]}"


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that mkdocs generates from headings: lower-case words joined by dashes."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_navigation_and_pages_match():
    pages = {page.relative_to(DOCS).as_posix() for kind in ("*.md", "*.ipynb") for page in DOCS.rglob(kind)}
    assert in_navigation(SITE["nav"]) == pages | GENERATED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_existing_files_and_headings(page: Path):
    """Includes links to files outside docs/. (mkdocs checks only those inside.)"""
    for target in re.findall(r"\]\(([^()\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if "://" in target or (page.parent == DOCS and path in GENERATED):
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or linked.suffix != ".md" or anchor in anchors(linked), target


def test_the_reference_lists_every_key():
    pytest.importorskip("latex2mathml", reason="needs the extra docs; make docs installs it")
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
    expected = {option.key.rpartition(".")[::2] for option in OPTIONS.values()}
    assert {("" if section == key else section, key) for section, key in keys} == expected
