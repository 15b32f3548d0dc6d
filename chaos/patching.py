"""Workers with other scripts: another release's, or one with a bug planted on purpose."""

from __future__ import annotations

import sys

import msgspec

from redqueue.core import script


class Change(msgspec.Struct, frozen=True):
    """In one file below lua, each place of a text becomes another text."""

    path: str
    old: str
    new: str


ANOTHER_RELEASE = (
    Change("pump.lua", "local token =", "-- another release\nlocal token ="),
    Change("add.lua", "local kept =", "-- another release\nlocal kept ="),
    Change("renew.lua", "local found =", "-- another release\nlocal found ="),
    Change("recover.lua", "local held =", "-- another release\nlocal held ="),
    Change("leave.lua", "local found =", "-- another release\nlocal found ="),
    Change("enter.lua", "local stored =", "-- another release\nlocal stored ="),
)
"""The same scripts under other names, as Redis names a script by its text."""


def replaced(text: str, old: str, new: str) -> str:
    """The text with that change.

    Raises:
        ValueError: there is nothing to change: the text is another one by now.
    """
    if old not in text or old == new:
        raise ValueError(f"the script has no {old!r} that could become {new!r}: plant it elsewhere")
    return text.replace(old, new)


def change_scripts(changes: tuple[Change, ...] | list[Change]) -> None:
    """Let this process load other scripts.

    Raises:
        RuntimeError: they have been loaded already.
        ValueError: a change that changes nothing.
    """
    if "redqueue.core.lease" in sys.modules:
        raise RuntimeError("the scripts are loaded: change them before redqueue's worker is imported")
    original = script._read
    for change in changes:
        replaced(original(change.path), change.old, change.new)

    def read(path: str) -> str:
        text = original(path)
        for change in changes:
            if change.path == path:
                text = replaced(text, change.old, change.new)
        return text

    script._read = read
