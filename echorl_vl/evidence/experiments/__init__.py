"""One experiment a file: `EXPERIMENT`, its cells, its numbers and its plot."""
