"""Configuration: EasyR1's schema plus `echo:` and `engine:`, loaded from YAML, overridden by dotted keys, checked.

`load_config` is the way in; everything that reads a Config reads plain dataclasses.
"""

from .check import check_local, local_issues
from .check_easyr1 import check_easyr1, easyr1_issues
from .check_verl import check_verl, verl_issues
from .cpu_dry_run import for_dry_run
from .dump import config_to_dict, to_yaml
from .help import full_help, short_help
from .issues import ConfigIssue
from .load import load_config
from .micro_batches import capped, world_size
from .notes import start_notes
from .presets import clip_note, overridden
from .schema import AlgorithmConfig, Config, DataConfig, Source, TrainerConfig
from .worker import (
    ActorConfig,
    CriticConfig,
    FSDPConfig,
    LoraConfig,
    ModelConfig,
    OffloadConfig,
    OptimConfig,
    RefConfig,
    RewardConfig,
    RolloutConfig,
    WorkerConfig,
)

__all__ = [
    "ActorConfig",
    "AlgorithmConfig",
    "Config",
    "ConfigIssue",
    "CriticConfig",
    "DataConfig",
    "FSDPConfig",
    "LoraConfig",
    "ModelConfig",
    "OffloadConfig",
    "OptimConfig",
    "RefConfig",
    "RewardConfig",
    "RolloutConfig",
    "Source",
    "TrainerConfig",
    "WorkerConfig",
    "capped",
    "check_easyr1",
    "check_local",
    "check_verl",
    "clip_note",
    "config_to_dict",
    "easyr1_issues",
    "for_dry_run",
    "full_help",
    "load_config",
    "local_issues",
    "overridden",
    "short_help",
    "start_notes",
    "to_yaml",
    "verl_issues",
    "world_size",
]
