"""A made-up run with metrics and rollouts that look like those of a training run, for the tests of this folder."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw

CHARACTERS = "".join(chr(code) for code in range(32, 127)) + "\n°"


def encode(text: str) -> list[int]:
    return [CHARACTERS.index(character) for character in text]


def decode(pieces: list[list[int]]) -> list[str]:
    return ["".join(CHARACTERS[token] for token in piece) for piece in pieces]


def metric_rows(steps: int = 40, seed: int = 0, val_every: int = 10) -> list[dict]:
    """Rows of a run of GRPO + EchoRL: accuracy rises, and with it the share of all-success groups."""
    random_ = random.Random(seed)
    rows = []
    for step in range(steps + 1):
        progress = 1 - math.exp(-step / (steps * 0.35 + 1e-9)) if steps else 0.0
        accuracy = 0.48 + 0.4 * progress
        row = {"step": step, "time": 1.7e9 + 2.3 * step}
        if step % val_every == 0 or step == steps:
            row |= {
                "val/accuracy_reward": accuracy + random_.gauss(0, 0.01),
                "val/accuracy_se": 0.02,
                "val/problems": 256,
            }
        if step:
            success = min(max(0.05 + 0.6 * progress + random_.gauss(0, 0.06), 0), 1)
            fail = min(max(0.06 * (1 - progress) + random_.gauss(0, 0.02), 0), 1 - success)
            row |= {
                "reward/accuracy": accuracy + random_.gauss(0, 0.03),
                "group/all_success": success,
                "group/all_fail": fail,
                "group/degenerate": success + fail,
                "adv/zero_share": success + fail,
                "echo/loss": 0.16 * math.exp(-step / steps * 1.4) + random_.gauss(0, 0.008),
                "echo/coef": 0.001,
                "echo/clips": 15,
                "echo/clip_tokens": 21.0,
                "echo/clip_share": 0.45 + random_.gauss(0, 0.03),
                "echo/step_entropy_max": 0.9 * math.exp(-step / steps) + random_.gauss(0, 0.03),
                "echo/step_entropy_mean": 0.2 * math.exp(-step / steps) + random_.gauss(0, 0.01),
                "actor/grad_norm": 0.9 * (1 - success) + random_.random() * 0.1,
                "actor/entropy": 0.2 * math.exp(-step / steps),
                "actor/lr": 1e-6,
                "actor/ppo_kl": 1e-3 * progress,
                "actor/kl_loss": 0.05 * progress,
                "actor/pg_clipfrac_higher": 0.004 * progress,
                "actor/pg_clipfrac_lower": 0.0,
                "reward/overall": 0.9 * accuracy + 0.1,
                "reward/format": 1.0,
                "reward/timeouts": 0.0,
                "response_length/mean": 210 + 130 * progress + random_.gauss(0, 9),
                "response_length/clip_ratio": 0.0,
                "timing_s/gen": 0.8 + random_.random() * 0.1,
                "timing_s/reward": 0.05,
                "timing_s/adv": 0.0007,
                "timing_s/echo": 0.01,
                "timing_s/update_actor": 1.2 + random_.random() * 0.2,
                "timing_s/validation": 3.0 if step % val_every == 0 else 0.0,
                "timing_s/step": 2.2,
                "perf/throughput": 3000.0,
            }
        rows.append(row)
    return rows


def write_metrics(run: Path, rows: list[dict]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def triangle_image(seed: int = 0, size: int = 224) -> Image.Image:
    """A right triangle with two measures."""
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    a, b, c = (size * 0.15, size * 0.8), (size * 0.85, size * 0.8), (size * 0.15, size * (0.2 + 0.1 * (seed % 3)))
    draw.polygon([a, b, c], outline="black", width=3)
    draw.text((size * 0.45, size * 0.83), str(5 + seed), fill="black", font_size=size // 10)
    draw.text((size * 0.03, size * 0.5), str(3 + seed), fill="black", font_size=size // 10)
    return image


def rollouts(prompts: int = 4, n: int = 4, seed: int = 0) -> SimpleNamespace:
    """Rollouts, step_ids, rewards, advantages, verified and clips of one step, as numpy arrays."""
    rng = np.random.default_rng(seed)
    texts, ids = [], []
    problems = [
        SimpleNamespace(
            uid=f"made-up:{index}",
            question=f"<image>The legs of the right triangle are given. What is the area of triangle {index}?",
            answer=str((5 + index) * (3 + index) / 2),
            images=(triangle_image(index),),
        )
        for index in range(prompts)
    ]
    for row in range(prompts * n):
        a, b = 5 + row // n, 3 + row // n
        steps = [f"The legs are {a} and {b}.\n", f"The area is half of their product: {a} * {b} / 2\n"]
        steps += ["Check that the angle between them is 90°.\n"] * (row % 3) + [
            f"So the answer is \\boxed{{{a * b / 2}}}"
        ]
        texts.append("".join(steps))
        ids.append([number for number, text in enumerate(steps) for _ in text])
    width = max(map(len, texts)) + 1
    tokens, step_ids = np.zeros((len(texts), width), np.int64), np.full((len(texts), width), -1)
    mask = np.zeros((len(texts), width), bool)
    for row, (text, numbers) in enumerate(zip(texts, ids, strict=True)):
        tokens[row, : len(text)], step_ids[row, : len(text)] = encode(text), numbers
        mask[row, : len(text) + 1] = True  # the end token is in the response, but in no step
    level = rng.gamma(1.2, 0.25, (len(texts), width)) * (
        0.3 + rng.random((len(texts), 8))[np.arange(len(texts))[:, None], step_ids]
    )
    entropy = np.where(mask, level, 0).astype(np.float32)
    group_ids = np.repeat(np.arange(prompts), n)
    verified = rng.random(len(texts)) < 0.7
    clip_rows, ends, lengths, entropies = [], [], [], []
    for group in range(prompts):
        best = max(
            (
                (entropy[r][step_ids[r] == s].mean(), r, s)
                for r in range(group * n, group * n + n)
                if verified[r]
                for s in set(ids[r])
            ),
            default=None,
        )
        if best:
            end = int(np.flatnonzero(step_ids[best[1]] == best[2])[-1])
            clip_rows.append(best[1]), ends.append(end), lengths.append(end + 1), entropies.append(best[0])
    batch = SimpleNamespace(
        prompts=[SimpleNamespace(problem=problem, sheet=problem.images[0]) for problem in problems],
        group_ids=group_ids,
        tokens=tokens,
        response_mask=mask,
        log_probs=-entropy * 0.7,
        entropy=entropy,
        truncated=np.zeros(len(texts), bool),
        texts=texts,
    )
    clips = SimpleNamespace(
        rows=np.array(clip_rows, int),
        ends=np.array(ends, int),
        lengths=np.array(lengths, int),
        step_entropies=np.array(entropies),
    )
    rewards = [{"overall": float(ok) * 0.9 + 0.1, "accuracy": float(ok), "format": 1.0} for ok in verified]
    return SimpleNamespace(
        rollouts=batch,
        step_ids=step_ids,
        rewards=rewards,
        verified=verified,
        clips=clips,
        advantages=rng.normal(size=len(texts)).astype(np.float32),
    )


def write_rollouts_of(run: Path, step: int, kind: str = "rollouts", **kwargs) -> Path:
    from echorl_vl.outputs.rollout_files import write_rollouts

    made = rollouts(**kwargs)
    return write_rollouts(
        run / kind / f"step_{step:06d}.parquet",
        step,
        made.rollouts,
        made.rewards,
        decode=decode,
        step_ids=made.step_ids,
        advantages=made.advantages,
        verified=made.verified,
        clips=made.clips,
    )
