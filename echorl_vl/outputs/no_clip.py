"""Why a step, or a whole run, has no EchoClip, in the numbers that mining logs."""

from __future__ import annotations

from collections.abc import Mapping

from echorl_vl.core import metric_names as names

_REASONS = {
    names.ECHO_LEFT_OUT_TRUNCATED: "truncated",
    names.ECHO_LEFT_OUT_MIXED: "in groups of unequal rewards",
    names.ECHO_LEFT_OUT_SHORT: "without a step that is long enough",
}


def why_no_clip(metrics: Mapping[str, float]) -> str:
    """ "12 verified rollouts, all truncated"; "" where there are clips, or where mining was not asked for any.

    Args:
        metrics: of one step, or the sums over several.
    """
    if metrics.get(names.ECHO_CLIPS) != 0:
        return ""
    verified = metrics.get(names.ECHO_VERIFIED)
    if verified is None:  # of a run before these numbers were logged
        return "the reason was not recorded"
    if not verified:
        return "no rollout was verified"
    left_out = {reason: metrics[name] for name, reason in _REASONS.items() if metrics.get(name)}
    rollouts = f"{verified:.0f} verified rollout{'' if verified == 1 else 's'}"
    if len(left_out) == 1:
        (reason,) = left_out
        return f"{rollouts}, {'it is' if verified == 1 else 'all'} {reason}"
    return f"{rollouts}: " + ", ".join(f"{count:.0f} {reason}" for reason, count in left_out.items())


def why_no_term(coef: float, start_step: int, step: int) -> str:
    """Why the echo term of a run with it (`echo.coef` = coef > 0) is 0 at training step `step`, from 1; "" without."""
    if not coef:
        return ""
    return f"term not started, echo.start_step is {start_step}" if step <= start_step else "term has decayed to 0"
