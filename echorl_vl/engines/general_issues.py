"""Checks across keys that hold for all engines, after each value has been checked on its own.

A check yields `ConfigIssue`s. `load_config` drops those that depend on a key with an invalid value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil

from echorl_vl.algorithms import ALGORITHMS, Capability, make_algorithm
from echorl_vl.config import Config, ConfigIssue
from echorl_vl.config.dump import get_value
from echorl_vl.config.issues import at, invalid_value, issue_at
from echorl_vl.config.schema import OPTIONS
from echorl_vl.errors import show
from echorl_vl.places import search_folders, split_suffix
from echorl_vl.spelling import nearest_key

BYTES_PER_TOKEN = 8  # of a token id; a step needs more memory per token
LEAST_GRADERS, GRADERS_PER_CORE = 32, 4  # graders mostly wait, so several per core are fine
GROUP_ESTIMATORS = ("grpo", "grpo_passk", "rloo", "reinforce_rej")
SAMPLING = ("n", "temperature", "top_p", "top_k", "seed", "ignore_eos")  # the sampling parameters of a request
DETOKENIZE = "it changes no response: they are decoded outside of the sampler (worker.reward.skip_special_tokens)"
OUR_REWARD = "echorl_vl/rewards/geometry.py:compute_score"


def general_issues(config: Config) -> list[ConfigIssue]:
    """The keys whose values no engine supports."""
    return [
        *_required(config),
        *_algorithm(config),
        *_groups(config),
        *_batches(config),
        *_orders(config),
        *_dynamic_sampling(config),
        *_temperature(config),
        *_validation_overrides(config),
        *_files(config),
        *_machine(config),
    ]


def _required(config: Config) -> Iterator[ConfigIssue]:
    needed = {
        "worker.actor.model.model_path": "the folder or hub id of a model, for example echorl_vl/tiny/model",
        "worker.reward.reward_function": f"path.py:function, for example {OUR_REWARD}",
    }
    if config.trainer.val_only:
        needed["data.val_files"] = "a set of problems, since trainer.val_only is true"
    else:
        needed["data.train_files"] = "a set of problems, for example hiyouga/geometry3k@train"
    if config.trainer.val_freq > 0:
        needed["data.val_files"] = "a set of problems, or trainer.val_freq=-1 for none"
    for key, expected in needed.items():
        if not get_value(config, key):
            yield ConfigIssue((key,), f"{key} is not set ({config.origin(key)}): expected {expected}")


def _algorithm(config: Config) -> Iterator[ConfigIssue]:
    name, key = config.algorithm.name, "algorithm.options"
    try:
        algorithm = make_algorithm(name, config.algorithm.options)
    except ValueError as error:
        yield ConfigIssue((key, "algorithm.name"), f"{error} ({config.origin(key)})")
        return
    if algorithm.needs_demonstrations and not config.data.demonstration_key and not config.trainer.val_only:
        expected = f"expected the column of worked solutions, since algorithm.name = {name} learns from them"
        yield ConfigIssue(
            ("data.demonstration_key", "algorithm.name"), f"{at(config, 'data.demonstration_key')}: {expected}"
        )
    if Capability.NO_ROLLOUTS in algorithm.needs:
        for other, off in (
            ("echo.coef", 0),
            ("algorithm.online_filtering", False),
            ("algorithm.disable_kl", True),
            ("worker.actor.entropy_coef", 0),
        ):
            if get_value(config, other) != off:
                yield ConfigIssue((other, "algorithm.name"), f"{at(config, other)}: expected {show(off)} with {name}")
    filtering = "algorithm.online_filtering"
    for need, why in (
        (Capability.ROUNDS, f"{name} samples in rounds of its own"),
        (Capability.SFT_STEPS, f"{name} learns from the groups that all fail, which filtering drops"),
        (
            Capability.OFF_POLICY_ROWS,
            f"the demonstration of {name} gives groups that all fail an advantage, and filtering drops them",
        ),
    ):
        if need in algorithm.needs and config.algorithm.online_filtering:
            yield ConfigIssue((filtering, "algorithm.name"), f"{at(config, filtering)}: {why}; expected false")
    if conflict := algorithm.conflict(config.worker.rollout.n):
        option, expected = conflict
        value = f"{key}.{option} = {getattr(algorithm, option)} ({config.origin(key)})"
        yield ConfigIssue((key, "worker.rollout.n"), f"{value}: expected {expected}")
    in_reward = not config.algorithm.disable_kl and not config.algorithm.use_kl_loss
    if algorithm.ignores_returns and in_reward:
        other = "algorithm.use_kl_loss"
        expected = f"expected true, or disable_kl = true: a KL in the reward is lost on {name}"
        yield ConfigIssue((other, "algorithm.disable_kl", "algorithm.name"), f"{at(config, other)}: {expected}")
    if Capability.OFF_POLICY_ROWS in algorithm.needs and config.worker.rollout.n < 3:
        key, expected = "worker.rollout.n", f"expected at least 3 with {name}: one row of a group is the demonstration"
        yield ConfigIssue((key, "algorithm.name"), f"{at(config, key)}: {expected}")


def _groups(config: Config) -> Iterator[ConfigIssue]:
    estimator = config.algorithm.adv_estimator
    if Capability.NO_ROLLOUTS in ALGORITHMS[config.algorithm.name].needs:
        return
    if estimator in GROUP_ESTIMATORS and config.worker.rollout.n < 2:
        key = "worker.rollout.n"
        message = f"{at(config, key)}: expected at least 2 with algorithm.adv_estimator = {estimator}"
        yield ConfigIssue((key, "algorithm.adv_estimator"), f"{message}, which compares the rollouts of a group")


def _batches(config: Config) -> Iterator[ConfigIssue]:
    yield from batch_issues(config, "actor")
    if config.data.val_batch_size == 0:
        key = "data.val_batch_size"
        expected = "-1 (all) or at least 1: EasyR1's data loader fails on 0, too"
        yield invalid_value(key, 0, config.origin(key), expected)


def batch_issues(config: Config, role: str) -> Iterator[ConfigIssue]:
    """Batch sizes of `worker.<role>` that don't divide each other."""
    prompts, n = config.data.rollout_batch_size, config.worker.rollout.n
    batch_key, micro_key = f"worker.{role}.global_batch_size", f"worker.{role}.micro_batch_size_per_device_for_update"
    batch, micro = get_value(config, batch_key), get_value(config, micro_key)
    if prompts % batch:
        yield issue_at(config, "data.rollout_batch_size", f"expected a multiple of {at(config, batch_key)}", batch_key)
    if batch * n > micro and batch * n % micro:  # larger micro-batches are capped
        rollouts = f"{at(config, batch_key)} times {at(config, 'worker.rollout.n')}"
        why = f"expected a divisor of {batch * n}, which is {rollouts}"
        yield issue_at(config, micro_key, why, batch_key, "worker.rollout.n")


