"""The local engine: trains a vision-language or text model in one process, on a CPU or one GPU."""
