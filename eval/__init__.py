"""What one runs: `python -m eval.run`, `eval.compare`, `eval.evidence`. The code is in `echorl_vl`."""
