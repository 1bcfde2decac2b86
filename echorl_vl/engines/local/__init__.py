"""The local engine: one process, a CPU or one GPU; Qwen-VL (2, 2.5, 3) or a text-only causal LM of transformers."""
