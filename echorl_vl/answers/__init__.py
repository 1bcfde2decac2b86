"""Answers: extracted from a response (`extract`), parsed (`text`, `values`), and graded (`grading`).

Rewards and evaluation share this checker. It has no processes or time limits; `rewards.pool` adds those.
"""
