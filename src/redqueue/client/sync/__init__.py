"""The handles for threads: generated from `aio` by tools/gen_sync.py, but for the runner."""
