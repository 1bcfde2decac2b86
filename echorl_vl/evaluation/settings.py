"""Settings that decide the results of an evaluation: sampling, presets, template, and the check on resume."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.evaluation.benchmarks.base import Benchmark
from echorl_vl.outputs.environment import installed_version
from echorl_vl.places import PACKAGE_HOME

TEMPLATES = ("boxed", "none")
GRADER = (
    "echorl_vl.answers.calls",
    "echorl_vl.answers.choices",
    "echorl_vl.answers.compare",
    "echorl_vl.answers.compare_equations",
    "echorl_vl.answers.compare_names",
    "echorl_vl.answers.compare_numerals",
    "echorl_vl.answers.compare_sets",
    "echorl_vl.answers.compare_values",
    "echorl_vl.answers.equality",
    "echorl_vl.answers.evaluate",
    "echorl_vl.answers.expressions",
    "echorl_vl.answers.extract",
    "echorl_vl.answers.grading",
    "echorl_vl.answers.intervals",
    "echorl_vl.answers.kinds",
    "echorl_vl.answers.literals",
    "echorl_vl.answers.names",
    "echorl_vl.answers.notations",
    "echorl_vl.answers.parse",
    "echorl_vl.answers.quantities",
    "echorl_vl.answers.reader",
    "echorl_vl.answers.spellings",
    "echorl_vl.answers.symbols",
    "echorl_vl.answers.tokens",
    "echorl_vl.answers.tree",
    "echorl_vl.answers.units",
    "echorl_vl.answers.verdict",
    "echorl_vl.answers.words",
    "echorl_vl.evaluation.grading.extract",
    "echorl_vl.evaluation.grading.grade",
    "echorl_vl.evaluation.grading.graders",
    "echorl_vl.rewards.failures",
    "echorl_vl.rewards.output",
    "echorl_vl.rewards.pool",
    "echorl_vl.rewards.supervisor",
    "echorl_vl.rewards.worker",
)
"""Modules that decide a grade: the grading pass, the answer checker, and the worker processes with their time limit."""


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters. temperature 0 is greedy decoding; top_p 1 and top_k -1 keep all tokens."""

    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int = 2048
    seed: int = 0

    def check(self) -> None:
        """Check the ranges. Raises UserError, naming the option."""
        faults = [
            (self.samples < 1, f"--samples {self.samples}: expected at least 1"),
            (self.temperature < 0, f"--temperature {self.temperature}: expected a number >= 0"),
            (not 0 < self.top_p <= 1, f"--top-p {self.top_p}: expected a number in (0, 1]"),
            (self.top_k != -1 and self.top_k < 1, f"--top-k {self.top_k}: expected -1 (all tokens) or at least 1"),
            (self.max_tokens < 1, f"--max-tokens {self.max_tokens}: expected at least 1"),
            (not 0 <= self.seed < 2**31, f"--seed {self.seed}: expected 0 to 2147483647"),
            (
                self.temperature == 0 and self.samples > 1,
                f"--samples {self.samples} at --temperature 0 would be the same response {self.samples} times",
            ),
        ]
        for is_fault, message in faults:
            if is_fault:
                raise UserError(message)


@dataclass(frozen=True)
class Preset:
    """Defaults for options that are not given. `samples` None: the number in the paper's protocol for the benchmark."""

    about: str
    samples: int | None
    temperature: float
    max_tokens: int
    min_pixels: int | None = None
    max_pixels: int | None = None


PRESETS = {
    "paper": Preset(
        "EchoRL's protocol: temperature 0.6, 8,192 tokens, avg@32 on AIME and AMC, pass@1 on the rest", None, 0.6, 8192
    ),
    "noisyrollout": Preset(
        "NoisyRollout's protocol for images: temperature 0, 2,048 tokens, 262,144 to 1,000,000 pixels",
        1,
        0.0,
        2048,
        262144,
        1000000,
    ),
}
DEFAULT = Preset("temperature 0, 2,048 tokens, one response", 1, 0.0, 2048)


def sampling_for(benchmark: Benchmark, preset: Preset, given: dict[str, Any]) -> Sampling:
    """Return the sampling of a benchmark, from the command line or else the preset. Raises UserError."""
    samples = benchmark.samples if preset.samples is None else preset.samples
    base = Sampling(samples=samples, temperature=preset.temperature, max_tokens=preset.max_tokens)
    sampling = replace(base, **{name: value for name, value in given.items() if value is not None})
    sampling.check()
    return sampling


def template_path(name: str) -> Path | None:
    """Return the jinja file of a template: "boxed" is in the package, "none" gives None, else a path."""
    if name == "none":
        return None
    if name == "boxed":
        return PACKAGE_HOME / "echorl_vl/prompts/boxed.jinja"
    path = Path(name)
    if not path.is_file():
        raise UserError(f"--template {name}: expected {', '.join(TEMPLATES)} or the path of a jinja file; no such file")
    return path


def describe(sampling: Sampling, **other: Any) -> dict[str, Any]:
    """Return all settings as one flat dictionary of JSON values."""
    return asdict(sampling) | other


def check_same(existing: dict[str, Any], requested: dict[str, Any], place: Path) -> None:
    """Raise UserError if the responses in the folder `place` were sampled with other settings than those requested."""
    differ = [key for key in {**existing, **requested} if existing.get(key) != requested.get(key)]
    if differ:
        lines = [f"  {key}: {existing.get(key)!r} there, {requested.get(key)!r} now" for key in sorted(differ)]
        raise UserError(
            "\n".join(
                [
                    f"{place} contains responses sampled with other settings, which can't be mixed:",
                    *lines,
                    "Use the same settings, or another --out",
                ]
            )
        )


def versions(*packages: str) -> dict[str, str | None]:
    """Return the installed versions as {"torch_version": "2.6.0", ...}; None for a package that is not installed."""
    return {f"{package}_version": installed_version(package) for package in packages}


def grader_sha256() -> str:
    """Return 12 digits of the SHA-256 of the sources of `GRADER`. Comments count: equal hashes mean equal grades, but
    different ones need not mean different grades."""
    digest = hashlib.sha256()
    for module in GRADER:
        source = Path(find_spec(module).origin).read_text(encoding="utf-8")
        digest.update(f"{module}\n{len(source)}\n{source}".encode())
    return digest.hexdigest()[:12]
