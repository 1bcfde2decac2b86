"""Evaluation of checkpoints, and the paper's evidence made again."""
