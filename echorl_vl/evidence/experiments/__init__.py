"""One experiment a file: `EXPERIMENT`, its runs, its numbers and its plot."""
