"""Data: problems from files, the hub or the generator; pictures; prompts; the order of batches."""
