"""The embedded engine: one process, a CPU or one GPU, any Qwen2.5-VL or text-only causal LM that transformers loads."""
