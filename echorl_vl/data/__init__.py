"""Data: problems from files, the hub or the generator; pictures; prompts; expert traces; the order of batches."""
