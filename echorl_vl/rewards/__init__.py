"""Rewards: extract the answer, grade it, in worker processes with a hard time limit.

In order: `extract`, `grading` (with `text` and `values`), `pool` (with `worker`), `geometry` (our reward file, in
EasyR1's interface), `manager` (with `loading`: any such file).
"""
