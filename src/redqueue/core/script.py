"""Lua scripts, bound to Python by the names in their headers, and the calls that are made of them.

A header line is ``--- @<tag> <name> ...``:

    @key name     a key; a fixed one of the queue, or one passed by name. A Lua local of that name holds it.
    @keys name    the keys that follow all others: a Lua table.
    @family name  the beginning of a family's keys; a local to which the script appends the member.
    @arg name     one argument: ``int`` becomes a number, ``text`` stays a string.
    @list name    any number of arguments: a Lua table of strings.
    @use piece    a file of lua/lib, whose header and code come before.
    @reply name   a field of the answer. The script returns a table with these names; Python reads a record of them.

Positions appear nowhere else. An unknown tag, a name declared twice and an argument left out are errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from redqueue.core.keys import FAMILIES, FIXED, Keys
from redqueue.records import Durability

R = TypeVar("R")

NUMBERED: Final = "record"
"""The key of a numbered call: it holds what the lane last did, so that a resend gets the same answer."""

_TAGS: Final = ("key", "keys", "family", "arg", "list", "use", "reply")
_LUA: Final = resources.files("redqueue") / "lua"


@dataclass(slots=True)
class Header:
    """What one file, or a whole composed script, declares."""

    keys: list[str] = field(default_factory=list)
    rest: str | None = None
    families: list[str] = field(default_factory=list)
    args: list[tuple[str, str]] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    reply: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, text: str) -> Header:
        """The header of one file.

        Raises:
            SyntaxError: an unknown tag, or a declaration that is not complete.
        """
        header = cls()
        for line in text.splitlines():
            if line.startswith("--- @"):
                header._declare(name, line[5:].split())
        return header

    def _declare(self, file: str, words: list[str]) -> None:
        tag, names = words[0], words[1:]
        if tag not in _TAGS or not names:
            raise SyntaxError(f"{file}: unknown or incomplete tag @{' '.join(words)}; there are: {', '.join(_TAGS)}")
        if tag == "use":
            self.uses.extend(names)
        elif tag == "keys":
            self.rest = names[0]
        elif tag == "arg":
            kind = names[1].rstrip(":,") if len(names) > 1 else ""
            if kind not in ("int", "text"):
                raise SyntaxError(f"{file}: @arg {names[0]} must say int or text")
            self.args.append((names[0], kind))
        else:
            target = {"key": self.keys, "family": self.families, "list": self.lists, "reply": self.reply}[tag]
            target.append(names[0])

    def merge(self, other: Header) -> None:
        """Add what another file declares; what both declare is the same thing."""
        for mine, theirs in ((self.keys, other.keys), (self.families, other.families), (self.lists, other.lists)):
            mine.extend(name for name in theirs if name not in mine)
        self.args.extend(arg for arg in other.args if arg not in self.args)
        self.rest = self.rest or other.rest
        self.reply.extend(other.reply)


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One round trip as a value: what to send and how to read the answer.

    Attributes:
        durability: unless it is "memory", Redis is asked on the same connection whether what the call wrote is safe,
            and `read` gets a `Confirmation`.
    """

    script: Script
    keys: list[str]
    args: list[Any]
    read: Callable[[Any], R]
    durability: Durability = "memory"

    def on(self, record: str, number: int) -> Call[R]:
        """The same call, numbered on a producer's lane: resent with these bytes, it changes nothing."""
        return Call(self.script, [record, *self.keys[1:]], [number, *self.args[1:]], self.read, self.durability)


Steps: TypeAlias = Generator[Call[Any], Any, R]
"""An operation of several round trips: yields calls, is sent what they read, returns the result."""


