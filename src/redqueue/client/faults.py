"""The one table that says for each error of Redis, or of the way to it, what is done about it.

The texts were collected on Redis 6.2, 7.0 and 8.2 and on Valkey 9.1. What happens inside a script comes as the error
itself from 7.0 on, with the script's name behind it, and wrapped into ``Error running script ...: -OOM ...`` before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from redis import exceptions

from redqueue.client.denied import commands_denied
from redqueue.errors import RedisError, RedisFull, RedisRefused, RedisUnavailable


class Action(Enum):
    """What is done about an error."""

    RESEND = "the same bytes again"
    RELOAD = "the call again, with the script's text: the server doesn't have it"
    RECONNECT = "drop the connections, resolve the address anew, then the same bytes again"
    BACK_PRESSURE = "nothing was written; there is no use in trying again at once"
    GIVE_UP = "trying again changes nothing"


@dataclass(frozen=True, slots=True)
class Fault:
    """One error, classified.

    Attributes:
        sent: whether the call may have been carried out all the same.
        explain: what happened and what to do; without secrets, and without anything of the call.
        quoted: whether the error's own text helps and is safe to show.
    """

    action: Action
    sent: bool
    explain: str
    quoted: bool = False


CAUGHT: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
"""What redis-py raises when it could not do what it was asked; a TimeoutError is an OSError."""

_READING = Fault(Action.RESEND, False, "it is still reading its data after a start")
_MOVED = Fault(
    Action.RECONNECT, False, "another node of the cluster has the queue: use redis+cluster:// or RedisCluster"
)
_REPLICA = Fault(Action.RECONNECT, False, "the server reached is a replica, as after a failover: it takes no writes")
_NO_ENTRY = Fault(
    Action.GIVE_UP, False, "it refuses the credentials, or wants some: check user and password of the URL"
)
_NO_RIGHT = Fault(
    Action.GIVE_UP,
    False,
    "the user's ACL forbids a command or key that redqueue needs; the page docs/acl.md has what to allow",
    quoted=True,
)
_NO_EVAL = Fault(
    Action.GIVE_UP,
    False,
    "the user's ACL forbids to send a script that the server doesn't have: load all by `redqueue scripts`, as a user "
    "who may SCRIPT LOAD, after each start of the server, failover, SCRIPT FLUSH and release",
    quoted=True,
)
_NO_SCRIPTS = Fault(Action.GIVE_UP, False, "it has no EVALSHA or EVAL: redqueue needs a server that runs Lua scripts")
_CROWDED = Fault(Action.RESEND, False, "it has no connection left to give (maxclients)")
_NOT_REACHED = Fault(Action.RECONNECT, False, "it can't be connected to", quoted=True)
_POOL_EMPTY = Fault(
    Action.RESEND, False, "all connections of the pool are in use: raise max_connections, or do less at once"
)

NO_CONNECTION_LEFT: Final = (_CROWDED, _POOL_EMPTY)
"""Redis is there, and answers those who have a connection."""

CODES: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "LOADING": _READING,
        "BUSY": Fault(Action.RESEND, False, "it is busy with a script that runs too long"),
        "TRYAGAIN": Fault(Action.RESEND, False, "the part of the cluster that holds the queue is being moved"),
        "CLUSTERDOWN": Fault(Action.RESEND, False, "the cluster is down, or a part of it has no server"),
        "NOSCRIPT": Fault(Action.RELOAD, False, "it doesn't have the script"),
        "READONLY": _REPLICA,
        "MASTERDOWN": Fault(Action.RECONNECT, False, "the server reached is a replica that has lost its primary"),
        "UNBLOCKED": Fault(Action.RECONNECT, False, "the server became a replica"),
        "NOREPLICAS": Fault(Action.RECONNECT, False, "too few replicas follow it (min-replicas-to-write)"),
        "MOVED": _MOVED,
        "ASK": _MOVED,
        "REDIRECT": _MOVED,
        "OOM": Fault(
            Action.BACK_PRESSURE,
            False,
            "it is at its memory limit, so nothing was written: workers still drain the queue; add again later, raise "
            "maxmemory, or keep fewer finished jobs",
        ),
        "MISCONF": Fault(
            Action.BACK_PRESSURE,
            False,
            "it can't save its data and therefore takes no writes: see its log, mostly a full disk; add again later",
        ),
        "NOAUTH": _NO_ENTRY,
        "WRONGPASS": _NO_ENTRY,
        "DENIED": Fault(Action.GIVE_UP, False, "it is in protected mode: give it a password, or bind it to 127.0.0.1"),
        "NOPERM": _NO_RIGHT,
        "NOPROTO": Fault(Action.GIVE_UP, False, "it doesn't speak the protocol asked for: upgrade it to 6.2 or later"),
        "WRONGTYPE": Fault(
            Action.GIVE_UP, False, "a key of the queue holds something else: use another prefix or database"
        ),
        "CROSSSLOT": Fault(
            Action.GIVE_UP, False, "the server is a cluster and the client isn't: use redis+cluster:// or RedisCluster"
        ),
    }
)
"""By the first word of a server's answer."""

