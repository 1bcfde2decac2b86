"""Configuration: EasyR1's schema plus `echo:` and `engine:`, loaded from YAML, overridden by dotted keys, checked."""

from .dump import config_to_dict, to_yaml
from .engines import ENGINES, KeyNames
from .issues import ConfigIssue
from .load import load_config
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
    "ENGINES",
    "ActorConfig",
    "AlgorithmConfig",
    "Config",
    "ConfigIssue",
    "CriticConfig",
    "DataConfig",
    "FSDPConfig",
    "KeyNames",
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
    "config_to_dict",
    "load_config",
    "to_yaml",
]
