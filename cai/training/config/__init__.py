"""The settings of a training run: one dataclass a stage, read from options and YAML.

Every field has a default that trains something sensible, and its own line of help, from which the
command line is made. Contradictions are refused here, before anything is loaded.
"""

from cai.training.config.base import DTYPES, LORA, SettingError, TrainConfig
from cai.training.config.build import CONFIGS, build_config
from cai.training.config.on_policy import (
    DistillConfig,
    OnPolicyConfig,
    PpoConfig,
    RlConfig,
    RlooConfig,
)
from cai.training.config.rows import (
    DpoConfig,
    KtoConfig,
    PairsConfig,
    RewardConfig,
    RowsConfig,
    SftConfig,
)

__all__ = [
    "CONFIGS",
    "DTYPES",
    "LORA",
    "DistillConfig",
    "DpoConfig",
    "KtoConfig",
    "OnPolicyConfig",
    "PairsConfig",
    "PpoConfig",
    "RewardConfig",
    "RlConfig",
    "RlooConfig",
    "RowsConfig",
    "SettingError",
    "SftConfig",
    "TrainConfig",
    "build_config",
]