TEXTS: Final[tuple[tuple[str, Fault], ...]] = (
    ("max number of clients reached", _CROWDED),
    ("Too many connections", _POOL_EMPTY),
    ("No connection available", _POOL_EMPTY),
    ("previous master is now a slave", _REPLICA),
    ("unknown command", _NO_SCRIPTS),
    ("can't run this command", _NO_RIGHT),
    ("ACL failure", _NO_RIGHT),
    ("Script killed", Fault(Action.RESEND, False, "somebody ended the script before it wrote anything")),
    ("called without any password", Fault(Action.GIVE_UP, False, "the URL has a password, and the server has none")),
    ("invalid password", _NO_ENTRY),
    ("invalid username-password", _NO_ENTRY),  # what asyncio connections make of WRONGPASS
    (
        "DB index is out of range",
        Fault(Action.GIVE_UP, False, "it has no database of that number: see its `databases`"),
    ),
    (
        "Cluster mode is not enabled",
        Fault(Action.GIVE_UP, False, "the server is no cluster: use redis:// instead of redis+cluster://"),
    ),
    (
        "certificate verify failed",
        Fault(
            Action.RECONNECT,
            False,
            "its TLS certificate is not trusted, or is for another host: give its authority as ssl_ca_certs",
            quoted=True,
        ),
    ),
    ("connecting to", _NOT_REACHED),
    ("No master found", Fault(Action.RECONNECT, False, "the sentinels name no primary for the service", quoted=True)),
    ("Connection has data", Fault(Action.RESEND, False, "the connection was out of step and is dropped")),
    ("Connection not ready", Fault(Action.RESEND, False, "the connection was out of step and is dropped")),
)
"""By a part of the text, where there is no code; the first that fits."""

Kinds = type[BaseException] | tuple[type[BaseException], ...]

CLASSES: Final[tuple[tuple[Kinds, Fault], ...]] = (
    (exceptions.NoScriptError, CODES["NOSCRIPT"]),
    (exceptions.ReadOnlyError, CODES["READONLY"]),
    (exceptions.BusyLoadingError, CODES["LOADING"]),
    (exceptions.OutOfMemoryError, CODES["OOM"]),
    (exceptions.MasterDownError, CODES["MASTERDOWN"]),
    (exceptions.ClusterDownError, CODES["CLUSTERDOWN"]),
    (exceptions.TryAgainError, CODES["TRYAGAIN"]),
    (exceptions.AskError, _MOVED),  # MovedError is one
    (exceptions.ClusterCrossSlotError, CODES["CROSSSLOT"]),
    (exceptions.NoPermissionError, _NO_RIGHT),
    (exceptions.AuthorizationError, _NO_RIGHT),
    (exceptions.AuthenticationError, _NO_ENTRY),
    (exceptions.MaxConnectionsError, _POOL_EMPTY),
)
"""By the class that redis-py made of a code, which is then missing in the text."""