class Script:
    """One composed script and its contract."""

    def __init__(self, name: str, text: str, header: Header) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - the name that Redis gives to a script
        self.header = header
        self.numbered = NUMBERED in header.keys
        self._fixed = [name in FIXED for name in header.keys]
        self._names = {*(k for k in header.keys if k not in FIXED and k != NUMBERED), *(a for a, _ in header.args)}
        self._names.discard("number" if self.numbered else "")
        self._names.update(header.lists, [header.rest] if header.rest else [])
        self._reply: Callable[..., Any] = msgspec.defstruct(f"{name.title()}Reply", header.reply, frozen=True)

    def call(self, read: Callable[[Any], R], keys: Keys, /, **named: Any) -> Call[R]:
        """The call with all of its arguments by name; lists and trailing keys are sequences.

        Raises:
            TypeError: a name is missing or unknown.
        """
        if named.keys() != self._names:
            wrong = sorted(self._names.symmetric_difference(named))
            raise TypeError(f"script {self.name}: missing or unknown arguments {wrong}")
        header = self.header
        key_list = [keys[k] if fixed else named.get(k, "") for k, fixed in zip(header.keys, self._fixed, strict=True)]
        if header.rest is not None:
            key_list.extend(named[header.rest])
        args: list[Any] = [0] if self.numbered else []
        args.extend([keys.family(f) for f in header.families])
        args.extend([named[name] for name, _ in header.args if name != "number" or not self.numbered])
        for name in header.lists:
            values: Sequence[Any] = named[name]
            args.append(len(values))
            args.extend(values)
        return Call(self, key_list, args, read)

    def reply(self, raw: Any) -> Any:
        """The answer's fields by name."""
        return self._reply(*raw)


@cache
def load(name: str) -> Script:
    """The script of lua/<name>.lua with its pieces, composed once a process."""
    pieces: dict[str, str] = {}
    header = Header()
    body = _read(f"{name}.lua")
    own = Header.read(name, body)
    known: dict[str, tuple[str, Header]] = {}
    for piece in _pieces(own.uses, [], known):
        pieces[piece], declared = known[piece]
        header.merge(declared)
    header.merge(own)
    _arrange(name, header)
    return Script(name, _compose(header, [*pieces.values()], body), header)


def names() -> list[str]:
    """All scripts, by name."""
    return sorted(file.name.removesuffix(".lua") for file in _LUA.iterdir() if file.name.endswith(".lua"))


def _read(path: str) -> str:
    return (_LUA / path).read_text(encoding="utf-8")


def _pieces(uses: Sequence[str], path: list[str], known: dict[str, tuple[str, Header]]) -> Iterator[str]:
    """Pieces in the order of what needs what; a piece may come twice, which a dict forgives. Each is read once."""
    for piece in uses:
        if piece in path:
            raise SyntaxError(f"lua/lib: {' -> '.join([*path, piece])} is a circle")
        if piece not in known:
            text = _read(f"lib/{piece}.lua")
            known[piece] = text, Header.read(piece, text)
        yield from _pieces(known[piece][1].uses, [*path, piece], known)
        yield piece


def _arrange(name: str, header: Header) -> None:
    """Numbered calls begin with their record and number; no name may mean two things."""
    if NUMBERED in header.keys:
        header.keys.remove(NUMBERED)
        header.keys.insert(0, NUMBERED)
        header.args = [("number", "int"), *(arg for arg in header.args if arg[0] != "number")]
    declared = [*header.keys, *header.families, *(arg for arg, _ in header.args), *header.lists]
    declared += [header.rest] if header.rest else []
    twice = {one for one in declared if declared.count(one) > 1}
    unknown = set(header.families).difference(FAMILIES)
    if twice or unknown:
        raise SyntaxError(f"lua/{name}.lua: declared twice {sorted(twice)}, unknown family {sorted(unknown)}")


def _compose(header: Header, pieces: Sequence[str], body: str) -> str:
    """Bind the names, then the pieces, then the script as a function whose answer is put in order."""
    lines = [f"local {name} = KEYS[{n}]" for n, name in enumerate(header.keys, 1)]
    if header.rest is not None:
        lines.append(f"local {header.rest} = {{unpack(KEYS, {len(header.keys) + 1})}}")
    singles = [*((a, k) for a, k in header.args if a == "number" and NUMBERED in header.keys)]
    singles += [(family, "text") for family in header.families]
    singles += [arg for arg in header.args if arg not in singles]
    for n, (name, kind) in enumerate(singles, 1):
        lines.append(f"local {name} = {f'tonumber(ARGV[{n}])' if kind == 'int' else f'ARGV[{n}]'}")
    if header.lists:
        lines.append(_TAKE_LIST.format(at=len(singles) + 1))
        lines.extend(f"local {name} = take_list()" for name in header.lists)
    answer = ", ".join(f"answer.{name} or false" for name in header.reply)
    return "\n".join(
        [*lines, *pieces, f"local function run()\n{body}\nend", "local answer = run()", f"return {{{answer}}}\n"]
    )


_TAKE_LIST: Final = """\
local list_at = {at}
local function take_list()
  local first = list_at + 1
  list_at = first + tonumber(ARGV[list_at])
  return {{unpack(ARGV, first, list_at - 1)}}
end"""
