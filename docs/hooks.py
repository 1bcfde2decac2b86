"""Hooks of mkdocs that generate the configuration reference and the changelog, and convert links and formulas.

`make docs` runs mkdocs in an environment in which `echorl_vl` can be imported.
"""

from __future__ import annotations

import posixpath
import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGURATION = """# Configuration reference

This page lists every key, like `python -m echorl_vl.train --help-all`. A configuration file contains EasyR1's sections
(`data`, `algorithm`, `worker`, `trainer`), and the sections `echo` and `engine`. To override a key on the command line,
write `section.key=value`. `--print-config` prints the complete configuration of a command.

Most keys come from EasyR1 and have the same meaning. [EasyR1 configurations](easyr1.md#easyr1-configurations) lists the
differences on the local engine. If an engine does not support the value of a key, the run stops at startup with an
error.
"""
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^()\s]+)\)")
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages: the configuration reference and the changelog."""
    files.append(File.generated(config, "configuration.md", content=configuration()))
    files.append(File.generated(config, "changelog.md", content=(REPOSITORY / "CHANGELOG.md").read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links to files outside docs/ to the repository, or remove them if the site has no `repo_url`."""
    folder = posixpath.dirname(posixpath.join("docs", page.file.src_uri))

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if ":" in target or target.startswith("#") or files.get_file_from_path(path.removeprefix("docs/")):
            return match[0]
        if not (REPOSITORY / path).exists():
            return match[0]  # mkdocs reports the broken link
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})"
        return f"`{path}`" if posixpath.basename(path) in text and "`" not in text else text

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(replaced, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(replaced, markdown[end:])])


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Convert formulas to MathML, and point the notebook's links to pages of the site."""
    html = MATH.sub(_mathml, html)
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    return re.sub(r'href="(?![a-z]+:)([^"#]+)\.md(#[^"]*)?"', r'href="\1.html\2"', html)


def _mathml(match: re.Match[str]) -> str:
    kind, formula = match.groups()
    return convert(unescape(formula).strip(), display="block" if kind == "div" else "inline")


def configuration() -> str:
    """Return the configuration reference, with one table per section of the schema."""
    import echorl_vl.train  # noqa: F401 (registers the engines)
    from echorl_vl.config.schema import OPTIONS, SECTIONS
    from echorl_vl.help import described

    sections = {"": "the engine that trains"} | {key: one.help for key, one in SECTIONS.items()}
    page = [CONFIGURATION]
    for section, text in sections.items():
        rows = [option for option in OPTIONS.values() if option.key.rpartition(".")[0] == section]
        if not rows:
            continue
        page.append(f"\n## {section or 'engine'}\n\n{text[:1].upper()}{text[1:].rstrip('.')}.\n")
        page.append("| key | default | values | meaning |\n| --- | --- | --- | --- |")
        for option in rows:
            default, values, meaning = described(option)
            cells = (f"`{option.name}`", f"`{default}`" if default else "", values, meaning)
            page.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(page) + "\n"
