"""A tiny text policy for arithmetic word problems."""
