"""Processes of a made-up run on Ray, for test_follow; they import next to nothing."""

from __future__ import annotations

import os
import time

import ray

from echorl_vl.errors import UserError


class Writer:
    """A process that a run needs."""

    def __init__(self, wrong: bool = False) -> None:
        if wrong:
            raise UserError("config.yaml: no such reward")

    def pid(self) -> int:
        return os.getpid()

    def work(self) -> None:
        raise UserError("row 3 is wrong")

    def sleep(self) -> None:
        time.sleep(600)


class Driver:
    def waits(self, writer) -> None:
        ray.get(writer.sleep.remote())

    def works(self, writer) -> None:
        ray.get(writer.work.remote())

    def polls(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True

    def fails(self) -> None:
        raise RuntimeError("a bug")
