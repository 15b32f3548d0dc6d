"""What a URL says of the server and the way to it, checked once and without a connection."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn
from urllib.parse import parse_qsl, unquote

from redqueue.errors import ConfigurationError
from redqueue.settings import masked

Kind = Literal["tcp", "unix", "sentinel", "cluster", "embedded"]
Host = tuple[str, int]

SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = MappingProxyType(
    {
        "redis": ("tcp", False),
        "rediss": ("tcp", True),
        "unix": ("unix", False),
        "redis+sentinel": ("sentinel", False),
        "rediss+sentinel": ("sentinel", True),
        "redis+cluster": ("cluster", False),
        "rediss+cluster": ("cluster", True),
        "embedded": ("embedded", False),
    }
)
"""Each scheme: what it means, and whether the way is encrypted."""

FORMS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "tcp": "redis[s]://[user:password@]host[:port][/db]",
        "unix": "unix:///path/to/socket[?db=0]",
        "sentinel": "redis[s]+sentinel://[user:password@]host[:port][,host2[:port]]/service[/db]",
        "cluster": "redis[s]+cluster://[user:password@]host[:port][,host2[:port]]",
        "embedded": "embedded://[folder]",
    }
)

_PORTS: Final[Mapping[Kind, int]] = MappingProxyType({"tcp": 6379, "cluster": 6379, "sentinel": 26379})
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/?#@\[\],]+))?(?::([0-9]{1,5}))?")
_LONGEST_TIMEOUT: Final = 3600


@dataclass(frozen=True, slots=True)
class Location:
    """A server, or the way to find it. Its repr and text show no password.

    Attributes:
        url: as it was given, secrets included: two handles of one URL share a pool.
        mark: what was put behind it, to have a pool of its own; nobody is shown it.
        hosts: the server, the sentinels, or some nodes of the cluster.
        path: a unix socket, or the embedded server's folder.
        service: the name by which the sentinels know the primary.
        options: what the query said, as keyword arguments of redis-py's connections.
        sentinel_options: the same for the sentinels' own user and password.
    """

    url: str = field(repr=False)
    kind: Kind
    tls: bool = False
    hosts: tuple[Host, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    mark: str = field(default="", repr=False)

    def __str__(self) -> str:
        return masked(self.url.removesuffix(self.mark))

    def with_timeout(self, seconds: float) -> Location:
        """The same place, asked by connections of its own that wait no longer than that for a connect or an answer."""
        timeouts = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        mark = f"#{seconds:g}s"
        url = f"{self.url.removesuffix(self.mark)}{mark}"
        return replace(self, url=url, mark=mark, options={**self.options, **timeouts})


def parse(url: str) -> Location:
    """The location that a URL names.

    Raises:
        ConfigurationError: an unknown scheme (the message lists the known ones), a broken URL, an unknown option, one
            whose value is out of bounds, or a file of it that can't be read. The password is never shown.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"a Redis URL is text, not {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise ConfigurationError(f"a Redis URL begins with one of {known}; this is {masked(url)[:200]!r}")
    kind, tls = SCHEMES[scheme.lower()]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if kind == "embedded":
        if query:
            _refuse(url, "an embedded server has no options")
        return Location(url, kind, path=unquote(rest))
    # A path may hold an @ of its own; whoever writes a user may write it percent-encoded.
    user, _, place = authority.rpartition("@")
    username, _, password = user.partition(":")
    given = _options(url, query, kind, tls)
    location: dict[str, Any] = {
        "url": url,
        "kind": kind,
        "tls": tls,
        "username": given.pop("username", None) or unquote(username) or None,
        "password": given.pop("password", None) or unquote(password) or None,
        "sentinel_options": {
            name.removeprefix("sentinel_"): given.pop(name) for name in list(given) if name.startswith("sentinel_")
        },
    }
    location.update(_READERS[kind](url, place, f"{slash}{path}", given.pop("db", None)))
    return Location(**location, options=given)


def _tcp(url: str, place: str, path: str, db: int | None) -> dict[str, Any]:
    hosts = _hosts(url, "tcp", place)
    if len(hosts) > 1:
        _refuse(url, "several hosts are for redis+sentinel:// or redis+cluster://")
    return {"hosts": hosts, "db": _db(url, "tcp", path.strip("/"), db)}


