"""Processes of a fake run on Ray, for test_driver; they import very little."""

from __future__ import annotations

import os
import time

import ray

from echorl_vl.data.images import ImageError
from echorl_vl.errors import UserError


class Writer:
    """A process that a run needs. `fault`: "image" raises ImageError, anything else UserError."""

    def __init__(self, fault: str = "") -> None:
        if fault == "image":
            raise ImageError("row 3, images[0]", "torn")
        if fault:
            raise UserError(f"config.yaml: no such {fault}")

    def pid(self) -> int:
        return os.getpid()

    def work(self, fault: str = "") -> None:
        if fault == "image":
            raise ImageError("row 3, images[0]", "torn")
        raise UserError("row 3 is invalid")

    def sleep(self) -> None:
        time.sleep(600)


class Driver:
    def waits(self, writer) -> None:
        ray.get(writer.sleep.remote())

    def works(self, writer, *fault: str) -> None:
        ray.get(writer.work.remote(*fault))

    def polls(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True

    def fails(self) -> None:
        raise RuntimeError("a bug")
