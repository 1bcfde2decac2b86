"""A reward to adapt: whether the last \\boxed{...} is the answer, and whether there is reasoning before it."""

import re

REWARD_NAME = "my_reward"
REWARD_TYPE = "sequential"  # gets one response at a time; "batch", the default, gets a list


def compute_score(reward_input, format_weight=0.1):
    """Score one rollout: a dict with "response", "response_length" (tokens) and "ground_truth".

    "overall" is the reward. "accuracy" says whether the answer is correct: rollouts with 1 are verified, and EchoRL
    takes clips from these only. Each other part is logged as reward/<part>.
    """
    response = reward_input["response"]
    boxes = re.findall(r"\\boxed\{([^{}]*)\}", response)
    accuracy = float(bool(boxes) and boxes[-1].strip() == reward_input["ground_truth"].strip())
    has_format = float("\n" in response.strip() and len(boxes) == 1)
    overall = (1 - format_weight) * accuracy + format_weight * has_format
    return {"overall": overall, "accuracy": accuracy, "format": has_format}
