"""The standard curves of a run: response length, entropy, KL, clip fraction, rewards, learning rate, truncation.

`CURVES` lists them. A run shows those it has metrics for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from echorl_vl.core import metric_names as names
from echorl_vl.outputs.plot_data import RunData, change_title
from echorl_vl.outputs.plot_style import (
    BLUE,
    CYCLE,
    dress,
    label_ends,
    number_axis,
    percent_axis,
    quantity,
    raw_and_smooth,
    step_axis,
    value_axis,
)
from echorl_vl.shares import percent

NOT_REWARDS = frozenset({"reward/timeouts", "reward/crashes", "reward/errors"})  # counts of failures
REWARDS = "reward/"
SHARE_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # axes of small shares end here


@dataclass(frozen=True)
class Curve:
    """One panel: a metric, or a few of the same kind.

    name: begins the title, which is about the first metric that the run has.
    subtitle: what the metric is. ylabel: the quantity and its unit.
    columns: label -> names of the metric in the engines; a run shows those that it has.
    unit: of the number in the title. is_share: whether values are shown in percent.
    negligible: values that are all closer to 0 than this are rounding errors, and the title says so.
    """

    name: str
    subtitle: str
    ylabel: str
    columns: dict[str, tuple[str, ...]]
    unit: str = ""
    is_share: bool = False
    negligible: float = 0.0

    def values(self, run: RunData) -> dict[str, np.ndarray]:
        """Label -> (R,) values, only of the metrics that the run has."""
        return {label: run.get(*metrics) for label, metrics in self.columns.items() if run.has(*metrics)}


RESPONSE_LENGTH = Curve(
    "Response length",
    "Mean over rollouts",
    "tokens",
    {"": ("response_length/mean",)},
    "tokens",
)
TRUNCATION = Curve(
    "Truncated responses",
    "Responses that reached data.max_response_length",
    "share of responses",
    {"": ("response_length/clip_ratio",)},
    is_share=True,
)
ENTROPY = Curve("Policy entropy", "Mean over response tokens", "nats per token", {"": (names.ENTROPY,)}, "nats")
KL_REFERENCE = Curve(
    "KL to the reference policy",
    "Estimate of KL(policy, reference) per response token",
    "nats per token",
    {"": ("actor/kl_loss", "actor/kl_penalty")},
    "nats",
    negligible=1e-6,
)
KL_OLD = Curve(
    "KL to the policy of the rollouts",
    "Estimate of KL(rollout policy, policy) per response token",
    "nats per token",
    {"": ("actor/ppo_kl",)},
    "nats",
    negligible=1e-6,
)
CLIP_FRACTION = Curve(
    "Clip fraction",
    "Response tokens whose policy loss is clipped",
    "share of tokens",
    {
        "ratio clip": ("actor/pg_clipfrac_higher", "actor/pg_clipfrac"),
        "dual clip": ("actor/pg_clipfrac_lower",),
    },
    is_share=True,
)
LEARNING_RATE = Curve("Learning rate", "Of the policy's optimizer", "learning rate", {"": ("actor/lr",)})
GRADIENT = Curve(
    "Gradient norm", "L2 norm before clipping, mean over updates", "gradient norm", {"": (names.GRAD_NORM,)}
)
OVERALL_REWARD = Curve("Overall reward", "Mean over rollouts", "reward", {"": ("reward/overall",)})
CURVES = (RESPONSE_LENGTH, TRUNCATION, ENTROPY, KL_REFERENCE, KL_OLD, CLIP_FRACTION, GRADIENT, LEARNING_RATE)


def reward_curve(run: RunData) -> Curve:
    """The parts of the reward that the run has logged, the whole first."""
    parts = [name for name in run.columns if name.startswith(REWARDS) and name not in NOT_REWARDS and run.has(name)]
    parts.sort(key=lambda name: (name != "reward/overall", name))
    columns = {name.removeprefix(REWARDS): (name,) for name in parts}
    name = "Overall reward" if "overall" in columns else "Reward"
    return Curve(name, "Parts of the reward, mean over rollouts", "reward", columns)


def curves_of(run: RunData) -> list[Curve]:
    """The standard curves that the run has a metric for."""
    curves = [CURVES[0], reward_curve(run), *CURVES[1:]]
    return [curve for curve in curves if curve.values(run)]


def panel(curve: Curve) -> Callable[[object, RunData], None]:
    """A function that draws the curve of a run into axes."""

    def draw(axes, run: RunData) -> None:
        columns = curve.values(run)
        labels = []
        for (label, values), colour in zip(columns.items(), (*CYCLE, *CYCLE), strict=False):
            end = raw_and_smooth(axes, run.steps, values, colour if len(columns) > 1 else BLUE)
            labels.append((end, label, colour))
        note = set_axis(axes, curve, run.steps, *columns.values())
        title, which = title_of(curve, run)
        dress(axes, title, f"{curve.subtitle}{which}{note}", curve.ylabel)
        if len(columns) > 1:
            label_ends(axes, labels)

    return draw


def title_of(curve: Curve, run: RunData) -> tuple[str, str]:
    """The title, and a note on the steps it is about. If the curves of a panel differ, the title names the first."""
    columns = curve.values(run)
    form = percent if curve.is_share else quantity
    label, first = next(iter(columns.items()))
    shown = {form(value) for values in columns.values() for value in values[np.isfinite(values)]}
    if np.nanmax(np.abs(first)) < curve.negligible:
        return f"{curve.name} stayed at 0 {curve.unit}", f"; all values are within {quantity(curve.negligible)} of 0"
    is_named = len(columns) == 1 or len(shown) == 1 or label == "overall"
    name = curve.name if is_named else f"{curve.name} ({label})"
    return change_title(run, name, first, form, curve.unit)


def set_axis(axes, curve: Curve, steps: np.ndarray, *columns: np.ndarray, what: str = "step") -> str:
    """Sets the axes of a curve.

    Returns:
        A note on outliers for the subtitle, in which `what` is the word for one value; "" without outliers.
    """
    highest = max((float(np.nanmax(np.abs(values))) for values in columns if np.isfinite(values).any()), default=0.0)
    if not curve.is_share and highest >= curve.negligible:
        return value_axis(axes, steps, *columns, unit=curve.unit, what=what)
    step_axis(axes, steps)
    if curve.is_share:
        percent_axis(axes, 0.0, next((top for top in SHARE_TOPS if highest <= top), 1.0))
    else:
        axes.set_ylim(-curve.negligible, curve.negligible)
        number_axis(axes.yaxis)
    return ""
