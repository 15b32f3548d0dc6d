"""What the environment says: where Redis is, and the defaults of queues and workers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from redqueue.defaults import (
    DEFAULT_CONCURRENCY,
    DEFAULT_KEPT_COMPLETED,
    DEFAULT_KEPT_FAILED,
    DEFAULT_RETRIES,
    DEFAULT_URL,
    MAX_CONCURRENCY,
    MAX_KEPT,
    MAX_RETRIES,
)
from redqueue.errors import ConfigurationError
from redqueue.rules import Keep
from redqueue.seals import Seal, check_seal, seal_from_env
from redqueue.units import check_int, shown

SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "embedded",
)

URL_VARIABLES: Final = ("REDQUEUE_URL", "REDIS_URL")
"""Where a whole URL is looked for, in this order; then it is put together from `PART_VARIABLES`."""

PART_VARIABLES: Final = ("REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS")

NUMBER_VARIABLES: Final[Mapping[str, tuple[tuple[str, ...], int, int]]] = MappingProxyType(
    {
        "keep_completed": (("REDQUEUE_KEEP_COMPLETED", "QUEUE_REMOVE_ON_SUCCESS"), 0, MAX_KEPT),
        "keep_failed": (("REDQUEUE_KEEP_FAILED", "QUEUE_REMOVE_ON_FAILURE"), 0, MAX_KEPT),
        "retries": (("REDQUEUE_RETRIES", "QUEUE_DEFAULT_RETRIES"), 0, MAX_RETRIES),
        "concurrency": (("REDQUEUE_CONCURRENCY", "QUEUE_MAX_CONCURRENCY"), 1, MAX_CONCURRENCY),
    }
)
"""Of each whole number: its variables in the order of preference, and its bounds."""

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_HOST: Final = re.compile(r"[^\s:/?#@\[\],]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_PLACE: Final = re.compile(r"(\[[^\]]*\]|[^\s:/@\[\]]*)(?::[0-9]{1,5})?")
_SECRET_QUERY: Final = re.compile(r"([?&][^=&]*password=)[^&]*", re.IGNORECASE)

_log: Final = logging.getLogger("redqueue.settings")


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """Where Redis is, and the defaults of queues and workers. Its repr shows no password.

    Raises:
        ConfigurationError: the URL is of no kind that redqueue knows.
        InvalidOption: another value is out of bounds.
    """

    url: str = DEFAULT_URL
    keep_completed: int | timedelta | Keep = DEFAULT_KEPT_COMPLETED
    keep_failed: int | timedelta | Keep = DEFAULT_KEPT_FAILED
    retries: int = DEFAULT_RETRIES
    concurrency: int = DEFAULT_CONCURRENCY
    seal: Seal | None = None

    def __post_init__(self) -> None:
        check_url("url", self.url)
        Keep.of("keep_completed", self.keep_completed)
        Keep.of("keep_failed", self.keep_failed)
        check_int("retries", self.retries, 0, MAX_RETRIES)
        check_int("concurrency", self.concurrency, 1, MAX_CONCURRENCY)
        check_seal(self.seal)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """REDQUEUE_*, else REDIS_* and QUEUE_*, else the defaults. What is empty or blank counts as unset.

        REDIS_URL wins over REDIS_HOST and the rest; a host that differs is warned of, once.

        Args:
            environ: None is `os.environ`.
        Raises:
            ConfigurationError: a bad value, by the name of its variable.
        """
        environ = os.environ if environ is None else environ
        found = _set_variables(environ)
        numbers: dict[str, Any] = _find_numbers(found)
        return cls(_find_url(found), seal=seal_from_env(environ), **numbers)

    def __repr__(self) -> str:
        return (
            f"Settings(url={masked(self.url)!r}, keep_completed={self.keep_completed!r}, "
            f"keep_failed={self.keep_failed!r}, retries={self.retries}, concurrency={self.concurrency}, "
            f"seal={self.seal!r})"
        )


def seal_of(given: object, settings: Settings | None = None) -> Seal | None:
    """The key ring that was given, else that of the settings, else of the environment.

    Raises:
        InvalidOption, ConfigurationError: it is none; what it holds is not shown.
    """
    if given is not None:
        return check_seal(given)
    found = None if settings is None else settings.seal
    return seal_from_env(os.environ) if found is None else found


def masked(url: str) -> str:
    """A URL for logs and messages: without user and password, wherever they stand and however it is broken."""
    shown = _SECRET_QUERY.sub(r"\1***", url)
    before, at, rest = shown.rpartition("@")
    if not at:
        return shown
    scheme, separator, _ = before.partition("://")
    return f"{scheme}{separator}***@{rest}" if separator else f"***@{rest}"


def check_url(name: str, url: object) -> str:
    """The URL itself, or ConfigurationError naming where it was given.

    Only its form is looked at: scheme, hosts and ports.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{name} must be a URL, not {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise ConfigurationError(f"{name} must begin with one of {known}; it is {_shown_url(url)}")
    if scheme not in ("unix", "embedded") and _hosts(rest) is None:
        raise ConfigurationError(
            f"{name} must be {scheme}://[user:password@]host[:port][/db], user and password percent-encoded; "
            f"it is {_shown_url(url)}"
        )
    return url


def _shown_url(url: str) -> str:
    """Without a scheme nobody can say where a password begins, unless there is room for none."""
    return repr(masked(url)[:200]) if "://" in url or "@" not in url else "a text without one (hidden: it holds an @)"


def _hosts(rest: str) -> list[str] | None:
    """The hosts after the scheme, in lower case, without ports; None when there is something else."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    places = [_PLACE.fullmatch(place) for place in authority.rpartition("@")[2].split(",")]
    return None if None in places else [place[1].strip("[]").lower() for place in places if place]


def _set_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of ours that hold more than blanks. A password keeps its blanks."""
    numbers = [name for names, _, _ in NUMBER_VARIABLES.values() for name in names]
    found = {name: environ.get(name, "") for name in (*URL_VARIABLES, *PART_VARIABLES, *numbers)}
    return {n: value if n == "REDIS_PASSWORD" else value.strip() for n, value in found.items() if value.strip()}


def _find_numbers(found: Mapping[str, str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for setting, (names, least, most) in NUMBER_VARIABLES.items():
        for name in names:
            if name in found:
                numbers[setting] = _whole(found, name, least, most)
                break
    return numbers


def _find_url(found: Mapping[str, str]) -> str:
    for name in URL_VARIABLES:
        if name in found:
            url = check_url(name, found[name])
            if name == "REDIS_URL" and "REDIS_HOST" in found:
                _warn_of_host(tuple(_hosts(url.partition("://")[2]) or ()), found["REDIS_HOST"].rpartition("@")[2])
            return url
    return _join_url(found) if found.keys() & set(PART_VARIABLES) else DEFAULT_URL


def _join_url(found: Mapping[str, str]) -> str:
    host = found.get("REDIS_HOST", "localhost").strip("[]")
    if not _HOST.fullmatch(host):
        raise ConfigurationError(
            f"REDIS_HOST must be a host name or an address, not {_shown_url(found['REDIS_HOST'])}: "
            "give a URL as REDIS_URL, a port as REDIS_PORT, a password as REDIS_PASSWORD"
        )
    port = _whole(found, "REDIS_PORT", 1, 65535) if "REDIS_PORT" in found else 6379
    db = _whole(found, "REDIS_DB", 0, 2**31 - 1) if "REDIS_DB" in found else 0
    scheme = "rediss" if "REDIS_TLS" in found and _truth(found, "REDIS_TLS") else "redis"
    user = quote(found.get("REDIS_USERNAME", ""), safe="")
    if "REDIS_PASSWORD" in found:
        user = f"{user}:{quote(found['REDIS_PASSWORD'], safe='')}"
    place = f"[{host}]" if ":" in host else host
    return f"{scheme}://{user}@{place}:{port}/{db}" if user else f"{scheme}://{place}:{port}/{db}"


def _whole(found: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = found[name]
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise ConfigurationError(f"{name} must be a whole number from {least:,} to {most:,}, not {shown(text)}")
    return int(text)


def _truth(found: Mapping[str, str], name: str) -> bool:
    text = found[name].lower()
    if text not in _TRUE | _FALSE:
        raise ConfigurationError(f"{name} must be true or false (or 1 or 0, yes or no, on or off), not {shown(text)}")
    return text in _TRUE


@lru_cache(maxsize=32)  # every queue that is made without a URL reads the environment
def _warn_of_host(hosts: tuple[str, ...], host: str) -> None:
    if host.strip("[]").lower() not in hosts:
        chosen = ", ".join(hosts) or "a path without a host"
        _log.warning("REDIS_URL (%s) wins over REDIS_HOST (%s), which is not used: unset one of them", chosen, host)
