"""Configuration: EasyR1's schema plus `echo:` and `engine:`, loaded from YAML, overridden by dotted keys, checked."""

from .dump import config_to_dict, to_yaml
from .issues import ConfigIssue
from .load import load_config
from .names import ENGINES
from .schema import ActorConfig, AlgorithmConfig, Config, FSDPConfig, ModelConfig, OffloadConfig, OptimConfig

__all__ = [
    "ENGINES",
    "ActorConfig",
    "AlgorithmConfig",
    "Config",
    "ConfigIssue",
    "FSDPConfig",
    "ModelConfig",
    "OffloadConfig",
    "OptimConfig",
    "config_to_dict",
    "load_config",
    "to_yaml",
]
