"""Score rollouts with a user's reward function: EasyR1's interface, in worker processes, with a hard time limit.

A reward file has a function `f(rows, **kwargs) -> list of scores` (REWARD_TYPE = "batch", the default) or
`f(row, **kwargs) -> score` (REWARD_TYPE = "sequential"); a row is {"response", "response_length", "ground_truth"}, a
score a dict with "overall" and, best, "accuracy" and "format". Two optional names in the file make it faster:
`quick_score(row, **kwargs) -> score or None` is called here, without a worker, for rows that need none (the rows
are then taken to be independent, and the rest go to the workers one by one); `warm_up()` is called in each worker once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from echorl_vl.errors import UserError
from echorl_vl.rewards.loading import BadScore, UserReward, checked_score
from echorl_vl.rewards.pool import GradingPool, Outcome, PoolError

ROWS_PER_LIMIT = 16
_EXCERPT = 120

Row = dict[str, Any]
Score = dict[str, float]


class RewardManager:
    """Scores batches of rollouts with `reward_function` ("path.py:function").

    `time_limit` is in seconds of wall clock per row. A batch function gets the whole batch in one call, for which the
    limit is time_limit * (1 + rows / 16): time for many rows to add up without a hung one going unnoticed for long. If
    the batch runs into it or kills its worker, the rows are scored again one at a time, so that only the culprits lose.
    A row that times out or kills its worker gets 0 in every part (and no more overall than the worst other row
    of the batch, where that is below 0), and is counted in `timeouts` or `crashes`.

    Raises UserError where the file or function is missing, does not load, or does not take `kwargs`.
    """

    def __init__(
        self,
        reward_function: str,
        kwargs: dict[str, Any] | None = None,
        num_workers: int = 1,
        time_limit: float = 10.0,
    ) -> None:
        self.reward = UserReward.parse(reward_function, kwargs)
        self.reward.check()
        self.time_limit = time_limit
        self.timeouts = 0
        self.crashes = 0
        self._pool = GradingPool(self.reward, num_workers, time_limit)

    @property
    def name(self) -> str:
        """REWARD_NAME of the file, "unknown" where it has none."""
        return str(getattr(self.reward.module, "REWARD_NAME", "unknown"))

    def score(self, responses: Sequence[str], lengths: Sequence[int], ground_truths: Sequence[str]) -> list[Score]:
        """Scores of B rollouts, in order: dicts of floats with at least "overall" and "accuracy".

        `lengths` are response lengths in tokens. Raises UserError where the function raises for a row, or returns
        anything but a finite score; ValueError where the three lists differ in length.
        """
        rows: list[Row] = [
            {"response": response, "response_length": int(length), "ground_truth": truth}
            for response, length, truth in zip(responses, lengths, ground_truths, strict=True)
        ]
        scores: list[Score | None] = self._quick(rows)
        rest = [index for index, score in enumerate(scores) if score is None]
        for index, score in zip(rest, self._in_workers([rows[i] for i in rest]), strict=True):
            scores[index] = score
        return self._completed(scores)

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def __enter__(self) -> RewardManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _quick(self, rows: list[Row]) -> list[Score | None]:
        quick = getattr(self.reward.module, "quick_score", None)
        if quick is None:
            return [None] * len(rows)
        scores: list[Score | None] = []
        for row in rows:
            try:
                score = quick(row, **self.reward.kwargs)
                scores.append(None if score is None else checked_score(score))
            except Exception as error:
                raise self._error(row, f"{type(error).__name__}: {error}") from error
        return scores

    def _in_workers(self, rows: list[Row]) -> list[Score | None]:
        """Scores by the user's function; None for a row that timed out or crashed."""
        if not rows:
            return []
        independent = self.reward.kind == "sequential" or hasattr(self.reward.module, "quick_score")
        if not independent and len(rows) > 1:
            limit = self.time_limit * (1 + len(rows) / ROWS_PER_LIMIT)
            [outcome] = self._map([rows], limit)
            if outcome.kind == "ok":
                return outcome.value
            failure = outcome
        else:
            failure = None
        outcomes = self._map([[row] for row in rows], self.time_limit)
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.kind == "error":
                raise self._error(row, outcome.detail, outcome.trace)
        if failure is not None and failure.kind == "error":
            raise UserError(
                f"{self._where()} raised {failure.detail} for a batch of {len(rows)} rows, but for none of them alone"
                f"{_last_line(failure.trace)}"
            )
        self.timeouts += sum(outcome.kind == "timeout" for outcome in outcomes)
        self.crashes += sum(outcome.kind == "crash" for outcome in outcomes)
        return [outcome.value[0] if outcome.kind == "ok" else None for outcome in outcomes]

    def _map(self, batches: list[list[Row]], limit: float) -> list[Outcome]:
        try:
            return self._pool.map(batches, limit)
        except PoolError as error:
            raise UserError(f"{self._where()}: {error}") from error

    def _completed(self, scores: list[Score | None]) -> list[Score]:
        """Zeros for the lost rows, and an accuracy for all."""
        known = [score for score in scores if score is not None]
        if any("accuracy" not in score for score in known):
            values = {score["overall"] for score in known}
            if not values <= {0.0, 1.0}:
                found = ", ".join(f"{value:g}" for value in sorted(values - {0.0, 1.0})[:3])
                raise UserError(
                    f'{self._where()} returns no "accuracy", and its "overall" is not only 0 or 1 (found {found}): '
                    f'EchoRL has to know which answers are right. Return "accuracy" in each score (1 right, 0 wrong).'
                )
            known = [{"accuracy": score["overall"], **score} for score in known]
        lost = dict.fromkeys([key for score in known[:1] for key in score] or ["overall", "accuracy"], 0.0)
        lost["overall"] = min([0.0, *(score["overall"] for score in known)])  # to hang must never pay
        complete = iter(known)
        return [dict(lost) if score is None else next(complete) for score in scores]

    def _where(self) -> str:
        return f"{self.reward.path}:{self.reward.name}"

    def _error(self, row: Row, detail: str, trace: str = "") -> UserError:
        response = row["response"]
        excerpt = response if len(response) <= _EXCERPT else "..." + response[-_EXCERPT:]
        verb = "returned a bad score" if detail.startswith(BadScore.__name__) else "raised an error"
        return UserError(
            f"{self._where()} {verb}: {detail.removeprefix(BadScore.__name__ + ': ')}{_last_line(trace)}\n"
            f"  response (end of it): {excerpt!r}\n  ground truth: {row['ground_truth']!r}"
        )


def _last_line(trace: str) -> str:
    """Where in the user's file it happened: the last `File ..., line ...` of a traceback."""
    places = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    return f" ({places[-1]})" if places else ""
