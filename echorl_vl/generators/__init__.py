"""Generators of problems: geometry with images, and arithmetic as text."""
