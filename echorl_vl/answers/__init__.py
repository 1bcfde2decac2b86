"""Answers: found in a response (`extract`), read (`text`, `values`) and compared with the ground truth (`grading`).

One checker for reward and evaluation; without processes or time limits, which are the rewards' (`rewards.pool`).
"""
