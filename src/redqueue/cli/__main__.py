"""``redqueue ...``, and the same as ``python -m redqueue.cli ...``."""

from __future__ import annotations

import sys
from typing import Any

from redqueue.doctor.examine import UNREACHABLE
from redqueue.errors import MissingExtra, RedisError, RedQueueError

WRONG_USE = 64
"""Bad options and settings: none of the codes by which `doctor` tells what it found."""


def main() -> int:
    """Run the command of `sys.argv`; what to exit with."""
    try:
        import click

        from redqueue.cli.commands import app
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "click":
            raise
        sys.stderr.write(f"{MissingExtra('cli', 'the command redqueue')}\n")
        return WRONG_USE
    try:
        code: Any = app.main(prog_name="redqueue", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except RedisError as error:
        sys.stderr.write(f"redqueue: {error}\n")
        return UNREACHABLE
    except RedQueueError as error:
        sys.stderr.write(f"redqueue: {error}\n")
        return WRONG_USE
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
