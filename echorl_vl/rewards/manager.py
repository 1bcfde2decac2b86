"""Score rollouts with a user's reward function, in EasyR1's interface, in worker processes with a hard time limit.

A reward file has a function `f(rows, **kwargs) -> list of scores` (REWARD_TYPE = "batch", the default) or
`f(row, **kwargs) -> score` (REWARD_TYPE = "sequential"). A row is {"response", "response_length", "ground_truth"}. A
score is a dict with "overall" and preferably "accuracy" and "format". Two optional functions make it faster:
`quick_score(row, **kwargs) -> score or None` is called first, for many rows at once; rows for which it returns None are
then scored one by one, so they have to be independent. `warm_up()` is called once in each worker.
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
    """Scores batches of rollouts with a reward function.

    A batch function gets the whole batch in one call. The limit of that call is time_limit * (1 + rows / 16), enough
    for many rows, yet a hung one is noticed soon. If the call times out or ends its worker, the rows are scored again
    one at a time, so that only the rows at fault lose their score.

    A row that times out or ends its worker gets 0 in every part of its score, and at most the lowest "overall" of the
    batch. A row for which the function raises or returns an invalid score ends the run, or also gets 0, as `on_error`
    says.

    Args:
        reward_function: "path.py:function".
        kwargs: keyword arguments of the function.
        num_workers: number of worker processes.
        time_limit: seconds of wall clock per row.
        on_error: "stop" raises UserError if the function fails for a row, "zero" scores the row 0.

    Attributes:
        timeouts, crashes, errors: number of rows with these outcomes so far.
        kinds: outcome of each row of the last batch, one of `KINDS`.

    Raises:
        UserError: the file or function is missing, does not load, or does not take `kwargs`.
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
        self._warned: set[str] = set()
        self._workers = num_workers
        reward.find()
        self._pool = GradingPool(reward, num_workers, time_limit, name=Path(reward.path).name)
        try:
            [description] = self._map("describe", [[]], START_LIMIT)
            if description.kind != "ok":
                raise UserError(f"{self.where}: {visible(description.detail)}")
        except BaseException:
            self.close()
            raise
        self._file: dict[str, Any] = description.value

    @property
    def name(self) -> str:
        """REWARD_NAME of the file, "unknown" if it has none."""
        return self._file["name"]

    def score(self, responses: Sequence[str], lengths: Sequence[int], ground_truths: Sequence[str]) -> list[Score]:
        """Score B rollouts.

        Args:
            responses: (B,) decoded responses.
            lengths: (B,) response lengths in tokens.
            ground_truths: (B,) reference answers.

        Returns:
            (B,) dicts of floats with at least "overall" and "accuracy", in order.

        Raises:
            UserError: the function raised or returned an invalid score (unless `on_error` is "zero"), or each of
                several rows timed out or ended its worker.
            ValueError: the arguments differ in length.
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
        """Outcomes by the file's `quick_score`, None for undecided rows, and whether it timed out for all rows."""
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
        """Outcomes of the rows that need the user's function; the value of an "ok" one is a score."""
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
                f"{self.where} raised {visible(failure.detail)} for a batch of {len(rows)} rows, but not for any of "
                f"them alone{_last_line(failure.trace)}"
            )
            if self.on_error == "stop":
                raise UserError(message)
            self._warn_once("batch", f"{message}; its rows are scored one by one")
        return alone

    def _map(self, task: str, batches: list[list[Row]], limit: float) -> list[Outcome]:
        try:
            return self._pool.map([(task, batch) for batch in batches], limit)
        except PoolError as error:
            raise self._pool_error(error) from error

    def _limit(self, rows: int) -> float:
        """Time limit of one call with several rows, in seconds."""
        return self.time_limit * (1 + rows / ROWS_PER_LIMIT)

    def _count(self, rows: list[Row], outcomes: list[Outcome]) -> None:
        """Count failures and warn of the first of each kind. Raises UserError for an error if `on_error` is "stop"."""
        self.kinds = [outcome.kind for outcome in outcomes]
        self.timeouts += self.kinds.count("timeout")
        self.crashes += self.kinds.count("crash")
        self.errors += self.kinds.count("error")
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.kind == "error" and (self.on_error == "stop" or "error" not in self._warned):
                message = self._message(row, outcome)
                if self.on_error == "stop":
                    raise UserError(message)
                self._warn_once("error", f"{message}\n  such answers get 0 (worker.reward.on_error = zero)")
            elif outcome.kind in ("timeout", "crash"):
                self._warn_once(outcome.kind, f"{self.where}: {outcome.detail} for an answer; such answers get 0")

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("%s", visible(message))

    def _completed(self, scores: list[Score | None]) -> list[Score]:
        """Scores with "accuracy" for all rows, zeros for those without a score."""
        known = [score for score in scores if score is not None]
        if any("accuracy" not in score for score in known):
            values = {score["overall"] for score in known}
            if not values <= {0.0, 1.0}:
                found = ", ".join(f"{value:g}" for value in sorted(values - {0.0, 1.0})[:3])
                raise UserError(
                    f'{self.where} returns no "accuracy", and its "overall" is not always 0 or 1 ({found}), so EchoRL '
                    f'can\'t tell which responses are correct. Return "accuracy" in each score: 1 correct, 0 incorrect.'
                )
            known = [{"accuracy": score["overall"], **score} for score in known]
        lost = dict.fromkeys([key for score in known[:1] for key in score] or ["overall", "accuracy"], 0.0)
        lost["overall"] = min([0.0, *(score["overall"] for score in known)])  # a response must not gain by hanging
        complete = iter(known)
        return [dict(lost) if score is None else next(complete) for score in scores]

    def _message(self, row: Row, outcome: Outcome) -> str:
        """Error message for a row for which the function failed."""
        bad_score = outcome.raised(BadScore)
        did = f"returned an invalid score: {outcome.message}" if bad_score else f"raised an error: {outcome.detail}"
        if not outcome.kinds:  # no exception
            did = f"failed: {outcome.detail}"
        response = row["response"]
        excerpt = response if len(response) <= _EXCERPT else "..." + response[-_EXCERPT:]
        [other] = self._map("score_as_other_type", [[row]], self.time_limit)
        hint = ""
        if other.kind == "ok":
            kind = _OTHER_TYPE[self._file["kind"]]
            what = "a list of rows" if kind == "batch" else "one row"
            hint = f'\n  It works with {what}: set REWARD_TYPE = "{kind}" in the file.'
        return (
            f"{self.where} {visible(did)}{_last_line(outcome.trace)}{hint}\n"
            f"  response (end of it): {excerpt!r}\n  ground truth: {row['ground_truth']!r}"
        )

    def _pool_error(self, error: PoolError) -> UserError:
        """The error for a function that does not load, with the message of the check that failed if there is one."""
        if error.outcome.raised(UserError):
            return UserError(visible(error.outcome.message))
        return UserError(f"{self.where}: {visible(str(error))}")


def check_not_all_lost(kinds: Sequence[str], where: str, time_limit: float) -> None:
    """Raise UserError if each of several rows (`RewardManager.kinds`) timed out or ended its worker."""
    lost = {kind: kinds.count(kind) for kind in ("timeout", "crash")}
    if len(kinds) < 2 or sum(lost.values()) < len(kinds):
        return
    how = f"took longer than worker.reward.time_limit = {time_limit:g} s"
    if lost["crash"]:
        how = f"{how} ({lost['timeout']}) or ended the process that scores it ({lost['crash']})"
    raise UserError(
        f"{where}: each of the {len(kinds)} answers of this step {how}, so all of them would score 0. "
        "Raise the limit or fix the function."
    )


def lost_metrics(kinds: Sequence[str]) -> dict[str, float]:
    """Metrics of a step: number of rows without a score, by reason."""
    names = {"timeout": "reward/timeouts", "crash": "reward/crashes", "error": "reward/errors"}
    return {name: float(kinds.count(kind)) for kind, name in names.items()}


def _last_line(trace: str) -> str:
    """Place of an error in the user's file: the last `File ..., line ...` of a traceback."""
    places = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    return f" ({places[-1]})" if places else ""
