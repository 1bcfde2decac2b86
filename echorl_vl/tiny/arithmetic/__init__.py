"""A tiny text policy and its world: arithmetic problems in words, made from a seed."""
