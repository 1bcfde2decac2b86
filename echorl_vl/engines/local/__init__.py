"""The local engine: one process, a CPU or one GPU, Qwen2-VL, Qwen2.5-VL or a text-only causal LM of transformers."""
