"""Evaluation of checkpoints: benchmarks -> responses -> grades -> metrics. Each pass reads the files of the last."""
