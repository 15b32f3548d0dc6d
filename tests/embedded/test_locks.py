"""Locks and forks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from redqueue.embedded import locks

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.Popen[str]]

FORKED_WHILE_LOCKED = """
import os, sys
from pathlib import Path
from redqueue.embedded import locks
path = Path(sys.argv[1])
(ours, theirs), (told, tell) = os.pipe(), os.pipe()
fd = locks.take(path)
child = os.fork()
if child == 0:
    os.write(tell, b"forked")
    os.close(theirs)
    os.read(ours, 1)
    locks.drop(fd)
    os._exit(0)
os.read(told, 6)
print(locks.held(path))
locks.drop(fd)
print(locks.held(path))
os.close(theirs)
print(os.waitpid(child, 0)[1])
"""

FORKED_AFTER_ENSURE = """
import os, sys
from redqueue import embedded
embedded.ensure(sys.argv[1])
child = os.fork()
if child:
    os.waitpid(child, 0)
embedded.ensure(sys.argv[1])
print(embedded.status(sys.argv[1]).pid, flush=True)
os._exit(0)
"""


def test_a_lock_excludes_within_one_process_and_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.locked(path, timeout=1):
        assert locks.held(path)
        with pytest.raises(TimeoutError, match=r"another process has held .*lock"), locks.locked(path, timeout=0):
            pass
    assert not locks.held(path)


def test_a_child_forked_under_the_lock_does_not_hold_it_on(tmp_path: Path, python: Python) -> None:
    assert python(FORKED_WHILE_LOCKED, tmp_path / "lock").communicate(timeout=10) == ("True\nFalse\n0\n", "")


def test_a_forked_child_uses_its_parents_server(folder: Path, python: Python) -> None:
    out, errors = python(FORKED_AFTER_ENSURE, folder).communicate(timeout=10)
    assert errors == ""
    assert len(out.split()) == 2
    assert len(set(out.split())) == 1


def test_a_symbolic_link_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        locks.take(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
