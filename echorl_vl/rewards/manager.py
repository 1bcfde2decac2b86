"""Score rollouts with a user's reward function: EasyR1's interface, in worker processes, with a hard time limit.

A reward file has a function `f(rows, **kwargs) -> list of scores` (REWARD_TYPE = "batch", the default) or
`f(row, **kwargs) -> score` (REWARD_TYPE = "sequential"); a row is {"response", "response_length", "ground_truth"}, a
score a dict with "overall" and, best, "accuracy" and "format". Two optional names in the file make it faster:
`quick_score(row, **kwargs) -> score or None` is asked first, for many rows in one call (the rows are then taken to be
independent, and the rest are scored one by one); `warm_up()` is called in each worker once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.outputs.terminal import visible
from echorl_vl.rewards.interface import Row
from echorl_vl.rewards.loading import BadScore, UserReward
from echorl_vl.rewards.pool import START_LIMIT, GradingPool, Outcome, PoolError

ROWS_PER_LIMIT = 16
ON_ERROR = ("stop", "zero")
KINDS = ("ok", "timeout", "crash", "error")
_EXCERPT = 120
_OTHER_TYPE = {"batch": "sequential", "sequential": "batch"}

Score = dict[str, float]

logger = logging.getLogger(__name__)


class RewardManager:
    """Scores batches of rollouts with `reward_function` ("path.py:function").

    `time_limit` is in seconds of wall clock per row. A batch function gets the whole batch in one call, for which the
    limit is time_limit * (1 + rows / 16): time for many rows to add up without a hung one going unnoticed for long. If
    the batch runs into it or kills its worker, the rows are scored again one at a time, so that only the culprits lose.
    A row that times out or kills its worker gets 0 in every part (and no more overall than the worst other row
    of the batch, where that is below 0), and is counted in `timeouts` or `crashes`. A row for which the function raises
    or returns no score ends the run (`on_error` "stop"), or gets 0 as well and is counted in `errors` ("zero").

    kinds: what became of each row of the last batch, of `KINDS`.

    Raises UserError where the file or function is missing, does not load, or does not take `kwargs`.
    """

    def __init__(
        self,
        reward_function: str,
        kwargs: dict[str, Any] | None = None,
        num_workers: int = 1,
        time_limit: float = 10.0,
        on_error: str = "stop",
    ) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error: expected one of {', '.join(ON_ERROR)}, got {on_error!r}")
        reward = UserReward.parse(reward_function, kwargs)
        self.where = f"{reward.path}:{reward.name}"
        self.time_limit, self.on_error = time_limit, on_error
        self.timeouts = self.crashes = self.errors = 0
        self.kinds: list[str] = []
        self._told: set[str] = set()
        self._workers = num_workers
        reward.find()
        self._pool = GradingPool(reward, num_workers, time_limit, name=Path(reward.path).name)
        try:
            [described] = self._map("describe", [[]], START_LIMIT)
            if described.kind != "ok":
                raise UserError(f"{self.where}: {visible(described.detail)}")
        except BaseException:
            self.close()
            raise
        self._file: dict[str, Any] = described.value

    @property
    def name(self) -> str:
        """REWARD_NAME of the file, "unknown" where it has none."""
        return self._file["name"]

    def score(self, responses: Sequence[str], lengths: Sequence[int], ground_truths: Sequence[str]) -> list[Score]:
        """Scores of B rollouts, in order: dicts of floats with at least "overall" and "accuracy".

        `lengths` are response lengths in tokens. Raises UserError where the function raises for a row, or returns
        anything but a finite score (unless `on_error` is "zero"), and where not one of several rows was scored before
        it timed out or killed its worker: that teaches nothing. ValueError where the three lists differ in length.
        """
        rows: list[Row] = [
            {"response": response, "response_length": int(length), "ground_truth": truth}
            for response, length, truth in zip(responses, lengths, ground_truths, strict=True)
        ]
        outcomes, slow = self._quick(rows)
        rest = [index for index, outcome in enumerate(outcomes) if outcome is None]
        for index, outcome in zip(rest, self._in_workers([rows[i] for i in rest]), strict=True):
            outcomes[index] = outcome
        self._count(rows, outcomes)
        check_not_all_lost(self.kinds, f"{self.where} (its quick_score)" if slow else self.where, self.time_limit)
        return self._completed([outcome.value for outcome in outcomes])

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def __enter__(self) -> RewardManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _quick(self, rows: list[Row]) -> tuple[list[Outcome | None], bool]:
        """Outcomes of the rows that the file's `quick_score` decides, and whether it took too long for all of them."""
        if not rows or not self._file["quick"]:
            return [None] * len(rows), False
        size = max(ROWS_PER_LIMIT, -(-len(rows) // self._workers))
        chunks = [rows[first : first + size] for first in range(0, len(rows), size)]
        found, answers = [], self._map("quick", chunks, self._limit(size))
        for chunk, answer in zip(chunks, answers, strict=True):
            scores = answer.value if answer.kind == "ok" else [None] * len(chunk)
            found += [None if score is None else Outcome("ok", score) for score in scores]
        return found, all(answer.kind == "timeout" for answer in answers)

    def _in_workers(self, rows: list[Row]) -> list[Outcome]:
        """What becomes of rows that the user's function has to score; the value of "ok" is a score."""
        failure = None
        if self._file["kind"] == "batch" and not self._file["quick"] and len(rows) > 1:
            [outcome] = self._map("score", [rows], self._limit(len(rows)))
            if outcome.kind == "ok":
                return [Outcome("ok", score) for score in outcome.value]
            failure = outcome
        outcomes = self._map("score", [[row] for row in rows], self.time_limit)
        alone = [Outcome("ok", found.value[0]) if found.kind == "ok" else found for found in outcomes]
        if failure and failure.kind == "error" and not any(found.kind == "error" for found in alone):
            message = (
                f"{self.where} raised {visible(failure.detail)} for a batch of {len(rows)} rows, but for none of them "
                f"alone{_last_line(failure.trace)}"
            )
            if self.on_error == "stop":
                raise UserError(message)
            self._tell("batch", f"{message}; its rows are scored one by one")
        return alone

    def _map(self, task: str, batches: list[list[Row]], limit: float) -> list[Outcome]:
        try:
            return self._pool.map([(task, batch) for batch in batches], limit)
        except PoolError as error:
            raise self._pool_error(error) from error

    def _limit(self, rows: int) -> float:
        """Seconds for several rows in one call."""
        return self.time_limit * (1 + rows / ROWS_PER_LIMIT)

    def _count(self, rows: list[Row], outcomes: list[Outcome]) -> None:
        """Count what failed, and tell of the first of each kind. Raises UserError for an error that is to stop."""
        self.kinds = [outcome.kind for outcome in outcomes]
        self.timeouts += self.kinds.count("timeout")
        self.crashes += self.kinds.count("crash")
        self.errors += self.kinds.count("error")
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.kind == "error" and (self.on_error == "stop" or "error" not in self._told):
                message = self._message(row, outcome)
                if self.on_error == "stop":
                    raise UserError(message)
                self._tell("error", f"{message}\n  such answers get 0 (worker.reward.on_error = zero)")
            elif outcome.kind in ("timeout", "crash"):
                self._tell(outcome.kind, f"{self.where}: {outcome.detail} for an answer; such answers get 0")

    def _tell(self, kind: str, message: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("%s", visible(message))

    def _completed(self, scores: list[Score | None]) -> list[Score]:
        """Zeros for the lost rows, and an accuracy for all."""
        known = [score for score in scores if score is not None]
        if any("accuracy" not in score for score in known):
            values = {score["overall"] for score in known}
            if not values <= {0.0, 1.0}:
                found = ", ".join(f"{value:g}" for value in sorted(values - {0.0, 1.0})[:3])
                raise UserError(
                    f'{self.where} returns no "accuracy", and its "overall" is not only 0 or 1 (found {found}): '
                    f'EchoRL has to know which answers are right. Return "accuracy" in each score (1 right, 0 wrong).'
                )
            known = [{"accuracy": score["overall"], **score} for score in known]
        lost = dict.fromkeys([key for score in known[:1] for key in score] or ["overall", "accuracy"], 0.0)
        lost["overall"] = min([0.0, *(score["overall"] for score in known)])  # to hang must never pay
        complete = iter(known)
        return [dict(lost) if score is None else next(complete) for score in scores]

    def _message(self, row: Row, outcome: Outcome) -> str:
        """What is wrong with the function, by what it did with a row."""
        bad_score = outcome.raised(BadScore)
        did = f"returned a bad score: {outcome.message}" if bad_score else f"raised an error: {outcome.detail}"
        response = row["response"]
        excerpt = response if len(response) <= _EXCERPT else "..." + response[-_EXCERPT:]
        [other] = self._map("score_as_other_type", [[row]], self.time_limit)
        hint = ""
        if other.kind == "ok":
            kind = _OTHER_TYPE[self._file["kind"]]
            what = "a list of rows" if kind == "batch" else "one row"
            hint = f'\n  It works when it gets {what}: put REWARD_TYPE = "{kind}" into the file.'
        return (
            f"{self.where} {visible(did)}{_last_line(outcome.trace)}{hint}\n"
            f"  response (end of it): {excerpt!r}\n  ground truth: {row['ground_truth']!r}"
        )

    def _pool_error(self, error: PoolError) -> UserError:
        """Of a function that does not load: in the words of the check that failed, where one did."""
        if error.outcome.raised(UserError):
            return UserError(visible(error.outcome.message))
        return UserError(f"{self.where}: {visible(str(error))}")


def check_not_all_lost(kinds: Sequence[str], where: str, time_limit: float) -> None:
    """Raise UserError where each of several rows (`RewardManager.kinds`) timed out or killed its worker."""
    lost = {kind: kinds.count(kind) for kind in ("timeout", "crash")}
    if len(kinds) < 2 or sum(lost.values()) < len(kinds):
        return
    how = f"took longer than worker.reward.time_limit = {time_limit:g} s"
    if lost["crash"]:
        how = f"{how} ({lost['timeout']}) or killed the process that scores it ({lost['crash']})"
    raise UserError(
        f"{where}: every one of the {len(kinds)} answers of this step {how}, so all would get 0 and teach nothing. "
        "Raise the limit, or mend the function."
    )


def lost_metrics(kinds: Sequence[str]) -> dict[str, float]:
    """Metrics of a step: how many of its rows were not scored, and why."""
    names = {"timeout": "reward/timeouts", "crash": "reward/crashes", "error": "reward/errors"}
    return {name: float(kinds.count(kind)) for kind, name in names.items()}


def _last_line(trace: str) -> str:
    """Where in the user's file it happened: the last `File ..., line ...` of a traceback."""
    places = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    return f" ({places[-1]})" if places else ""
