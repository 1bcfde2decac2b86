"""Evaluation of checkpoints: benchmarks -> responses -> grades -> metrics. Each pass reads what the last one wrote."""
