"""What the site makes of other files: the configuration reference, the changelog, links out of docs/, and formulas.

mkdocs calls these functions; `make docs` gives them an environment in which `echorl_vl` can be imported.
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

Every key, as `python -m echorl_vl.train --help-all` prints it. A file holds EasyR1's sections (`data`, `algorithm`,
`worker`, `trainer`), `echo` and `engine`; `key=value` on the command line overrides it, with dots between sections.
`--print-config` prints the whole configuration of a command.

Most keys are EasyR1's and mean what they mean there; [EasyR1](easyr1.md#a-file-of-easyr1s) lists where the local engine
differs. A key that an engine can't honour is an error before anything starts.
"""
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^()\s]+)\)")
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made: the configuration reference and the changelog."""
    files.append(File.generated(config, "configuration.md", content=configuration()))
    files.append(File.generated(config, "changelog.md", content=(REPOSITORY / "CHANGELOG.md").read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to files outside docs/ lead to the repository, or are no links where the site knows none (`repo_url`)."""
    folder = posixpath.dirname(posixpath.join("docs", page.file.src_uri))

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if ":" in target or target.startswith("#") or files.get_file_from_path(path.removeprefix("docs/")):
            return match[0]
        if not (REPOSITORY / path).exists():
            return match[0]  # mkdocs names the page and the link
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})"
        return f"`{path}`" if posixpath.basename(path) in text and "`" not in text else text

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(replaced, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(replaced, markdown[end:])])


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Formulas become MathML, which browsers draw by themselves; links of the notebook lead to pages of the site."""
    html = MATH.sub(_mathml, html)
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    return re.sub(r'href="(?![a-z]+:)([^"#]+)\.md(#[^"]*)?"', r'href="\1.html\2"', html)


def _mathml(match: re.Match[str]) -> str:
    kind, formula = match.groups()
    return convert(unescape(formula).strip(), display="block" if kind == "div" else "inline")


def configuration() -> str:
    """The configuration reference: a table for each section of the schema."""
    import echorl_vl.train  # noqa: F401 (registers the engines)
    from echorl_vl.config import Config
    from echorl_vl.config.help import described
    from echorl_vl.config.options import schema_options, schema_sections

    sections = {"": "which engine trains"} | {key: text for key, (_, text) in schema_sections(Config).items()}
    page = [CONFIGURATION]
    for section, text in sections.items():
        rows = [option for option in schema_options(Config).values() if option.key.rpartition(".")[0] == section]
        if not rows:
            continue
        page.append(f"\n## {section or 'engine'}\n\n{text[:1].upper()}{text[1:].rstrip('.')}.\n")
        page.append("| key | default | values | meaning |\n| --- | --- | --- | --- |")
        for option in rows:
            default, values, meaning = described(option)
            cells = (f"`{option.name}`", f"`{default}`" if default else "", values, meaning)
            page.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(page) + "\n"
