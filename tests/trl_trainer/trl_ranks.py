"""One rank of a distributed run, `torchrun trl_ranks.py text|images OUT`; rank 0 writes its results to OUT.

A rank exits with os._exit(). The wrapped model keeps the process group alive after training, so gloo's C++ threads
(pt_gloo_runloop, gloo_tcp_loop) are still running at interpreter shutdown, which sometimes aborted a finished rank with
"terminate called without an active exception".
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed
from trl_runs import image_model, image_problems, scripted, scripted_images, text_model, text_problems, train

from echorl_vl.core import EchoConfig
from echorl_vl.trl import EchoGRPOTrainer

GROUPS = 3  # of four rows: with two ranks of six rows, the second group is on both


def run(kind: str, folder: Path, **split):
    model, problems, rollout = text_model(), text_problems(GROUPS), scripted
    if kind == "images":
        model, problems, rollout = image_model(), image_problems(GROUPS), scripted_images
    extra = {"rollout_func": rollout, "echo": EchoConfig(coef=0.5, normalize_by="clips")}
    return train(EchoGRPOTrainer, folder, model, problems, extra=extra, **split)


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
