"""One rank of a run with several, `torchrun trl_ranks.py text|pictures OUT`: rank 0 writes what it measured to OUT.

A rank leaves without tearing the interpreter down. After training the process group is still held by the wrapped model,
so gloo's loops (C++ threads: pt_gloo_runloop, gloo_tcp_loop) live on into the teardown, where a rank aborted now and
then, "terminate called without an active exception", though all that it had to do was done.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed
from trl_runs import picture_model, picture_problems, scripted, scripted_pictures, text_model, text_problems, train

from echorl_vl.core import EchoConfig
from echorl_vl.trl import EchoGRPOTrainer

GROUPS = 3  # of four rows: with two ranks of six rows, the second one lies on both


def run(kind: str, folder: Path, **split):
    model, problems, rollout = text_model(), text_problems(GROUPS), scripted
    if kind == "pictures":
        model, problems, rollout = picture_model(), picture_problems(GROUPS), scripted_pictures
    own = {"rollout_func": rollout, "echo": EchoConfig(coef=0.5, normalize_by="clips")}
    return train(EchoGRPOTrainer, folder, model, problems, own=own, **split)


if __name__ == "__main__":
    kind, out = sys.argv[1], Path(sys.argv[2])
    trainer = run(kind, out.parent / "trainer", per_device_train_batch_size=3, gradient_accumulation_steps=2)
    if int(os.environ["RANK"]) == 0:
        (row,) = [row for row in trainer.state.log_history if "echo/loss" in row]
        torch.save({"gradient": trainer.gradients.mean(), "logs": row, "ranks": trainer.accelerator.num_processes}, out)
    torch.distributed.barrier()  # the other rank may still need this one
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
