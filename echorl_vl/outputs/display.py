"""Progress of a training run on the terminal: a live screen, or one plain line per step if stdout is no terminal."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from echorl_vl.core import EchoConfig
from echorl_vl.core import metric_names as names
from echorl_vl.outputs.console import make_console
from echorl_vl.outputs.log import is_quiet, log_above
from echorl_vl.outputs.plot_data import VAL_ACCURACY, VAL_STDERR
from echorl_vl.outputs.summary import HEADS, why_no_clip, why_no_term
from echorl_vl.outputs.terminal import visible
from echorl_vl.shares import percent

REFRESH_SECONDS = 1.0  # the clock and the phase; a new step shows at once
SPARK_WIDTH = 28
THROUGHPUT = ("perf/throughput", "perf/tokens_per_s")
_BLOCKS = "▁▂▃▄▅▆▇█"

logger = logging.getLogger(__name__)


class Display:
    """Shows the progress of a training; a context manager.

    A live screen costs a few milliseconds a second.

    Args:
        total_steps: steps of the whole training; 0 for a validation without training.
        start_step: steps that an earlier run has done.
        plain: print one line a step instead of a live screen (default: if stdout is no terminal, as in CI).
        console: a rich console, for tests.
        echo: configuration of the echo term, to explain why a step has none; without it no reason is shown.

    With `--quiet` it shows only warnings.
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int = 0,
        plain: bool | None = None,
        console: Console | None = None,
        echo: EchoConfig | None = None,
    ) -> None:
        self._console = console or make_console(soft_wrap=False)
        self._quiet = is_quiet()
        self._plain = (not self._console.is_terminal or self._console.is_dumb_terminal) if plain is None else plain
        self._total, self._start, self._step = total_steps, start_step, start_step
        self._echo = echo
        self._phase = "starting"
        self._began = self._phase_began = time.monotonic()
        self._trained_seconds, self._trained_steps = 0.0, 0
        self._last: dict[str, float] = {}
        self._history: dict[str, list[float]] = {names.ACCURACY: [], names.ALL_SUCCESS: []}
        self._validations: list[tuple[int, float, float]] = []
        self._live: Live | None = None
        self._log_above = contextlib.ExitStack()

    def __enter__(self) -> Display:
        self._began = self._phase_began = time.monotonic()
        if not self._plain and not self._quiet:
            self._live = Live(
                console=self._console,
                refresh_per_second=1 / REFRESH_SECONDS,
                get_renderable=self._screen,
                transient=False,
            )
            self._live.start()
            self._log_above.enter_context(log_above(self._console))
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def phase(self, name: str) -> None:
        """Sets the name of the current phase, which the screen shows at its next refresh."""
        self._phase, self._phase_began = name, time.monotonic()

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows the metrics of a finished step, or of a validation after it."""
        known = {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
        validated = next((known[name] for name in VAL_ACCURACY if name in known), None)
        if names.ACCURACY in known:
            self._step = step
            self._last = known
            self._trained_steps += 1
            self._trained_seconds = time.monotonic() - self._began
            for name, values in self._history.items():
                values.append(known.get(name, math.nan))
        if validated is not None:
            error = next((known[name] for name in VAL_STDERR if name in known), math.nan)
            self._validations.append((step, validated, error))
        if self._quiet:
            if lost := lost_answers(known):
                logger.warning("step %d: %s", step, lost)
        elif self._plain:
            if names.ACCURACY in known:
                self._print(self._step_line(step, known))
            if validated is not None:
                self._print(f"{self._progress(step)}  validation accuracy {_with_error(*self._validations[-1][1:])}")
        elif self._live is not None:
            self._live.refresh()

    def summary(self, rows: Sequence[tuple[str, ...]], paths: Sequence[Path | str]) -> None:
        """Ends the live screen; prints the summary (with the heads `summary.HEADS`) and the files that were written."""
        self._stop()
        if self._quiet:
            return
        table = Table(box=box.SIMPLE_HEAD, title="Summary", title_style="bold", title_justify="left")
        columns = max((len(row) for row in rows), default=0)
        for index, head in enumerate(HEADS[:columns]):
            is_last = index == 3  # the only column that may take several lines
            justify = "right" if index in (1, 2) else "left"
            table.add_column(head, justify=justify, style="dim" if is_last else "", no_wrap=not is_last)
        for row in rows:
            table.add_row(*map(str, row), *[""] * (columns - len(row)))
        if rows:
            self._console.print(table)
        self._console.print(Text(f"took {_clock(time.monotonic() - self._began)}; written:"))
        for path in paths:
            self._console.print(Text(visible(f"  {_short(path)}")), soft_wrap=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._phase = "done" if self._step >= self._total else "stopped"
            self._live.stop()
            self._live = None
            self._log_above.close()

    def _print(self, text: str) -> None:
        """Prints a line without wrapping it and flushes the log."""
        self._console.print(Text(text), soft_wrap=True)
        with contextlib.suppress(OSError, ValueError):
            self._console.file.flush()

    def _step_line(self, step: int, known: Mapping[str, float]) -> str:
        parts = [
            self._progress(step),
            _part(known, "accuracy {:.3f}", names.ACCURACY),
            _share(known, "all-success", names.ALL_SUCCESS),
            _share(known, "degenerate", names.DEGENERATE),
            self._no_clip(known) or _part(known, "echo {:.4f}", names.ECHO_LOSS),
            _part(known, "{:.1f} s", "timing_s/step"),
            _part(known, "{:,.0f} tokens/s", *THROUGHPUT),
            _warning(lost_answers(known)),
            f"eta {_clock(self._eta())}" if step < self._total else "",
        ]
        return "  ".join(part for part in parts if part)

    def _no_clip(self, known: Mapping[str, float]) -> str:
        """Why the step with these metrics has no clip, in a few words; "" if it has one, or should have none."""
        reason = why_no_clip(known)
        if not reason and self._echo is not None and known.get(names.ECHO_COEF) == 0:
            reason = why_no_term(self._echo.coef, self._echo.start_step, self._step)
        return f"no clip ({reason})" if reason else ""

    def _progress(self, step: int) -> str:
        """Steps done and in all; a validation without training has no total."""
        return f"step {step}/{self._total}" if self._total else f"step {step}"

    def _eta(self) -> float:
        """Remaining seconds at the mean pace so far, validations included; NaN before the first step."""
        if not self._trained_steps:
            return math.nan
        return self._trained_seconds / self._trained_steps * (self._total - self._step)

    def _screen(self) -> Group:
        now = time.monotonic()
        width = min(self._console.width, 100)
        head = Text().append("EchoRL  ", style="bold")
        head.append(self._progress(self._step), style="bold cyan")
        head.append(f"  {self._phase} {now - self._phase_began:.0f} s", style="dim")
        share = self._step / self._total if self._total else 1.0
        times = f" {share:4.0%}  {_clock(now - self._began)} done, {_clock(self._eta())} to go"
        bar = _bar(share, max(width - len(times) - 1, 10))
        bar.append(times, style="dim")
        known = self._last
        lines = [head, bar]
        if known:
            lines.append(_curve("accuracy", known.get(names.ACCURACY), self._history[names.ACCURACY], "green"))
            lines.append(
                _curve("all-success", known.get(names.ALL_SUCCESS), self._history[names.ALL_SUCCESS], "yellow")
            )
            facts = [
                _share(known, "degenerate groups", names.DEGENERATE),
                self._no_clip(known) or _part(known, "echo loss {:.4f}", names.ECHO_LOSS),
                _part(known, "{:.1f} s a step", "timing_s/step"),
                _part(known, "{:,.0f} tokens/s", *THROUGHPUT),
            ]
            lines.append(
                Text("  ".join(fact for fact in facts if fact), style="dim", no_wrap=True, overflow="ellipsis")
            )
            if lost := lost_answers(known):
                lines.append(Text(_warning(lost), style="bold red", no_wrap=True, overflow="ellipsis"))
        if self._validations:
            first, last = self._validations[0], self._validations[-1]
            line = Text().append(f"{'validation':<12}", style="dim")
            line.append(_with_error(*last[1:]), style="bold magenta")
            if last[0] != first[0]:
                line.append(f"  was {_with_error(*first[1:])} at step {first[0]}", style="dim")
            lines.append(line)
        return Group(*lines)


def lost_answers(metrics: Mapping[str, float]) -> str:
    """The number of responses that the reward function did not score in a step; "" if it scored all."""
    what = {"reward/timeouts": "timed out", "reward/crashes": "killed their grader", "reward/errors": "raised"}
    lost = ", ".join(f"{metrics[name]:.0f} {verb}" for name, verb in what.items() if metrics.get(name))
    return f"answers not scored: {lost}" if lost else ""


def _warning(text: str) -> str:
    return f"warning: {text}" if text else ""


def sparkline(values: Sequence[float], width: int = SPARK_WIDTH, low: float = 0.0, high: float = 1.0) -> str:
    """Draws values as at most `width` block characters, each the mean of some neighbours; NaN is a space."""
    groups = min(width, len(values))
    cells = []
    for index in range(groups):
        part = values[index * len(values) // groups : (index + 1) * len(values) // groups]
        known = [value for value in part if math.isfinite(value)]
        if known:
            level = (sum(known) / len(known) - low) / ((high - low) or 1.0)
            cells.append(_BLOCKS[min(max(int(level * len(_BLOCKS)), 0), len(_BLOCKS) - 1)])
        else:
            cells.append(" ")
    return "".join(cells)


def _curve(name: str, value: float | None, history: Sequence[float], colour: str) -> Text:
    line = Text().append(f"{name:<12}", style="dim")
    line.append("     -" if value is None else f"{percent(value, 1, '%'):>6}", style=f"bold {colour}")
    return line.append("  ").append(sparkline(history), style=colour)


def _bar(share: float, width: int) -> Text:
    full = round(min(max(share, 0.0), 1.0) * width)
    return Text().append("━" * full, style="cyan").append("━" * (width - full), style="grey35")


def _part(known: Mapping[str, float], form: str, *keys: str) -> str:
    """The first of the keys that is known, formatted; "" if none is."""
    return next((form.format(known[key]) for key in keys if key in known), "")


def _share(known: Mapping[str, float], name: str, key: str) -> str:
    return f"{name} {percent(known[key], sign='%')}" if key in known else ""


def _with_error(value: float, error: float) -> str:
    return percent(value, 1, "%") + (f" ± {error:.1%}" if math.isfinite(error) else "")


def _clock(seconds: float) -> str:
    """75 -> '1:15'; '-:--' for NaN."""
    if not math.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _short(path: Path | str) -> str:
    """The path, relative to the current folder if it is in it."""
    with contextlib.suppress(ValueError):
        return str(Path(path).absolute().relative_to(Path.cwd()))
    return str(path)
