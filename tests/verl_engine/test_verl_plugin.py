"""verl's own trainers warn that they ignore the echo term."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from echorl_vl.engines.verl.plugin import missing_term, warn_where_the_term_is_missing


def config(mode: str = "sync", use_v1: bool = True, **more):
    return OmegaConf.create({"trainer": {"use_v1": use_v1, "v1": {"trainer_mode": mode}}, **more})


def test_warning_is_only_for_configurations_with_an_echo_term():
    assert missing_term(config()) is None
    assert missing_term(config(echo={"coef": 0, "select": "topk"})) is None
    assert "trainer.v1.trainer_mode = sync is verl's own trainer" in missing_term(config(echo={"select": "topk"}))
    assert "trainer.use_v1 = false" in missing_term(config(use_v1=False, echo={"coef": 0.001}))
    assert "expected trainer.v1.trainer_mode=echo_sync" in missing_term(config("separate_async", echo={"coef": 1}))


def test_trainer_warns_and_is_built(caplog):
    class Plain:
        def __init__(self, config, size=1):
            self.size = size

    class Ours(Plain):
        pass

    warn_where_the_term_is_missing(Plain, Ours)
    asked = config(echo={"coef": 0.001})
    assert Ours(asked).size == 1 and caplog.text == ""
    assert Plain(config=asked, size=3).size == 3
    assert caplog.text.count("WITHOUT the echo term") == 1


CODE = """
from omegaconf import OmegaConf
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.v1.trainer_base import get_trainer_cls

for trainer, v1 in ((get_trainer_cls("sync"), True), (RayPPOTrainer, False)):
    config = {"trainer": {"use_v1": v1, "v1": {"trainer_mode": "sync"}}, "echo": {"coef": 0.001}}
    try:
        trainer(config=OmegaConf.create(config))
    except Exception as error:  # the configuration is incomplete
        print(type(error).__name__)
"""


@pytest.mark.slow
def test_verl_s_trainers_warn_if_the_plug_in_is_loaded(verl):
    environment = os.environ | {"VERL_USE_EXTERNAL_MODULES": "echorl_vl.engines.verl"}
    process = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stderr.count("this run trains WITHOUT the echo term") == 2
    assert "trainer.use_v1 = false" in process.stderr
