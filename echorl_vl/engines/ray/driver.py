"""Join or start a Ray cluster, run the driver process in it, and wait for it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from echorl_vl.config import Config
from echorl_vl.engines.interrupt import StopRequest
from echorl_vl.engines.ray.adjusted import world_size
from echorl_vl.engines.ray.lost import cause_of, lost_error, lost_processes, process_of
from echorl_vl.engines.ray.recorder import STOP_FILE
from echorl_vl.engines.ray.resources import cluster_issue
from echorl_vl.errors import UserError
from echorl_vl.outputs.log import is_quiet

LOOK_SECONDS = 5.0
GRACE_SECONDS = 20.0  # for the driver to report the loss itself, with more detail


@dataclass(frozen=True)
class Driver:
    """The driver process of a training run.

    Attributes:
        cls: its class. `run(settings)` trains and returns whether the last step was reached.
        settings: the host's configuration.
        environment: environment variables of all processes.
        extra_cpus: CPUs of a CPU dry run in addition to one per worker; Ray starts one process per CPU in advance.
    """

    cls: type
    settings: Any
    environment: Mapping[str, str]
    extra_cpus: int


def run_driver(config: Config, run: Path, driver: Driver, dry_run_environment: Mapping[str, str]) -> bool:
    """Train.

    Args:
        config: the configuration.
        run: the run folder.
        driver: the driver process.
        dry_run_environment: environment variables of all processes in a CPU dry run.

    Returns:
        True if the last step was reached, False if the user stopped the run.

    Raises:
        UserError: the cluster has too few GPUs, or a process of the run raised a UserError or died.
    """
    stop = run / STOP_FILE
    stop.unlink(missing_ok=True)
    _join_or_start(config, run, driver, dry_run_environment)
    try:
        actor = ray.remote(num_cpus=1)(driver.cls).remote()  # as both hosts do
        return wait_for_driver(actor.run.remote(driver.settings), stop)
    finally:
        stop.unlink(missing_ok=True)
        if config.trainer.ray_timeline is not None:
            ray.timeline(filename=config.trainer.ray_timeline)
        ray.shutdown()  # disconnects from an existing cluster, and stops one that this process started


def _join_or_start(config: Config, run: Path, driver: Driver, dry_run_environment: Mapping[str, str]) -> None:
    """Connect to the Ray cluster of this machine, or start one. Raises UserError if it has too few GPUs."""
    folders = {"TENSORBOARD_DIR": run / "tensorboard", "WANDB_DIR": run}
    environment = {name: os.environ.get(name, str(folder)) for name, folder in folders.items()} | driver.environment
    options: dict[str, Any] = {}
    if config.trainer.device == "cpu":
        environment |= dry_run_environment
        world = world_size(config)  # fake GPUs: Ray only counts them
        cpus = world + driver.extra_cpus
        options = {"address": "local", "num_cpus": cpus, "num_gpus": world, "include_dashboard": False}
    if not ray.is_initialized():
        log_hook = "echorl_vl.outputs.log.set_up_logging"  # in each process of the run
        runtime_env = {"env_vars": environment, "worker_process_setup_hook": log_hook}
        ray.init(runtime_env=runtime_env, log_to_driver=not is_quiet(), **options)
    if issue := cluster_issue(config, ray.cluster_resources()):
        ray.shutdown()
        raise UserError(issue)


def wait_for_driver(task: Any, stop: Path) -> bool:
    """Wait for the driver. The first Ctrl-C or SIGTERM stops it after the current step, the second at once.

    Dead processes are looked for while waiting: verl's trainer polls for rollouts, and would poll forever for those of
    a process that died.

    Returns:
        What the driver returns; False after a second signal.

    Raises:
        UserError: a process of the run raised one, or died.
    """
    with StopRequest(stop.touch):
        try:
            return _wait(task, stop.parent)
        except KeyboardInterrupt:
            return False


def _wait(task: Any, run: Path) -> bool:
    before = lost_processes()
    lost_since: float | None = None
    while True:
        try:
            ready, _ = ray.wait([task], timeout=LOOK_SECONDS)
            if ready:
                return ray.get(task)
            lost = [process for key, process in lost_processes().items() if key not in before]
            if not lost:
                continue
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since >= GRACE_SECONDS:
                raise lost_error(", ".join(lost), "", run)
        except RayError as error:
            cause = cause_of(error)
            if isinstance(cause, UserError):
                raise UserError(str(cause)) from None
            if process := process_of(cause):
                raise lost_error(process, str(cause), run) from error
            raise
