"""Data: problems from files, the hub or the generator; pictures; prompts; demonstrations; the order of batches."""
