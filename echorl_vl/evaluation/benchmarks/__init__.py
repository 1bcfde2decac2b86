"""Benchmarks, one small file each. `registry.get(name)` finds them; a new file in this folder is a new benchmark."""
