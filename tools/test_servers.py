"""Run the test suite on every server program that is here: those of `.venv-servers`, and of PATH.

Called by `make test-servers`, which brings the former. Arguments are pytest's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BROUGHT: Final = Path(__file__).parents[1] / ".venv-servers"
PROGRAMS: Final = ("valkey-server", "redis-server")


def main(arguments: list[str]) -> int:
    programs = dict.fromkeys(find())
    if not programs:
        print("no server program was found", file=sys.stderr)
        return 1
    failed = [program for program in programs if not passes(program, arguments)]
    print(f"{len(programs) - len(failed)} of {len(programs)} servers passed; failed: {failed or 'none'}")
    return 1 if failed else 0


def find() -> Iterator[Path]:
    for name in PROGRAMS:
        for path in sorted(BROUGHT.glob(f"lib/python*/site-packages/*/bin/{name}")):
            if os.access(path, os.X_OK):
                yield path
        if found := shutil.which(name):
            yield Path(found).absolute()  # not resolved: Debian's is a link to a program that looks at its name


def passes(program: Path, arguments: list[str]) -> bool:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"== {program}: {version}", flush=True)
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, env={**os.environ, "REDQUEUE_SERVER": str(program)}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
