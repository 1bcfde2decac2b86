"""Names of the metrics, the same in every engine."""

from __future__ import annotations

ECHO_LOSS = "echo/loss"
ECHO_COEF = "echo/coef"
ECHO_CLIPS = "echo/clips"  # count
ECHO_CLIP_TOKENS = "echo/clip_tokens"  # mean length of a clip, text tokens
ECHO_CLIP_SHARE = "echo/clip_share"  # mean of clip length / rollout length
ECHO_CLIP_STEP_ENTROPY = "echo/clip_step_entropy"  # mean entropy of the clips' last steps, nats
ECHO_OVERLAP = "echo/overlap_with_paper"  # overlap with the paper's clips, 0 to 1; with echo.clip_tokens: as_max
ECHO_VERIFIED = "echo/verified"  # count of verified on-policy rollouts; the next three count subsets
ECHO_LEFT_OUT_TRUNCATED = "echo/left_out_truncated"  # hit the length limit
ECHO_LEFT_OUT_MIXED = "echo/left_out_mixed"  # the rewards of their group differ, with echo.apply_to: degenerate
ECHO_LEFT_OUT_SHORT = "echo/left_out_short"  # have no step of echo.min_step_tokens text tokens
ECHO_STEP_ENTROPY_MAX = "echo/step_entropy_max"  # over all steps of all rollouts, mined or not; nats
ECHO_STEP_ENTROPY_MEAN = "echo/step_entropy_mean"  # over all steps of all rollouts, mined or not; nats
ECHO_STEPS_PER_ROLLOUT = "echo/steps_per_rollout"
ECHO_GRAD_SHARE = "echo/grad_share"  # norm of the echo gradient / norm of the whole gradient; echo.log_grad_share

ALL_SUCCESS = "group/all_success"  # shares of groups
ALL_FAIL = "group/all_fail"
DEGENERATE = "group/degenerate"
ZERO_ADVANTAGE = "adv/zero_share"  # share of response tokens
ACCURACY = "reward/accuracy"

GRAD_NORM = "actor/grad_norm"
ENTROPY = "actor/entropy"  # nats, over the full vocabulary

METRIC_NAMES = (  # of runs with an echo term
    ECHO_LOSS,
    ECHO_COEF,
    ECHO_CLIPS,
    ECHO_CLIP_TOKENS,
    ECHO_CLIP_SHARE,
    ECHO_CLIP_STEP_ENTROPY,
    ECHO_VERIFIED,
    ECHO_LEFT_OUT_TRUNCATED,
    ECHO_LEFT_OUT_MIXED,
    ECHO_LEFT_OUT_SHORT,
    ECHO_STEP_ENTROPY_MAX,
    ECHO_STEP_ENTROPY_MEAN,
    ECHO_STEPS_PER_ROLLOUT,
    ECHO_GRAD_SHARE,
    ALL_SUCCESS,
    ALL_FAIL,
    DEGENERATE,
    ZERO_ADVANTAGE,
    ACCURACY,
    GRAD_NORM,
    ENTROPY,
)
