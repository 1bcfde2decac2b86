"""Programs of a checkout: `python -m eval.run`, `eval.compare`, `eval.evidence`. The code is in `echorl_vl`."""
