"""What a user of Redis's must be allowed, taken from what the scripts do, for four kinds of users."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final, Literal

from redqueue.core import script
from redqueue.options import check_prefix, check_queue_name

Role = Literal["producer", "worker", "reader", "monitor"]

_LOOKING: Final = ("data", "logs", "page", "peek", "stats", "status", "tail")
_AUDIT: Final = ("audit_facts", "audit_fields", "audit_keys", "audit_places")
_FOR_TESTS: Final = ("advance",)

SCRIPTS: Final[Mapping[Role, Sequence[str]]] = MappingProxyType(
    {
        "reader": (*_LOOKING, *_AUDIT),
        "producer": (*_LOOKING, "add", "cancel"),
        "worker": tuple(name for name in script.names() if name not in _FOR_TESTS),
        "monitor": (*_LOOKING, *_AUDIT),
    }
)
"""What each needs: a reader looks, a producer adds and cancels too, a worker does and steers everything, and a monitor
is a reader who asks for the server's state too, for `redqueue doctor`.

What a user could do by the same keys and commands is more: only a reader and a monitor have no command that writes."""

SENT: Final[Mapping[Role, Sequence[str]]] = MappingProxyType(
    {
        "reader": ("XREAD",),
        "producer": ("PEXPIRE", "WAIT", "XREAD"),
        "worker": ("BLPOP", "PEXPIRE", "WAIT", "XREAD"),
        "monitor": ("CONFIG|GET", "HMGET", "INFO", "SCAN", "TIME", "XREAD", "ZCOUNT"),
    }
)
"""What the client sends beside the scripts: it waits for events and wakes, asks whether an add is safe, and looks."""

NEWER: Final = ("WAITAOF",)
"""For ``durability="fsync"``; a server before 7.2 refuses a rule that names it."""

CONNECTING: Final = ("client|setname", "ping", "select")
IN_A_CLUSTER: Final = ("cluster|slots", "cluster|shards", "cluster|myid", "command", "readonly")

_CALLED: Final = re.compile(r"redis\.call\('([A-Z]+)'")
_COMMENT: Final = re.compile(r"--.*")
_FUNCTION: Final = re.compile(r"^local function (\w+)\((?:.*\bend|.*\n(?:[ \t].*\n|\n)*end)$", re.MULTILINE)


def setuser(
    role: Role,
    *,
    prefix: str,
    queues: Collection[str] = (),
    evals: bool = True,
    fsync: bool = False,
    cluster: bool = False,
) -> str:
    """The line that makes the user ``redqueue-<role>``; its password is to be put in the place of PASSWORD.

    Args:
        queues: whose keys it may touch; none: of all queues under the prefix.
        evals: it may send the text of a script that the server doesn't have. Without that somebody else must load them.
        fsync: it may ask whether an add is on the disk; the server must be of 7.2 or later.
        cluster: it may ask for the layout.
    Raises:
        InvalidName: the prefix or a queue.
    """
    check_prefix(prefix)
    patterns = [f"~{prefix}:{{{check_queue_name(queue)}}}:*" for queue in queues] or [f"~{prefix}:*"]
    allowed = [f"+{command}" for command in commands(role, evals=evals, fsync=fsync, cluster=cluster)]
    return " ".join([f"ACL SETUSER redqueue-{role} reset on >PASSWORD", *patterns, *allowed])


def commands(role: Role, *, evals: bool = True, fsync: bool = False, cluster: bool = False) -> list[str]:
    """All commands of a role, in lower case and in order."""
    found = {command.lower() for name in SCRIPTS[role] for command in commands_of(name)}
    found.update(command.lower() for command in SENT[role])
    found.update(("evalsha", "eval") if evals else ("evalsha",))
    found.update(CONNECTING)
    if fsync and role in ("producer", "worker"):
        found.update(command.lower() for command in NEWER)
    if cluster:
        found.update(IN_A_CLUSTER)
    return sorted(found)


@cache
def commands_of(name: str) -> frozenset[str]:
    """The commands that a script can come to: those of its own, and of the pieces' functions that it calls.

    A piece brings more functions than each script uses, and a rule for their commands would allow too much.
    """
    text = _COMMENT.sub("", script.load(name).text)
    waiting = {found[1]: found[0] for found in _FUNCTION.finditer(text)}
    reached = [_FUNCTION.sub("", text)]
    for part in reached:  # grows while it is read
        called = [one for one in waiting if re.search(rf"\b{one}\b", part)]
        reached.extend(waiting.pop(one) for one in called)
    return frozenset(command for part in reached for command in _CALLED.findall(part))
