"""The adapter's advantage estimators and rewards, compared with loops and with EasyR1's."""

from __future__ import annotations

from dry_run_process import in_dry_run

DEGENERATE = """
import numpy as np, torch
from verl.trainer import core_algos
from echorl_vl.engines.easyr1.advantages import exact_zeros, of_outcomes

mask = torch.ones(16, 3)
rewards = torch.zeros(16, 3)
rewards[:8, -1] = 0.9  # correct in a bad format, eight times
rewards[8:, -1] = torch.tensor([1.0, 0.0, 0.1, 0.9, 1.0, 1.0, 0.0, 0.5])
index = np.array(["a"] * 8 + ["b"] * 8, dtype=object)
arguments = dict(token_level_rewards=rewards, response_mask=mask, index=index)
theirs, _ = core_algos.compute_grpo_outcome_advantage(**arguments)
assert 0.05 < theirs[:8].abs().max() < 0.06  # the rounding error
ours, _ = exact_zeros(core_algos.compute_grpo_outcome_advantage)(**arguments)
assert (ours[:8] == 0).all() and torch.equal(ours[8:], theirs[8:])
plain, returns = of_outcomes("grpo", norm_by_std=False)(**arguments)
expected = rewards.sum(-1) - rewards.sum(-1).view(2, 8).mean(1).repeat_interleave(8)
torch.testing.assert_close(plain, expected[:, None] * mask)
assert (plain[:8] == 0).all() and torch.equal(plain, returns)
print("done")
"""

REINFORCE_REJ = """
import numpy as np, torch
from verl.trainer.core_algos import compute_advantage_return
from echorl_vl.config import Config
from echorl_vl.engines.easyr1.advantages import register_advantages

config = Config()
config.algorithm.adv_estimator = "reinforce_rej"
register_advantages(config)
rewards = torch.zeros(8, 3)
rewards[:, 1] = torch.tensor([1.0, 0.1, 1.0, 0.0, 0.9, 0.9, 0.9, 0.9])
mask = torch.tensor([[1, 1, 0]] * 8)
index = np.array(["a", "b", "a", "b"] + ["c"] * 4, dtype=object)
advantages, _ = compute_advantage_return("grpo", token_level_rewards=rewards, response_mask=mask, index=index)
expected = torch.tensor([0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])  # the reward in the only group that is not uniform
torch.testing.assert_close(advantages, expected[:, None] * mask)
print("done")
"""

SHAPED = """
import torch
from types import SimpleNamespace
from verl.protocol import DataProto
from verl.workers.reward import AutoRewardManager
from echorl_vl.config import Config
from echorl_vl.engines.easyr1.rewards import EchoRewardManager
import numpy as np

config = Config()
config.algorithm.name, config.algorithm.options = "dapo", {"overlong_share": 0.5, "overlong_factor": 2.0}
config.data.max_response_length = 8
mask = torch.tensor([[1] * 4 + [0] * 4, [1] * 6 + [0] * 2, [1] * 8])
graded = torch.zeros(3, 8)
graded[0, 3], graded[1, 5], graded[2, 7] = 1.0, 1.0, 0.5
parts = {"overall": [1.0, 1.0, 0.5], "accuracy": [1.0, 1.0, 0.0]}
AutoRewardManager.compute_reward = lambda self, data: (graded.clone(), dict(parts))
manager = EchoRewardManager.for_run(config)
manager = manager.__new__(manager)
training = DataProto.from_dict({"response_mask": mask}, {"uid": np.array(["a", "a", "b"], dtype=object)})
found, kept = manager.compute_reward(training)
expected = torch.zeros(3, 8)
expected[0, 3], expected[1, 5], expected[2, 7] = 1.0, 1.0 - 2.0 * 2 / 4, 0.5 - 2.0
torch.testing.assert_close(found, expected)
assert kept == parts
validation = DataProto.from_dict({"response_mask": mask})
assert torch.equal(manager.compute_reward(validation)[0], graded)
config.algorithm.name, config.algorithm.options = "grpo", {}
assert torch.equal(manager.compute_reward(training)[0], graded)
print("done")
"""

