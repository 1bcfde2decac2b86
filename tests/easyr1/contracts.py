"""Behaviour of EasyR1 that the adapter relies on: `python contracts.py` prints {contract: what has changed}.

Importing EasyR1 on a CPU changes torch for the whole process, so this runs in a separate one.
"""

from __future__ import annotations

import json
import os
import tempfile
import traceback
from types import SimpleNamespace

os.environ["ECHORL_VL_DRY_RUN"] = "easyr1"

import numpy as np
import torch
from ray_runs import expect as _expect

import echorl_vl.engines.easyr1  # noqa: F401  (replaces CUDA by the CPU)
from echorl_vl.engines.easyr1.hooks import HOST


def expect(condition: bool, what: str, found: object = None) -> None:
    _expect(condition, HOST, what, found)


def every_hook_is_there() -> None:
    HOST.check_hooks()


def a_last_axis_of_log_probs_passes_through() -> None:
    """`EchoActor.compute_log_prob` returns (b, T, 2): EasyR1 pads and reorders along the first two axes only."""
    from verl.protocol import DataProto
    from verl.workers.actor.dp_actor import DataParallelPPOActor

    vocabulary, rows, prompt, width, temperature = 13, 4, 3, 5, 0.7
    table = torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(0))

    class Model(torch.nn.Module):
        def forward(self, input_ids, **_):
            return SimpleNamespace(logits=table[input_ids])

    ids = torch.arange(rows * (prompt + width)).view(rows, -1) * 5 % vocabulary
    mask = torch.ones_like(ids)
    mask[1, 0] = mask[2, :2] = 0  # prompts are padded on the left, responses on the right
    mask[0, -2:] = mask[3, -1] = 0
    inputs = np.array([{}] * rows, dtype=object)
    tensors = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    tensors["responses"] = responses = ids[:, prompt:]
    expected = (table[ids[:, prompt - 1 : -1]] / temperature).gather(-1, responses[..., None]).squeeze(-1)
    inside = mask[:, prompt:].bool()
    for padding_free, dynamic in ((True, True), (True, False), (False, True), (False, False)):
        config = SimpleNamespace(
            padding_free=padding_free, dynamic_batching=dynamic, ulysses_size=1, use_torch_compile=False,
            micro_batch_size_per_device_for_experience=2,
        )  # fmt: skip
        actor = DataParallelPPOActor(config=config, actor_module=Model())
        actor.log_probs_from_logits = lambda logits, labels: torch.stack(
            [logits.gather(-1, labels[..., None]).squeeze(-1), labels.float()], -1
        )
        found = actor.compute_log_prob(
            DataProto.from_dict(dict(tensors), {"multi_modal_inputs": inputs}, {"temperature": temperature})
        )
        kind = f"{'packed' if padding_free else 'padded'}, {'dynamic' if dynamic else 'fixed'} micro-batches"
        shape = (rows, width, 2)
        expect(found.shape == shape, f"compute_log_prob ({kind}) keeps a last axis, {shape}", tuple(found.shape))
        same = torch.allclose(found[..., 0][inside], expected[inside]) and torch.equal(
            found[..., 1][inside], responses[inside].float()
        )
        expect(same, f"compute_log_prob ({kind}) keeps the values of a last axis")


def it_packs_these_models() -> None:
    """`engine.MODEL_TYPES` is EasyR1's own list."""
    from verl.models.monkey_patch import SUPPORTED_MODEL_TYPE

    from echorl_vl.engines.easyr1.engine import MODEL_TYPES

    expect(set(SUPPORTED_MODEL_TYPE) == set(MODEL_TYPES), f"it packs {MODEL_TYPES}", SUPPORTED_MODEL_TYPE)


def metrics_are_means_whatever_their_names() -> None:
    """EasyR1's reduction averages all metrics over ranks and steps, including ours."""
    from verl.trainer.metrics import reduce_metrics

    found = reduce_metrics({"echo/clips": np.array([7.0]), "a_max": [1.0, 3.0], "min/b": np.array([1.0, 3.0])})
    expect(
        found == {"echo/clips": 7.0, "a_max": 2.0, "min/b": 2.0}, "reduce_metrics takes means under all names", found
    )


def columns_that_it_does_not_know_pass_through() -> None:
    """A row's uid, question and demonstration reach the trainer; the question under its original name is dropped."""
    from transformers import AutoTokenizer
    from verl.utils.dataset import RLHFDataset, collate_fn

    tokenizer = AutoTokenizer.from_pretrained("echorl_vl/tiny/model")
    ours = {"problem_uid": "set:3", "problem_question": "1 + 1?", "demonstration": [4, 5]}
    dataset = RLHFDataset.__new__(RLHFDataset)
    dataset.__dict__ |= {
        "tokenizer": tokenizer, "processor": None, "dataset": [{"problem": "1 + 1?", "answer": "2"} | ours],
        "prompt_key": "problem", "answer_key": "answer", "image_key": "images", "video_key": "videos",
        "image_dir": None, "max_prompt_length": 32, "truncation": "right", "format_prompt": None,
        "min_pixels": None, "max_pixels": None, "video_fps": 2.0,
    }  # fmt: skip
    row = dataset[0]
    expect({name: row.get(name) for name in ours} == ours, "RLHFDataset keeps columns that it does not know", list(row))
    expect(row.get("ground_truth") == "2", "RLHFDataset calls the answer ground_truth", list(row))
    batch = collate_fn([row, dict(row)])
    uids = batch["problem_uid"]
    expect(uids.dtype == object and uids.tolist() == ["set:3"] * 2, "collate_fn turns them into object arrays", uids)


