"""Rewards: reward functions run in worker processes under a hard time limit.

`manager` scores rollouts with a reward file, which `loading` loads and `interface` calls. `pool` runs functions in
workers (`worker`, `supervisor`, `output`). `geometry` and `last_number` are the shipped reward files.
"""
