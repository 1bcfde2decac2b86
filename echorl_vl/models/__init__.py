"""Models: families of them, one file each, and loading."""
