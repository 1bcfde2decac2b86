"""Names of the metrics, the same in every engine."""

from __future__ import annotations

ECHO_LOSS = "echo/loss"
ECHO_COEF = "echo/coef"
ECHO_CLIPS = "echo/clips"  # count
ECHO_CLIP_TOKENS = "echo/clip_tokens"  # mean length of a clip, text tokens
ECHO_CLIP_SHARE = "echo/clip_share"  # length of a clip over the length of its rollout
ECHO_STEP_ENTROPY_MAX = "echo/step_entropy_max"  # nats
ECHO_STEP_ENTROPY_MEAN = "echo/step_entropy_mean"  # nats
ECHO_STEPS_PER_ROLLOUT = "echo/steps_per_rollout"
ECHO_GRAD_SHARE = "echo/grad_share"  # norm of the echo gradient over the norm of the whole; on request

ALL_SUCCESS = "group/all_success"  # the three are shares of groups
ALL_FAIL = "group/all_fail"
DEGENERATE = "group/degenerate"
ZERO_ADVANTAGE = "adv/zero_share"  # share of response tokens
ACCURACY = "reward/accuracy"

GRAD_NORM = "actor/grad_norm"
ENTROPY = "actor/entropy"  # nats, of the full vocabulary

METRIC_NAMES = (
    ECHO_LOSS,
    ECHO_COEF,
    ECHO_CLIPS,
    ECHO_CLIP_TOKENS,
    ECHO_CLIP_SHARE,
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
