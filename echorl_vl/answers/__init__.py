"""Answers: extracted from a response (`extract`), parsed into kinds (`parse`), and compared by kind (`compare`).

`grading` puts these together. Rewards and evaluation share this checker. It has no processes or time limits: `evaluate`
bounds the operations, so an answer takes milliseconds, and less than a second if it is made to be slow.

    text -> `tokens` -> trees (`expressions`) with units (`quantities`) -> kinds of answers (`parse`)
         -> rules for two kinds (`compare`) -> values (`evaluate`) and their `equality` -> a verdict with its reason
"""
