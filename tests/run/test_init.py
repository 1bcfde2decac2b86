"""`python -m echorl_vl.init` writes a configuration and a reward that work unchanged, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from echorl_vl.config import config_to_dict, load_config
from echorl_vl.init import main
from echorl_vl.rewards.manager import RewardManager

REPOSITORY = Path(__file__).resolve().parents[2]
RESPONSE = "A = 12 * 5 / 2\nA = 30\nThe answer is \\boxed{30}."


@pytest.mark.parametrize(("flags", "shipped"), [([], "geo3k_tiny"), (["--text"], "math_tiny")])
def test_a_starter_equals_the_shipped_configuration_but_for_names(tmp_path, flags, shipped, capsys):
    path = tmp_path / "my job.yaml"
    assert main([str(path), *flags]) == 0
    assert str(path) in capsys.readouterr().out
    config, job = load_config(path), load_config(REPOSITORY / f"configs/{shipped}.yaml")
    assert config.trainer.experiment_name == "my_job"
    assert config.trainer.save_checkpoint_path.endswith("runs/my_job")
    names = {name: getattr(job.trainer, name) for name in ("experiment_name", "save_checkpoint_path", "logger")}
    config.trainer, config.engine = config.trainer.model_copy(update=names), job.engine
    assert config_to_dict(config) == config_to_dict(job)


def test_the_starter_reward_scores_boxed_answers(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    config, reward = tmp_path / "configs/my.yaml", tmp_path / "my_reward.py"
    assert main([str(config), "--reward", str(reward)]) == 0
    monkeypatch.chdir(tmp_path.parent)  # the path is relative to the configuration
    function = load_config(config).worker.reward.reward_function
    assert function == f"{reward}:compute_score"
    with RewardManager(function) as rewards:
        correct, incorrect, plain = rewards.score(
            [RESPONSE, RESPONSE.replace("boxed{30}", "boxed{31}"), "30"], [9, 9, 1], ["30"] * 3
        )
    assert correct == pytest.approx({"overall": 1.0, "accuracy": 1.0, "format": 1.0})
    assert incorrect == pytest.approx({"overall": 0.1, "accuracy": 0.0, "format": 1.0})
    assert plain == {"overall": 0.0, "accuracy": 0.0, "format": 0.0}


def test_nothing_is_overwritten_or_partly_written(tmp_path, capsys):
    config, reward = tmp_path / "my.yaml", tmp_path / "reward.py"
    reward.write_text("mine")
    assert main([str(config), "--reward", str(reward)]) == 2
    assert f"{reward} exists and is not overwritten" in capsys.readouterr().err
    assert not config.exists() and reward.read_text() == "mine"
    config.write_text("mine")
    assert main([str(config)]) == 2
    assert f"{config} exists" in capsys.readouterr().err and config.read_text() == "mine"
    assert main([str(tmp_path / "my.json")]) == 2
    assert "expected a file name that ends in .yaml" in capsys.readouterr().err
