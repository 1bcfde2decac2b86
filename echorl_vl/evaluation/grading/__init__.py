"""Grading, a pass of its own: written responses -> answers -> verdicts. It can be run again and never hangs."""
