"""Workers with other scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest
from chaos.patching import ANOTHER_RELEASE, Change, change_scripts, replaced

PROGRAM: Final = """
from chaos.patching import ANOTHER_RELEASE, change_scripts
change_scripts(ANOTHER_RELEASE)
from redqueue.core import script
print(*(script.load(name).sha for name in script.names()))
"""


def test_another_release_has_other_scripts_of_the_same_names() -> None:
    from redqueue.core import script

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    theirs = dict(zip(script.names(), said.stdout.split(), strict=True))
    changed = {name for name in script.names() if script.load(name).sha != theirs[name]}
    assert changed == {change.path.removesuffix(".lua") for change in ANOTHER_RELEASE}


def test_a_change_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="plant it elsewhere"):
        replaced("local a = 1", "local b", "local c")
    with pytest.raises(ValueError, match="plant it elsewhere"):
        replaced("local a = 1", "local a", "local a")


def test_scripts_that_are_loaded_are_not_changed_any_more() -> None:
    import redqueue.core.lease  # noqa: F401

    with pytest.raises(RuntimeError, match="the scripts are loaded"):
        change_scripts([Change("pump.lua", "local", "global")])
