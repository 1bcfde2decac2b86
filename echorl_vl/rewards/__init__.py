"""Rewards: answers graded (`echorl_vl.answers`) in worker processes with a hard time limit.

In order: `pool` (with `worker`), `geometry` (our reward file, in EasyR1's interface), `manager` (with `loading`: any
such file).
"""
