"""Geometry problems with images: a seeded generator, and a converter of the original Geometry3K release."""
