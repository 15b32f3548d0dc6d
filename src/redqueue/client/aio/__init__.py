"""The handles for tasks: written by hand, and what `sync` is generated from."""
