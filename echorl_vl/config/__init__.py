"""Configuration: EasyR1's schema plus `echo:` and `engine:`, loaded from YAML, overridden by dotted keys, checked.

`load_config` is the way in; everything that reads a Config reads plain dataclasses.
"""

from .dump import config_to_dict, to_yaml
from .help import full_help, short_help
from .issues import ConfigIssue
from .load import load_config
from .notes import clip_note, overridden, start_notes, tied_to_length
from .schema import ENGINES, AlgorithmConfig, Config, DataConfig, Source, TrainerConfig
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
    "ENGINES",
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
    "clip_note",
    "config_to_dict",
    "full_help",
    "load_config",
    "overridden",
    "short_help",
    "start_notes",
    "tied_to_length",
    "to_yaml",
]
