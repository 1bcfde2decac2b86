"""A demonstration is the last row of each group in training batches only."""

from __future__ import annotations

from dry_run_process import in_dry_run

ROWS = """
import numpy as np, torch
from verl.protocol import DataProto
from echorl_vl.engines.easyr1.off_policy_rows import OffPolicyRows

N, WIDTH, PROMPT, PAD = 4, 6, 3, 99
demonstrations = [[11, 12, 13], [21, 22, 23, 24, 25, 26]]
rows = OffPolicyRows(N, PAD)
asked = []

def generate(prompts):
    n = prompts.meta_info.get("n", N)
    asked.append(n)
    count = len(prompts) * n
    mask = torch.zeros(count, WIDTH, dtype=torch.long)
    mask[:, :2] = 1
    responses = torch.where(mask.bool(), torch.arange(count)[:, None] + 40, PAD)
    inputs = prompts.batch["input_ids"].repeat_interleave(n, 0)
    attention = torch.ones_like(inputs)
    tensors = {
        "prompts": inputs, "responses": responses, "input_ids": torch.cat([inputs, responses], 1),
        "attention_mask": torch.cat([attention, mask], 1), "response_mask": mask,
        "position_ids": torch.arange(PROMPT + WIDTH).expand(count, 4, -1),
    }
    images = np.repeat(prompts.non_tensor_batch["multi_modal_data"], n)
    batch = DataProto.from_dict(tensors, {"multi_modal_data": images}, dict(prompts.meta_info))
    batch.batch.lock_()  # as Ray delivers it
    return batch

def prompts():
    images = np.array(["one", "two"], dtype=object)
    return DataProto.from_dict({"input_ids": torch.arange(6).view(2, 3)}, {"multi_modal_data": images}, {"pixels": 7})

class Loader:
    def __iter__(self):
        yield {"demonstration": np.array(demonstrations, dtype=object), "ground_truth": ["a", "b"]}

    def __len__(self):
        return 1

    def state_dict(self):
        return "state"

loader = rows.watch(Loader())
assert len(loader) == 1 and loader.state_dict() == "state"
(batch,) = loader
assert list(batch) == ["ground_truth"]
given = prompts()
found = rows.generate(generate, given)
assert asked == [3] and "n" not in found.meta_info and "n" not in given.meta_info
t = found.batch
assert t["on_policy"].tolist() == [True, True, True, False] * 2
assert t["prompts"].tolist() == [[0, 1, 2]] * 4 + [[3, 4, 5]] * 4
assert found.non_tensor_batch["multi_modal_data"].tolist() == ["one"] * 4 + ["two"] * 4
assert t["responses"][:, 0].tolist() == [40, 41, 42, 11, 43, 44, 45, 21]
assert t["responses"][3].tolist() == [11, 12, 13, 99, 99, 99] and t["responses"][7].tolist() == demonstrations[1]
assert t["response_mask"].sum(-1).tolist() == [2, 2, 2, 3, 2, 2, 2, 6]
for row in range(8):  # a sequence is prompt and response
    assert torch.equal(t["input_ids"][row], torch.cat([t["prompts"][row], t["responses"][row]]))
    assert torch.equal(t["attention_mask"][row], torch.cat([torch.ones(3).long(), t["response_mask"][row]]))
assert torch.equal(t["position_ids"], torch.arange(9).expand(8, 4, -1))
plain = rows.generate(generate, prompts())  # validation: no training batch was loaded
assert asked == [3, 4] and "on_policy" not in plain.batch

values = torch.arange(16.0).view(8, 2)
batch = DataProto.from_dict({"on_policy": t["on_policy"], "old_log_probs": values})
reference = rows.reference(lambda batch: DataProto.from_dict({"ref_log_probs": -batch.batch["old_log_probs"]}), batch)
assert torch.equal(reference.batch["ref_log_probs"], torch.where(t["on_policy"][:, None], -values, values))
print("done")
"""


def test_demonstration_follows_the_sampled_rows_of_its_prompt(easyr1):
    assert in_dry_run(ROWS) == "done"
