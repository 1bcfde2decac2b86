"""Data: problems from files, the hub or generators; images; prompts; demonstrations; the order of batches."""