def _unix(url: str, place: str, path: str, db: int | None) -> dict[str, Any]:
    if place or len(path) < 2:
        _refuse(url, f"the form is {FORMS['unix']}, with three slashes")
    return {"path": unquote(path), "db": db or 0}


def _sentinel(url: str, place: str, path: str, db: int | None) -> dict[str, Any]:
    service, _, number = path.strip("/").partition("/")
    if not service:
        _refuse(url, f"the form is {FORMS['sentinel']}: the service is missing")
    return {
        "hosts": _hosts(url, "sentinel", place),
        "service": unquote(service),
        "db": _db(url, "sentinel", number, db),
    }


def _cluster(url: str, place: str, path: str, db: int | None) -> dict[str, Any]:
    if _db(url, "cluster", path.strip("/"), db):
        _refuse(url, "a cluster has only database 0")
    return {"hosts": _hosts(url, "cluster", place)}


_READERS: Final[Mapping[Kind, Callable[[str, str, str, int | None], dict[str, Any]]]] = MappingProxyType(
    {"tcp": _tcp, "unix": _unix, "sentinel": _sentinel, "cluster": _cluster}
)


def _hosts(url: str, kind: Kind, place: str) -> tuple[Host, ...]:
    hosts: list[Host] = []
    for one in place.split(","):
        found = _HOST.fullmatch(one)
        if not found or (kind != "tcp" and not one):
            _refuse(url, f"the form is {FORMS[kind]}, with user and password percent-encoded")
        port = int(found[3] or _PORTS[kind])
        if not 1 <= port <= 65535:
            _refuse(url, "a port is from 1 to 65535")
        hosts.append((found[1] or found[2] or "localhost", port))
    return tuple(hosts)


def _db(url: str, kind: Kind, path: str, asked: int | None) -> int:
    if path and not re.fullmatch(r"[0-9]{1,9}", path):
        _refuse(url, f"the form is {FORMS[kind]}: the database is a number")
    return int(path) if asked is None and path else asked or 0


def _options(url: str, query: str, kind: Kind, tls: bool) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        read = _OPTIONS.get(name) or (kind == "sentinel" and _OF_SENTINELS.get(name)) or (tls and _OF_TLS.get(name))
        if not read:
            known = sorted([*_OPTIONS, *(_OF_SENTINELS if kind == "sentinel" else ()), *(_OF_TLS if tls else ())])
            _refuse(url, f"unknown option {name!r}; there are: {', '.join(known)}")
        try:
            given[name] = read(text)
        except ValueError as error:
            _refuse(url, f"option {name}: {error}")
    return given


def _refuse(url: str, why: str) -> NoReturn:
    raise ConfigurationError(f"the Redis URL {masked(url)[:200]!r}: {why}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise ValueError(f"must be seconds, above 0 and at most {_LONGEST_TIMEOUT:,}")
    return seconds


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least:,} to {most:,}")
        return int(text)

    return read


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError("must be true or false")
    return _TRUTHS[text.lower()]


def _cert_reqs(text: str) -> str:
    word = text.lower().removeprefix("cert_")
    if word not in ("none", "optional", "required"):
        raise ValueError("must be required, optional or none (none trusts whoever answers)")
    return word


def _file(text: str) -> str:
    """Else it would be missed with the first connection only, and look like a server that is away."""
    try:
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"the file {text} can't be read: {error.strerror}") from None


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise ValueError(f"there is no folder {text}")
    return text


_TRUTHS: Final = {
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}

_OPTIONS: Final[Mapping[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "db": _number(0, 999_999),
        "username": str,
        "password": str,
        "client_name": str,
        "socket_timeout": _seconds,
        "socket_connect_timeout": _seconds,
        "socket_keepalive": _truth,
        "health_check_interval": _number(0, 3600),
        "max_connections": _number(1, 100_000),
    }
)
_OF_SENTINELS: Final[Mapping[str, Callable[[str], Any]]] = MappingProxyType(
    {"sentinel_username": str, "sentinel_password": str}
)
_OF_TLS: Final[Mapping[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "ssl_cert_reqs": _cert_reqs,
        "ssl_check_hostname": _truth,
        "ssl_ca_certs": _file,
        "ssl_ca_path": _folder,
        "ssl_certfile": _file,
        "ssl_keyfile": _file,
    }
)
