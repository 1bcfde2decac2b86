"""Plain-text help, read off the schema: `--help` (usage and the most used keys) and `--help-all` (every key)."""

from __future__ import annotations

import dataclasses
import textwrap
from fnmatch import fnmatchcase

from echorl_vl.algorithms import ALGORITHMS
from echorl_vl.config import ENGINES
from echorl_vl.config.fields import Option
from echorl_vl.config.schema import OPTIONS, SECTIONS
from echorl_vl.core.config import attribute_docs
from echorl_vl.errors import show

WIDTH = 110
COMMON = """
engine data.train_files data.val_files data.prompt_key data.answer_key data.image_key data.demonstration_key
data.format_prompt data.max_prompt_length data.max_response_length data.rollout_batch_size data.max_pixels
algorithm.name algorithm.options algorithm.adv_estimator algorithm.norm_adv_by_std_in_grpo algorithm.disable_kl
algorithm.use_kl_loss algorithm.kl_coef worker.actor.model.model_path worker.actor.model.lora.rank
worker.actor.optim.lr worker.actor.global_batch_size worker.actor.micro_batch_size_per_device_for_update
worker.actor.entropy_coef worker.rollout.n worker.rollout.temperature worker.reward.reward_function
trainer.max_steps trainer.total_epochs trainer.logger trainer.val_freq trainer.save_freq
trainer.save_checkpoint_path trainer.device
"""

USAGE = """\
usage: {program} CONFIG.yaml [key=value ...]

Trains a vision-language or text model by group-relative RL with EchoRL. CONFIG.yaml has EasyR1's sections (data,
algorithm, worker, trainer) and echo:. Each key=value overrides a value of the file; dots separate sections:

  {program} configs/geo3k_tiny.yaml worker.rollout.n=16 echo.coef=0

Relative paths are looked up in the working directory, then in the folder of CONFIG.yaml, then in the folder of the
package. Values may refer to other keys (${{data.seed}}) and to environment variables (${{oc.env:HOME}}). After a stop,
the same command resumes from the last checkpoint.

  --help          shows this text
  --help-all      shows every key, with type, default and range
  --dry-run       shows prompts, tries the reward function, estimates the memory, and stops
  --version       shows the version
  --print-config  prints the whole configuration as YAML after all overrides, and stops
  --quiet         shows only warnings and errors
  --verbose       shows debug messages too
"""


def short_help(program: str = "python -m echorl_vl.train") -> str:
    """Usage, the `echo:` options and the most used keys."""
    echo = [option for key, option in OPTIONS.items() if key.startswith("echo.")]
    parts = [
        USAGE.format(program=program),
        "EchoRL\n" + _table(echo),
        "Engines (engine)\n" + "".join(f"  {name}: {engine.summary}\n" for name, engine in sorted(ENGINES.items())),
        "Base algorithms (algorithm.name), the keys that each one sets, and its options\n" + _algorithms(),
        "Most used keys\n" + _table([OPTIONS[key] for key in COMMON.split()]),
    ]
    return "\n".join(parts)


def full_help(program: str = "python -m echorl_vl.train") -> str:
    """Usage and every key of the schema, by section."""
    parts = [USAGE.format(program=program)]
    headings = {"": "", **{key: one.help for key, one in SECTIONS.items()}}
    for section, text in headings.items():
        members = [option for option in OPTIONS.values() if option.key.rpartition(".")[0] == section]
        if members:
            title = f"{section}: {text}" if section else "Engine"
            parts.append(title + "\n" + _table(members))
    return "\n".join(parts)


def _algorithms() -> str:
    """An entry for each algorithm: what it is, the keys that it sets, its options with their defaults."""
    text = ""
    for name, cls in ALGORITHMS.items():
        lines = [cls.__doc__.strip().splitlines()[0]]
        lines.append("sets " + ", ".join(f"{key} = {show(value)}" for key, value in cls.preset.items()))
        docs = attribute_docs(cls)
        lines += [f"{f.name} = {show(f.default)}: {docs.get(f.name, '')}" for f in dataclasses.fields(cls)]
        indent = " " * 6
        text += f"  {name}\n" + "".join(
            textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ") + "\n" for line in lines
        )
    return text


def _table(options: list[Option]) -> str:
    return "".join(_entry(option) for option in options)


def described(option: Option) -> tuple[str, str, str]:
    """A key in words: its default, its values, and what it does."""
    default = "null" if option.default is None else show(option.default).strip('"')
    values = option.range if option.choices else option.type_text.removeprefix("an ").removeprefix("a ")
    values += f", {option.bounds}" if option.bounds else ""
    values += "".join(f"; {names}: only {accepted}" for accepted, names in _accepted(option.key).items())
    return default, values, f"{_acting(option.key)}{option.help}"


def _entry(option: Option) -> str:
    """Two lines or more: key and default; then what it does and its values."""
    default, values, meaning = described(option)
    head = f"  {option.key} = {default}" if default else f"  {option.key} ="
    indent = " " * 6
    body = f"{meaning} ({values})"
    body = textwrap.fill(body, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return f"{head}\n{body}\n"


def _acting(key: str) -> str:
    """The engines that act on a key, where others ignore it."""
    acting = [name for name, engine in ENGINES.items() if not any(fnmatchcase(key, one) for one in engine.ignores)]
    return "" if len(acting) == len(ENGINES) else f"{', '.join(acting)}: "


def _accepted(key: str) -> dict[str, str]:
    """The values of a key that some engines can run alone -> the engines, both as text."""
    found: dict[str, list[str]] = {}
    for name, engine in ENGINES.items():
        if key in engine.accepts:
            values, _ = engine.accepts[key]
            found.setdefault(", ".join(show(value).strip('"') for value in values), []).append(name)
    return {values: ", ".join(names) for values, names in found.items()}