OTHERS: Final[tuple[tuple[Kinds, Fault], ...]] = (
    (
        (exceptions.ClusterError, exceptions.RedisClusterException),
        Fault(
            Action.RECONNECT, False, "the cluster's nodes can't be asked for its layout, or don't agree", quoted=True
        ),
    ),
    (
        exceptions.InvalidResponse,
        Fault(Action.GIVE_UP, True, "what answers there doesn't speak Redis's protocol: check host, port and scheme"),
    ),
    (exceptions.DataError, Fault(Action.GIVE_UP, False, "redis-py can't send an argument", quoted=True)),
    ((exceptions.TimeoutError, TimeoutError), Fault(Action.RESEND, True, "it didn't answer in time", quoted=True)),
    (
        (exceptions.ConnectionError, OSError),
        Fault(Action.RESEND, True, "the connection was lost before the answer came", quoted=True),
    ),
    (BaseException, Fault(Action.GIVE_UP, True, "it answered with an error", quoted=True)),
)
"""By the class, where the text says nothing; the first that fits."""

_EVAL_DENIED: Final = re.compile(r"no permissions to run the 'eval' command")
_CODE: Final = re.compile(r"(?:.*@user_script: ?\d+: )?-?([A-Z]+) ", re.DOTALL)
_MOST_QUOTED: Final = 200
_TLS_HINTS: Final = (
    ("redis://", "reset by peer", "; if that port speaks TLS, the URL begins with rediss://"),
    ("redis://", "while writing to socket", "; if that port speaks TLS, the URL begins with rediss://"),
    ("redis://", "closed by server", "; if that port speaks TLS, the URL begins with rediss://"),
    ("rediss://", "Timeout connecting", "; the host may be away, or that port not speak TLS"),
)
"""What may also be behind it when a connection ends, or nothing is said, in its first steps; by scheme and text."""


def classify(error: BaseException) -> Fault:
    """What is done about an error of redis-py's, or one of the operating system's that came through it."""
    text = str(error)
    if _EVAL_DENIED.search(text):
        return _NO_EVAL
    for kinds, fault in CLASSES:
        if isinstance(error, kinds):
            return fault
    code = _CODE.match(text)
    if code and code[1] in CODES:
        return CODES[code[1]]
    for part, fault in TEXTS:
        if part in text:
            return fault
    return next(fault for kinds, fault in OTHERS if isinstance(error, kinds))


def before_sending(error: Exception) -> Exception:
    """The error of a connection's first steps, told so that `classify` knows: no call was sent on it yet."""
    return exceptions.ConnectionError(f"Error connecting to it: {error}") if classify(error).sent else error


def told(fault: Fault, error: BaseException, target: str) -> str:
    """What happened, for a log or a message: which server, what is wrong, and the error's own text where it is safe."""
    text = f"Redis ({target}): {fault.explain}"
    if fault is _NO_RIGHT and (commands := commands_denied(str(error))):
        text = f"{text}: {' or '.join(commands)} is denied"
    if fault.quoted and (quote := str(error)):
        text = f"{text}: {quote[:_MOST_QUOTED].rstrip('.')}"
        if fault is _NOT_REACHED:
            text += next((hint for scheme, part, hint in _TLS_HINTS if target.startswith(scheme) and part in quote), "")
    return text


def to_error(fault: Fault, error: BaseException, target: str, *, sent: bool) -> RedisError:
    """Our error for one that is not waited out any longer.

    Args:
        target: the server as people may see it, without password.
        sent: whether this or an earlier try may have been carried out.
    """
    text = told(fault, error, target)
    if fault.action is Action.BACK_PRESSURE:
        return RedisFull(text)
    if fault.action is Action.GIVE_UP:
        return RedisRefused(text)
    if sent:
        return RedisUnavailable(
            f"{text}. The call may have been carried out; add again with the same job_id", sent=True
        )
    return RedisUnavailable(f"{text}. Nothing was carried out; try again later", sent=False)
