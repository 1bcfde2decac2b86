"""Alerts: what in the metrics of a run needs a look, in words. The console prints them during training.

Each rule compares the mean over the last few training steps with the first ones, or counts steps in a row. An alert
is given once when its condition begins, and again only after the condition has ended.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from echorl_vl.core import metric_names as names
from echorl_vl.shares import percent

WINDOW = 5  # steps of a mean
LONG = 20  # steps without a clip
LENGTH, TRUNCATED = "response_length/mean", "response_length/clip_ratio"
SKIPPED = "actor/skipped_steps"
UNSCORED = ("reward/timeouts", "reward/crashes", "reward/errors")

Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Alert:
    """An alert: the training step at which it begins, the name of its rule, and a sentence."""

    step: int
    rule: str
    message: str


class History:
    """The training rows so far.

    Attributes:
        first: the first `WINDOW` rows. last: the newest ones, at most `LONG`.
        size: the number of rows.
        best: the highest mean accuracy of `WINDOW` steps in a row.
    """

    def __init__(self) -> None:
        self.first: list[Row] = []
        self.last: deque[Row] = deque(maxlen=LONG)
        self.size, self.best = 0, 0.0

    def add(self, row: Row) -> None:
        """Append the row of a step."""
        self.size += 1
        self.last.append(row)
        if len(self.first) < WINDOW:
            self.first.append(row)
        if self.size >= WINDOW:
            self.best = max(self.best, self.mean(names.ACCURACY) or 0.0)

    def newest(self, count: int) -> list[Row]:
        """The last rows; fewer at the beginning."""
        return list(self.last)[-count:]

    def mean(self, name: str) -> float | None:
        """The mean of a metric over the last `WINDOW` steps; None if half of them lack it."""
        return _mean(self.newest(WINDOW), name)

    def ends(self, name: str) -> tuple[float, float] | None:
        """Means over the first and the last steps; None while they overlap."""
        first, last = _mean(self.first, name), self.mean(name)
        return None if self.size < 2 * WINDOW or first is None or last is None else (first, last)

    def in_a_row(self, holds: Callable[[Row], bool], count: int) -> bool:
        """Whether a condition holds in each of the last `count` steps."""
        return self.size >= count and all(holds(row) for row in self.newest(count))


class AlertMonitor:
    """Watches the metrics of a run, step by step.

    Args:
        rows: earlier rows of metrics.jsonl, of a run that is resumed. They give no alerts.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._history = History()
        self._active: set[str] = set()
        for row in rows:
            self.step(int(row.get("step") or 0), row)

    def step(self, step: int, metrics: Row) -> list[Alert]:
        """The alerts that begin with the metrics of a training step; none for those of a validation."""
        if _number(metrics, names.ACCURACY) is None and _number(metrics, names.ENTROPY) is None:
            return []
        self._history.add(metrics)
        found = {rule: message for rule, check in RULES.items() if (message := check(self._history))}
        begun = [Alert(step, rule, message) for rule, message in found.items() if rule not in self._active]
        self._active = set(found)
        return begun


def alerts_of(rows: Iterable[Row]) -> list[Alert]:
    """All alerts of the rows of metrics.jsonl, each of which has "step"."""
    monitor = AlertMonitor()
    return [alert for row in rows for alert in monitor.step(int(row.get("step") or 0), row)]


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None or not math.isfinite(value) else float(value)


def _mean(rows: Sequence[Row], name: str) -> float | None:
    """The mean over the rows that have a metric; None if fewer than half have it."""
    values = [value for row in rows if (value := _number(row, name)) is not None]
    return sum(values) / len(values) if len(values) * 2 > len(rows) else None


def _reward(history: History) -> str:
    """Accuracy has lost half of the best that it was, and ten points."""
    last = history.mean(names.ACCURACY)
    if last is None or last > history.best / 2 or history.best - last < 0.1:
        return ""
    best, now = percent(history.best, 1, "%"), percent(last, 1, "%")
    return f"training accuracy fell from {best} to {now} (means of {WINDOW} steps)"


def _length(history: History) -> str:
    ends = history.ends(LENGTH)
    if ends is None or not ends[0] or 0.4 < ends[1] / ends[0] < 2.5:
        return ""
    word = "shrank" if ends[1] < ends[0] else "grew"
    return f"responses {word} from {ends[0]:.0f} to {ends[1]:.0f} tokens (first and last {WINDOW} steps)"


def _entropy(history: History) -> str:
    ends = history.ends(names.ENTROPY)
    if ends is None or ends[1] > ends[0] / 5:
        return ""
    return f"the policy's entropy fell from {ends[0]:.4f} to {ends[1]:.4f} nats (first and last {WINDOW} steps)"


def _truncated(history: History) -> str:
    if not history.in_a_row(lambda row: (_number(row, TRUNCATED) or 0) > 0.5, WINDOW):
        return ""
    share = percent(history.mean(TRUNCATED) or 0.0, 0, "%")
    return f"{share} of the responses hit data.max_response_length (last {WINDOW} steps)"


def _unscored(history: History) -> str:
    if not history.in_a_row(lambda row: any(_number(row, name) for name in UNSCORED), WINDOW):
        return ""
    count = sum(_number(row, name) or 0 for row in history.newest(WINDOW) for name in UNSCORED)
    return f"the reward function failed on {count:.0f} answers in the last {WINDOW} steps"


def _skipped(history: History) -> str:
    count = _number(history.last[-1], SKIPPED) or 0
    return f"{count:.0f} optimizer steps were not finite and were skipped" if count else ""


def _degenerate(history: History) -> str:
    if not history.in_a_row(lambda row: (_number(row, names.DEGENERATE) or 0) > 0.95, 2 * WINDOW):
        return ""
    return f"over 95% of the groups have no advantage (last {2 * WINDOW} steps): the problems are too easy or too hard"


def _no_clip(history: History) -> str:
    def is_without(row: Row) -> bool:
        return bool(_number(row, names.ECHO_COEF)) and _number(row, names.ECHO_CLIPS) == 0

    return f"no clip in the last {LONG} steps, so the echo term was 0" if history.in_a_row(is_without, LONG) else ""


RULES: dict[str, Callable[[History], str]] = {
    "reward_collapse": _reward,
    "response_length": _length,
    "entropy_collapse": _entropy,
    "truncated": _truncated,
    "reward_failures": _unscored,
    "skipped_steps": _skipped,
    "no_advantage": _degenerate,
    "no_clip": _no_clip,
}
"""Name of a rule -> from the history to the sentence of its alert; "" if its condition does not hold."""
