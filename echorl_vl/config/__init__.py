"""Configuration: EasyR1's schema plus `echo:` and `engine:`, loaded from YAML, overridden by dotted keys, checked.

`load_config` is the way in; everything that reads a Config reads plain dataclasses.
"""

from .check import check_local, local_problems
from .check_easyr1 import check_easyr1, easyr1_problems
from .check_verl import check_verl, verl_problems
from .dump import config_to_dict, to_yaml
from .help import full_help, short_help
from .load import load_config
from .micro_batches import capped, world_size
from .notes import start_notes
from .presets import clip_note, overridden
from .problems import Problem
from .rehearsal import rehearsed
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
    "CriticConfig",
    "DataConfig",
    "FSDPConfig",
    "LoraConfig",
    "ModelConfig",
    "OffloadConfig",
    "OptimConfig",
    "Problem",
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
    "easyr1_problems",
    "full_help",
    "load_config",
    "local_problems",
    "overridden",
    "rehearsed",
    "short_help",
    "start_notes",
    "to_yaml",
    "verl_problems",
    "world_size",
]
