"""The nearest right name for a key that the schema does not know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names of other GRPO trainers for keys of this schema, where spelling alone would not lead there.
KNOWN_AS = {
    "train_batch_size": "data.rollout_batch_size",
    "gen_batch_size": "data.mini_rollout_batch_size",
    "ppo_mini_batch_size": "worker.actor.global_batch_size",
    "ppo_micro_batch_size_per_gpu": "worker.actor.micro_batch_size_per_device_for_update",
    "log_prob_micro_batch_size_per_gpu": "worker.actor.micro_batch_size_per_device_for_experience",
    "learning_rate": "worker.actor.optim.lr",
    "num_generations": "worker.rollout.n",
    "echo.lambda": "echo.coef",
    "clip_ratio": "worker.actor.clip_ratio_high",
}


def nearest_key(key: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The candidate closest to a dotted `key`, or None where nothing is close.

    Whole paths are compared, and also the last parts of a candidate where `key` has fewer parts, so that `rollout.n`
    and `worker.rollout_n` both lead to `worker.rollout.n`. Of equally close ones the first wins.
    """
    key = key.strip().lstrip("+-~")
    last = key.rpartition(".")[2]
    best, best_score = None, cutoff
    parts = key.count(".") + 1
    flat = key.replace(".", "_")
    matcher = difflib.SequenceMatcher(None, "", key, autojunk=False)
    for candidate in candidates:
        tail = ".".join(candidate.split(".")[-parts:])
        score = _ratio(matcher, candidate, best_score)
        if tail != candidate:
            score = max(score, 0.98 * _ratio(matcher, tail, best_score))
        if _is_tail(flat, candidate.replace(".", "_")):
            score = max(score, 0.97)
        if last == candidate.rpartition(".")[2]:
            score = max(score, 0.7 + 0.2 * _ratio(matcher, candidate))
        if score > best_score:
            best, best_score = candidate, score
    elsewhere = KNOWN_AS.get(key) or KNOWN_AS.get(last)
    return elsewhere if elsewhere and best_score < 0.95 else best


def _ratio(matcher: difflib.SequenceMatcher, word: str, floor: float = 0.0) -> float:
    """Similarity of `word` and the matcher's key in [0, 1]; 0 where a cheap bound puts it at or below `floor`."""
    matcher.set_seq1(word)
    if matcher.real_quick_ratio() <= floor or matcher.quick_ratio() <= floor:
        return 0.0
    return matcher.ratio()


def _is_tail(tail: str, whole: str) -> bool:
    return whole == tail or whole.endswith("_" + tail)


def nearest_names(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of `names` that are spelled like `name`, closest first."""
    return difflib.get_close_matches(name, list(names), n=count, cutoff=0.75)
