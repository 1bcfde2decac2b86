"""Processes of a made-up run on Ray, for test_follow; they import next to nothing."""

from __future__ import annotations

import os
import time

import ray

from echorl_vl.data.images import ImageError
from echorl_vl.errors import UserError


class Writer:
    """A process that a run needs."""

    def __init__(self, wrong: str = "") -> None:
        if wrong == "picture":
            raise ImageError("row 3, images[0]", "torn")
        if wrong:
            raise UserError(f"config.yaml: no such {wrong}")

    def pid(self) -> int:
        return os.getpid()

    def work(self, wrong: str = "") -> None:
        if wrong == "picture":
            raise ImageError("row 3, images[0]", "torn")
        raise UserError("row 3 is wrong")

    def sleep(self) -> None:
        time.sleep(600)


class Driver:
    def waits(self, writer) -> None:
        ray.get(writer.sleep.remote())

    def works(self, writer, *wrong: str) -> None:
        ray.get(writer.work.remote(*wrong))

    def polls(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True

    def fails(self) -> None:
        raise RuntimeError("a bug")