def _machine(config: Config) -> Iterator[ConfigIssue]:
    """Values that are too large for the memory or the cores of this machine."""
    tokens = config.data.max_prompt_length + config.data.max_response_length
    rollouts = config.data.rollout_batch_size * config.worker.rollout.n
    memory = psutil.virtual_memory().total
    if (least := rollouts * tokens * BYTES_PER_TOKEN) > memory:
        keys = ("data.rollout_batch_size", "worker.rollout.n", "data.max_prompt_length", "data.max_response_length")
        what = " x ".join(f"{key} = {get_value(config, key):,}" for key in keys[:2])
        size = f"{rollouts:,} rollouts of up to {tokens:,} tokens, {least / 2**30:,.0f} GiB for their ids alone"
        expected = f"expected no more than this machine's {memory / 2**30:,.0f} GiB hold"
        yield ConfigIssue(keys, f"{what} ({config.origin(keys[0])}): {size}; {expected}")
    cores, key = os.cpu_count() or 1, "worker.reward.num_cpus"
    most = max(LEAST_GRADERS, GRADERS_PER_CORE * cores)
    if get_value(config, key) > most:
        yield ConfigIssue(
            (key,), f"{at(config, key)}: expected at most {most} processes on the {cores} cores of this machine"
        )


def _orders(config: Config) -> Iterator[ConfigIssue]:
    """Pairs of keys whose first value must not exceed the second."""
    for low, high in (("data.min_pixels", "data.max_pixels"), ("algorithm.filter_low", "algorithm.filter_high")):
        smallest, largest = get_value(config, low), get_value(config, high)
        if smallest is not None and largest is not None and smallest > largest:
            yield ConfigIssue((low, high), f"{at(config, low)}: expected at most {at(config, high)}")