def the_loop_ends_with_the_step_that_is_made_the_last() -> None:
    """For the stop file, `Tracker.log` sets `training_steps` to the current step and `val_reward_fn` to None."""
    from verl.protocol import DataProto
    from verl.trainer import ray_trainer

    logged, saved, validated = [], [], []

    class Tracker:
        def __init__(self, **_):
            pass

        def log(self, data, step):
            logged.append(step)
            trainer.training_steps, trainer.val_reward_fn = trainer.global_step, None

    def make_batch(metrics):
        ones = torch.ones(2, 3)
        tensors = {"responses": ones.long(), "response_mask": ones, "token_level_scores": ones}
        tensors["prompts"], tensors["attention_mask"] = torch.ones(2, 2).long(), torch.ones(2, 5)
        return DataProto.from_dict(tensors, {"uid": np.array(["a", "a"], dtype=object)})

    trainer = ray_trainer.RayPPOTrainer.__new__(ray_trainer.RayPPOTrainer)
    section = {"logger": [], "val_before_train": False, "critic_warmup": 99, "val_freq": -1, "save_freq": -1}
    algorithm = {"use_kl_loss": True, "adv_estimator": "grpo", "gamma": 1.0, "lam": 1.0}
    trainer.config = SimpleNamespace(
        trainer=SimpleNamespace(**section), algorithm=SimpleNamespace(**algorithm), to_dict=dict
    )
    old = DataProto.from_dict({"old_log_probs": torch.zeros(2, 3)})
    trainer.actor_rollout_ref_wg = SimpleNamespace(
        prepare_rollout_engine=lambda: None, release_rollout_engine=lambda: None, compute_log_probs=lambda _: old
    )
    trainer.resource_pool_manager = SimpleNamespace(get_num_gpus=lambda: 1)
    trainer.training_steps, trainer.train_dataloader, trainer.val_reward_fn = 5, [], object()
    trainer.use_reference_policy = trainer.use_critic = False
    trainer._load_checkpoint = lambda: None
    trainer._make_batch_data, trainer._balance_batch = make_batch, lambda *_, **__: None
    trainer._validate = lambda: validated.append(trainer.global_step)
    trainer._save_checkpoint = lambda: saved.append(trainer.global_step)
    ray_trainer.Tracker, ray_trainer.tqdm = Tracker, lambda *_, **__: SimpleNamespace(update=lambda *_: None)
    trainer.fit()
    expect(logged == [1], "fit ends once training_steps is the step that it has just logged", logged)
    expect(saved == [1], "fit then saves a checkpoint", saved)
    expect(validated == [], "fit does not validate without val_reward_fn", validated)


def fsdp_wraps_modules_as_easyr1_names_them() -> None:
    """`FSDP.module` is the wrapped module; names of its parameters have the prefix `_fsdp_wrapped_module.`."""
    import torch.distributed as dist
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(backend="gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        inner = torch.nn.Linear(2, 2)
        wrapped = FSDP(inner, use_orig_params=True, device_id=torch.device("cpu"))
        names = [name for name, _ in torch.nn.Sequential(wrapped).named_parameters()]
        dist.destroy_process_group()
    expect(wrapped.module is inner, "FSDP.module is the module that it wraps (torch)", type(wrapped.module))
    expected = ["0._fsdp_wrapped_module.weight", "0._fsdp_wrapped_module.bias"]
    expect(names == expected, "parameters in an FSDP module have these names (torch)", names)


def ray_builds_a_worker_around_the_first_base() -> None:
    """EchoWorkerMixin is a Worker without an `__init__`: EasyR1 builds the process of a worker around `__base__`."""
    import ray
    from verl.single_controller.base import Worker
    from verl.single_controller.ray import RayClassWithInitArgs
    from verl.single_controller.ray.base import create_colocated_worker_cls

    from echorl_vl.engines.easyr1.worker import EchoWorker, EchoWorkerMixin

    made = create_colocated_worker_cls({"actor_rollout_ref": RayClassWithInitArgs(ray.remote(EchoWorker))})
    built = made.cls.__ray_metadata__.modified_class
    expect(
        EchoWorker.__base__ is EchoWorkerMixin and issubclass(EchoWorkerMixin, Worker),
        "EchoWorkerMixin is the base of EchoWorker and a Worker",
    )
    expect(EchoWorkerMixin in built.__mro__, "a worker's process is built around __base__ of its class", built.__mro__)


CONTRACTS = [
    every_hook_is_there,
    a_last_axis_of_log_probs_passes_through,
    it_packs_these_models,
    metrics_are_means_whatever_their_names,
    columns_that_it_does_not_know_pass_through,
    the_loop_ends_with_the_step_that_is_made_the_last,
    fsdp_wraps_modules_as_easyr1_names_them,
    ray_builds_a_worker_around_the_first_base,
]


def fault(contract) -> str:
    """Describe what has changed; a traceback if something else fails; empty if nothing has changed."""
    try:
        contract()
    except AssertionError as error:
        return str(error)
    except Exception:
        return f"{HOST.found()}, measured with {HOST.measured}:\n{traceback.format_exc()}"
    return ""


if __name__ == "__main__":
    print(json.dumps({contract.__name__: fault(contract) for contract in CONTRACTS}))
