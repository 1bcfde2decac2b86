"""A reward to start from: is the last \\boxed{...} the answer, and is there reasoning before it?"""

import re

REWARD_NAME = "my_reward"
REWARD_TYPE = "sequential"  # one response at a time; "batch", the default, gets a list of them


def compute_score(reward_input, format_weight=0.1):
    """Score one rollout: a dict with "response", "response_length" (tokens) and "ground_truth".

    "overall" is what the policy is trained on. "accuracy" says whether the answer is correct: rollouts with 1 are
    verified, and EchoRL clips come from these alone. Every further part is logged as reward/<part>.
    """
    response = reward_input["response"]
    boxes = re.findall(r"\\boxed\{([^{}]*)\}", response)
    accuracy = float(bool(boxes) and boxes[-1].strip() == reward_input["ground_truth"].strip())
    has_format = float("\n" in response.strip() and len(boxes) == 1)
    overall = (1 - format_weight) * accuracy + format_weight * has_format
    return {"overall": overall, "accuracy": accuracy, "format": has_format}
