"""The command line of `echorl eval`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks import benchmarks, get
from echorl_vl.evaluation.benchmarks.base import Benchmark
from echorl_vl.evaluation.grading.graders import GRADERS
from echorl_vl.evaluation.settings import DEFAULT, PRESETS, Preset
from echorl_vl.outputs.command import add_log_flags, parse_arguments, program

ENGINES = ("auto", "vllm", "transformers")


@dataclass(frozen=True)
class Options:
    """The checked command line. In `sampling`, None stands for the value of the preset."""

    model: str | None
    benchmarks: tuple[Benchmark, ...]
    out: Path
    data: dict[str, Path]
    folder: Path | None
    preset_name: str | None
    preset: Preset
    sampling: dict[str, Any]
    min_pixels: int | None
    max_pixels: int | None
    template: str
    engine: str
    batch_size: int | None
    device: str | None
    dtype: str | None
    gpus: int
    limit: int | None
    grade_only: bool
    workers: int | None
    time_limit: float
    tolerance: float
    units: str
    rounded_integers: bool
    grader: str

    def place(self, benchmark: Benchmark) -> Path | None:
        """Return the file of a benchmark, or the folder to search for it; None for the hub."""
        return self.data.get(benchmark.name, self.folder)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    made = argparse.ArgumentParser(
        prog=program("eval", "eval.run"),
        description="Evaluate a checkpoint on benchmarks. To resume after a stop, run the same command again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="presets:\n" + "\n".join(f"  {name:<13}{preset.about}" for name, preset in PRESETS.items()),
    )
    add_log_flags(made)
    add = made.add_argument
    add("--model", help="a model folder or a hub id")
    add("--bench", help="names of benchmarks, separated by commas; --list shows them")
    add("--out", type=Path, help="output folder")
    add("--list", action="store_true", help="list the benchmarks and exit")
    add(
        "--data",
        action="append",
        default=[],
        metavar="DIR",
        help="local files: a folder, or NAME=FILE for one benchmark; can be repeated",
    )
    add("--preset", choices=sorted(PRESETS), help="defaults for options that are not given, see below")
    add("--samples", type=int, help="responses to each question (n)")
    add("--temperature", type=float)
    add("--top-p", type=float)
    add("--top-k", type=int)
    add("--max-tokens", type=int, help="maximum length of a response")
    add("--seed", type=int, help="seed of the sampling and of the order of choices (0)")
    add("--min-pixels", type=int, help="minimum area of an image after resizing (default: the model's)")
    add("--max-pixels", type=int, help="maximum area of an image after resizing (default: the model's)")
    add(
        "--template",
        default="boxed",
        help="boxed, none, or a jinja file with {{ content }} for the question (%(default)s)",
    )
    add("--engine", choices=ENGINES, default="auto", help="auto is vLLM if it is installed, else transformers")
    add("--batch-size", type=int, help="responses that are sampled together")
    add("--device", help="transformers: cuda or cpu")
    add("--dtype", help="bf16, fp16 or fp32")
    add("--gpus", type=int, default=1, help="vLLM: number of GPUs for tensor parallelism (%(default)s)")
    add(
        "--limit",
        type=int,
        help="evaluate only the first N questions; the file may be incomplete, and the result is marked PARTIAL",
        metavar="N",
    )
    add("--grade-only", action="store_true", help="grade the existing responses again, without the model")
    add("--workers", type=int, help="number of grading processes")
    add("--time-limit", type=float, default=10.0, help="seconds per answer and grader (%(default)s)")
    add(
        "--tolerance",
        type=float,
        default=0.01,
        help="tolerance for rounded numbers, relative to max(1, |truth|) (%(default)s)",
    )
    add(
        "--units",
        choices=("optional", "required"),
        default="optional",
        help="whether an answer needs the unit of the ground truth (%(default)s)",
    )
    add("--rounded-integers", action="store_true", help="accept an integer as a rounded value, such as 5 for 5.196...")
    add("--grader", choices=tuple(GRADERS), default="default", help="grader behind the metrics (%(default)s)")
    return made


def parse(arguments: Sequence[str] | None = None) -> Options | None:
    """Parse and check the options; returns None for --list. Raises UserError, and SystemExit as argparse does."""
    given = parse_arguments(parser(), arguments)
    if given.list:
        return None
    if given.out is None:
        raise UserError("--out: expected an output folder, got nothing")
    names = [name.strip() for name in (given.bench or "").split(",") if name.strip()]
    if given.grade_only and not names:
        names = sorted(path.parent.name for path in given.out.glob("*/settings.json"))
        if not names:
            raise UserError(f"--grade-only: nothing was generated in {given.out} yet")
    if not names:
        raise UserError(f"--bench: expected one or more of {', '.join(benchmarks())}, got nothing")
    if given.model is None and not given.grade_only:
        raise UserError("--model: expected a model folder or a hub id, got nothing")
    for name in ("limit", "batch_size", "workers", "min_pixels", "max_pixels", "gpus"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if not given.time_limit > 0 or not given.tolerance >= 0:
        raise UserError("--time-limit: expected seconds > 0; --tolerance: expected a number >= 0")
    chosen = tuple(get(name) for name in dict.fromkeys(names))
    data, folder = _places(given.data)
    preset = PRESETS.get(given.preset, DEFAULT)
    sampling = {
        name: getattr(given, name) for name in ("samples", "temperature", "top_p", "top_k", "max_tokens", "seed")
    }
    options = {one.name: getattr(given, one.name) for one in fields(Options) if hasattr(given, one.name)}
    limits = {name: getattr(given, name) or getattr(preset, name) for name in ("min_pixels", "max_pixels")}
    own = {"benchmarks": chosen, "data": data, "folder": folder, "sampling": sampling}
    return Options(**options | limits | own | {"preset": preset, "preset_name": given.preset})


def _places(given: Sequence[str]) -> tuple[dict[str, Path], Path | None]:
    """Return {benchmark: its file or folder} and the folder of all others."""
    data: dict[str, Path] = {}
    folder: Path | None = None
    for entry in given:
        name, sign, path = entry.partition("=")
        if sign and not Path(entry).exists():
            data[get(name).name] = _existing(path, entry)
        elif folder is not None:
            raise UserError(f"--data {entry}: expected one folder, got a second; give files as --data NAME=FILE")
        else:
            folder = _existing(entry, entry)
    return data, folder


def _existing(path: str, entry: str) -> Path:
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"--data {entry}: no such file or folder")
    return place
