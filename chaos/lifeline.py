"""A process that ends with whoever started it, even when that is killed: its standard input is a pipe of theirs."""

from __future__ import annotations

import os
import threading


def end_with_parent() -> None:
    """From now on, end as soon as standard input does."""
    threading.Thread(target=_wait_for_the_end, name="lifeline", daemon=True).start()


def _wait_for_the_end() -> None:
    # Not sys.stdin: a thread that holds its lock makes the interpreter abort when it ends by itself.
    while os.read(0, 1024):
        pass
    os._exit(1)