def _dynamic_sampling(config: Config) -> Iterator[ConfigIssue]:
    algorithm, sampling, keep = config.algorithm, "algorithm.dynamic_sampling", "algorithm.keep_all_success_groups"
    for key, kept in ((sampling, algorithm.dynamic_sampling == "echo"), (keep, algorithm.keep_all_success_groups)):
        if kept and not algorithm.online_filtering:
            message = f"{at(config, key)}: goes with online_filtering = true"
            yield ConfigIssue((key, "algorithm.online_filtering"), message)
    if algorithm.dynamic_sampling == "echo" and algorithm.keep_all_success_groups is False:
        yield ConfigIssue((keep, sampling), f"{at(config, keep)}: expected true or null with {at(config, sampling)}")


def _temperature(config: Config) -> Iterator[ConfigIssue]:
    key = "worker.rollout.temperature"
    if config.worker.rollout.temperature == 0 and not config.trainer.val_only:
        why = (
            "expected a number above 0: at 0 all rollouts of a prompt are the same, and nothing is left to compare. "
            "Greedy validation: worker.rollout.val_override_config={temperature: 0}"
        )
        yield ConfigIssue((key,), f"{at(config, key)}: {why}")


def _validation_overrides(config: Config) -> Iterator[ConfigIssue]:
    """Checks that `val_override_config` has only `SAMPLING` keys of `worker.rollout`, with values in their ranges.

    Converts the values in place.
    """
    owner = "worker.rollout.val_override_config"
    options = {name: OPTIONS[f"worker.rollout.{name}"] for name in SAMPLING}
    for name, value in config.worker.rollout.val_override_config.items():
        key, origin = f"{owner}.{name}", config.origin(owner)
        option = options.get(str(name))
        if option is None:
            nearest = nearest_key(str(name), options)
            hint = f"did you mean {nearest}?" if nearest else f"expected keys of {', '.join(options)}"
            reason = DETOKENIZE if name == "detokenize" else f"validation has no such key of its own; {hint}"
            yield ConfigIssue((owner, key), f"{key} ({origin}): {reason}")
            continue
        try:
            config.worker.rollout.val_override_config[name] = option.convert(value)  # `n: 2.0` becomes 2
        except ValueError:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            yield invalid_value(key, value, origin, option.range if option.range and number else option.type_text)


def _files(config: Config) -> Iterator[ConfigIssue]:
    """Local files and folders that don't exist. The data loader checks problem sets."""
    expected = {
        "data.format_prompt": "a file",
        "data.override_chat_template": "a file",
        "data.image_dir": "a folder",
        "worker.reward.reward_function": "a file",
        "trainer.load_checkpoint_path": "a folder",
        "worker.actor.model.model_path": "a folder",
        "worker.actor.model.tokenizer_path": "a folder",
    }
    for key, kind in expected.items():
        value = get_value(config, key)
        if not value or (kind == "a folder" and "model." in key and not _looks_local(value)):
            continue
        path = value
        if key == "worker.reward.reward_function":
            path = value if os.path.isfile(value) else split_suffix(value, ":")[0] or value
        if (os.path.isfile if kind == "a file" else os.path.isdir)(path):
            continue
        if os.path.exists(path):
            found = "this is a folder" if kind == "a file" else "this is a file"
            yield ConfigIssue((key,), f"{at(config, key)}: {found}; expected {kind}")
        else:
            yield ConfigIssue((key,), f"{at(config, key)}: no such {kind[2:]}{_searched(config, path)}")


def _looks_local(value: str) -> bool:
    """Whether a model path can't be a hub id (`owner/name`)."""
    return value.startswith(("/", "./", "../", "~")) or value.count("/") > 1 or os.path.isfile(value)


def _searched(config: Config, path: str) -> str:
    if os.path.isabs(os.path.expanduser(path)):
        return ""
    folders = search_folders(config.source.folder)
    return f" in {', '.join(map(str, folders))}"
