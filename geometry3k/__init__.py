"""What one runs: `python -m geometry3k.generate` and `geometry3k.convert`. The code is in `echorl_vl.generators`."""
