"""Reads YAML with limits on size, depth, aliases and interpolations, and with the line of each key.

Invalid YAML raises `yaml.MarkedYAMLError`, whose `problem` gives the reason.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar_parser import parse

from echorl_vl.errors import UserError

MAX_TEXT, MAX_PATH, MAX_NAME = 10_000, 4096, 255  # bytes: of a text, of a path, of a part of one
MAX_BYTES, MAX_VALUES, MAX_DEPTH, MAX_DIGITS = 1_000_000, 100_000, 50, 400
TAG = "tag:yaml.org,2002:"
RESOLVERS = ("oc.env", "oc.select")  # of interpolations; others could run code
NUMBERS = {
    "int": r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+",
    "float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class Loader(yaml.SafeLoader):
    """Reads numbers like YAML 1.2 and OmegaConf: `1e-6` is a number; `2024-01-01` and `010` are strings."""

    yaml_implicit_resolvers: ClassVar = {
        first: [rule for rule in rules if rule[0].removeprefix(TAG) not in ("int", "float", "timestamp")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _kind, _pattern in NUMBERS.items():
    Loader.add_implicit_resolver(TAG + _kind, re.compile(f"^(?:{_pattern})$"), list("-+0123456789."))


class Dumper(yaml.SafeDumper):
    """Quotes strings that `Loader` would read as another type."""

    yaml_implicit_resolvers: ClassVar = Loader.yaml_implicit_resolvers


def compose(text: str, on_duplicate: Callable[[str, yaml.Node, int], None], key: str = "") -> yaml.Node | None:
    """The root node of a text; None if the text is empty.

    Args:
        text: The YAML.
        on_duplicate: Called for each duplicate key of a mapping, with the dotted key, its node and the first line.
        key: The dotted key whose value the text is.
    """
    if len(text) > MAX_BYTES:
        raise yaml.MarkedYAMLError(problem=f"{len(text):,} characters; expected at most {MAX_BYTES:,}")
    try:
        root = yaml.compose(text, Loader)
        if root is not None and _expanded_size(root, key, {}, on_duplicate) > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES} values once its aliases are expanded")
        return root
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except yaml.reader.ReaderError as error:
        mark = yaml.Mark("", 0, text.count("\n", 0, error.position), 0, None, 0)
        problem = f"U+{error.character:04X} is not allowed in YAML"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark) from None


def _expanded_size(
    node: yaml.Node, key: str, sizes: dict[int, int], on_duplicate: Callable[..., None], depth: int = 0
) -> int:
    """The number of nodes below one, every alias counted in full."""
    if depth > MAX_DEPTH:
        refuse(node, f"nested too deeply: expected at most {MAX_DEPTH} levels")
    if sizes.get(id(node)) == -1:
        refuse(node, "an alias contains itself")
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)], size = -1, 1
    if isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}int" and len(node.value) > MAX_DIGITS:
        refuse(node, f"a number of {len(node.value)} digits; expected at most {MAX_DIGITS}")
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(child, key, sizes, on_duplicate, depth + 1) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode):
                refuse(name, "a key must be a word, not a list or a mapping")
            inner = f"{key}.{name.value}" if key else name.value
            if name.value in lines and name.value != "<<":
                on_duplicate(inner, name, lines[name.value])
            lines.setdefault(name.value, line_of(name))
            size += 1 + _expanded_size(child, inner, sizes, on_duplicate, depth + 1)
    sizes[id(node)] = size
    return size


def value_of(node: yaml.Node) -> Any:
    """The value of a node, in plain Python types."""
    try:
        return Loader("").construct_object(node, deep=True)
    except (ValueError, OverflowError, TypeError) as error:
        refuse(node, str(error))


def check_text(text: str, is_path: bool) -> None:
    """Checks a text of a file. YAML can spell characters that no file name has (`"\\0"`).

    Raises:
        ValueError: the text is too long or has such characters. The message says what is expected.
    """
    limit = MAX_PATH if is_path else MAX_TEXT
    if len(text.encode("utf-8", "surrogatepass")) > limit:
        raise ValueError(f"at most {limit:,} bytes, got {len(text):,} characters")
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs"):
            raise ValueError(f"no control characters and no lone surrogates, got U+{ord(letter):04X}")
    if is_path and any(len(part.encode()) > MAX_NAME for part in text.split("/")):
        raise ValueError(f"at most {MAX_NAME} bytes between two /")


def interpolation_fault(value: Any) -> str | None:
    """What is invalid about the interpolations of a value: syntax, or a resolver that is not allowed."""
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return next(filter(None, map(interpolation_fault, items)), None)
    if not isinstance(value, str) or "${" not in value:
        return None
    try:
        nodes = [parse(value)]
    except (OmegaConfBaseException, RecursionError) as error:
        return str(error).split("\n", 1)[0]
    for node in nodes:
        if hasattr(node, "resolverName") and (name := node.resolverName().getText()) not in RESOLVERS:
            return f"the resolver {name!r} is not allowed; only {', '.join(RESOLVERS)} are"
        nodes += getattr(node, "children", None) or []
    return None


def entries(node: yaml.MappingNode) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """The entries of a mapping, after those of its merge keys (`<<`)."""
    Loader("").flatten_mapping(node)
    return node.value


def is_null(node: yaml.Node | None) -> bool:
    """Whether a node is null or missing."""
    return node is None or node.tag == f"{TAG}null"


def line_of(node: yaml.Node) -> int:
    """The line of a node, counted from 1."""
    return node.start_mark.line + 1


def refuse(node: yaml.Node, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def read_text(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        UserError: the file does not exist (the message lists similar names) or can't be read.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file{_yaml_files_near(path)}")
    if not path.is_file():
        raise UserError(f"{path}: this is a folder; expected a YAML file{_yaml_files_near(path / 'config.yaml')}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: {path.stat().st_size:,} bytes; expected a YAML file of at most {MAX_BYTES:,}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _yaml_files_near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"; the folder {folder} does not exist either"
    names = sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")))
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.75) or names[:5]
    return f"; {folder} has {', '.join(near)}" if near else f"; {folder} has no YAML file"
