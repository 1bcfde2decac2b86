"""The trainers' names in verl's registry: what `trainer.v1.trainer_mode` may say."""

from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer

from echorl_vl.engines.verl.plugin import warn_where_the_term_is_missing
from echorl_vl.engines.verl.run_trainer import RunTrainer
from echorl_vl.engines.verl.trainer import EchoTrainer

PLUGIN_MODE, RUN_MODE = "echo_sync", "echo_run"

register_trainer(PLUGIN_MODE)(EchoTrainer)
register_trainer(RUN_MODE)(RunTrainer)
for trainer in (PPOTrainer, RayPPOTrainer):
    warn_where_the_term_is_missing(trainer, EchoTrainer)