LOST_ANSWERS = """
from types import SimpleNamespace
import numpy as np, torch
from verl.protocol import DataProto
from echorl_vl.config import Config
from echorl_vl.engines.easyr1 import rewards
from echorl_vl.errors import UserError

open("reward.py", "w").write('''
import time
REWARD_TYPE = "sequential"
def f(row):
    if row["response"] == "raise": raise ValueError
    if row["response"] == "hang": time.sleep(60)
    return {"overall": 0.5, "accuracy": 1.0}
''')
words = ["good", "hang", "raise"]
ours = Config()
ours.worker.reward.time_limit, ours.worker.reward.on_error = 1.0, "zero"
theirs = SimpleNamespace(reward_function="reward.py", reward_function_name="f", reward_function_kwargs={}, num_cpus=1,
                         skip_special_tokens=True)
tokenizer = SimpleNamespace(decode=lambda ids, **_: words[int(ids[0])])
manager = rewards.EchoRewardManager.for_run(ours)(theirs, tokenizer)

def batch(*ids):
    tensors = {"responses": torch.tensor(ids)[:, None], "response_mask": torch.ones(len(ids), 1, dtype=torch.long)}
    return DataProto.from_dict(tensors, {"ground_truth": np.array(["5"] * len(ids), dtype=object)})

found, parts = manager.compute_reward(batch(0, 1, 2, 0))
assert found.squeeze(1).tolist() == [0.5, 0, 0, 0.5] and parts[rewards.LOST] == [0, 1, 3, 0], parts
assert rewards.LOST not in manager.compute_reward(batch(0, 0))[1]
rewards.ray.get = lambda answer: answer
actor = SimpleNamespace(compute_reward=SimpleNamespace(remote=lambda batch: manager.compute_reward(batch)))
recorder = rewards.RewardRecorder(actor)
for ids in ((0, 1, 2, 0), (0, 0), (0, 1)):
    recorder.remote(batch(*ids))
assert recorder.kinds() == ["ok", "timeout", "error", "ok", "ok", "timeout"], recorder.kinds()
assert all(set(score) == {"overall", "accuracy"} for scores, _ in recorder.take() for score in scores)
try:
    manager.compute_reward(batch(1, 1))
except UserError as error:
    print("done" if "reward.py:f: each of the 2 answers" in str(error) else error)
"""

GAE = """
import torch
from verl.utils.torch_functional import masked_whiten
from echorl_vl.engines.easyr1.advantages import gae

torch.manual_seed(0)
rewards, values = torch.randn(4, 7), torch.randn(4, 7)
mask = (torch.rand(4, 7) < 0.7).long()
mask[:, 0] = 1
gamma, lam = 0.9, 0.8
advantages = torch.zeros(4, 7)
for row in range(4):  # row by row, over the tokens in its mask
    following = last = 0.0
    for t in reversed(range(7)):
        if mask[row, t]:
            delta = rewards[row, t] + gamma * following - values[row, t]
            last, following = delta + gamma * lam * last, values[row, t]
        advantages[row, t] = last
found, returns = gae(rewards, values, mask, gamma, lam, index=None)
torch.testing.assert_close(found, masked_whiten(advantages, mask))
torch.testing.assert_close(returns, advantages + values)
print("done")
"""


def test_degenerate_groups_get_exactly_zero(easyr1):
    assert in_dry_run(DEGENERATE) == "done"


def test_gae_equals_a_loop_over_rows(easyr1):
    assert in_dry_run(GAE) == "done"


def test_reinforce_rej_is_the_reward_except_in_uniform_groups(easyr1):
    assert in_dry_run(REINFORCE_REJ) == "done"


def test_overlong_penalty_is_only_in_training_rewards(easyr1):
    assert in_dry_run(SHAPED) == "done"


def test_unscored_answers_are_counted_and_a_batch_of_them_stops(easyr1, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_dry_run(LOST_ANSWERS) == "done"
