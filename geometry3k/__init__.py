"""The commands `python -m geometry3k.generate` and `python -m geometry3k.convert`; see `echorl_vl.generators`."""
