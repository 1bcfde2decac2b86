"""Arithmetic problems as text."""
