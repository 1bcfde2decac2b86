"""Geometry problems with images: a generator, and a converter for the original Geometry3K release."""
