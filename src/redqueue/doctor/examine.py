"""Looking, and judging what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from redqueue.client.faults import CAUGHT, Action, classify, told
from redqueue.client.urls import parse
from redqueue.doctor import queues as of_queues
from redqueue.doctor import servers as of_servers
from redqueue.doctor.facts import Facts, Finding, Level
from redqueue.doctor.gather import gather
from redqueue.errors import RedisError, RedisRefused
from redqueue.options import DEFAULT_PREFIX, check_prefix, check_queue_name
from redqueue.settings import Settings

UNREACHABLE: Final = 3
"""Also for a server that refuses."""
_UNREACHED: Final = "check the URL, the firewall and whether the server runs: redis-cli -u URL ping"
_REFUSED: Final = (
    "the server is there and refuses: check user, password and database of the URL; after a restart of the server, "
    "whether its users are in an aclfile; an administrator sees the user by ACL GETUSER NAME"
)
_LEVELS: Final[Sequence[Level]] = ("ok", "hint", "warning", "error")
_EXIT_CODES: Final[dict[Level, int]] = {"ok": 0, "hint": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, servers first.

    Attributes:
        reached: whether the server let us in; when not, the one finding says why.
    """

    findings: Sequence[Finding]
    reached: bool = True

    @property
    def level(self) -> Level:
        """That of the worst finding."""
        return _LEVELS[max((_LEVELS.index(finding.level) for finding in self.findings), default=0)]

    @property
    def exit_code(self) -> int:
        """0: nothing worse than hints, 1: warnings, 2: errors, 3: not reached, or refused."""
        return _EXIT_CODES[self.level] if self.reached else UNREACHABLE

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready."""
        found = [asdict(finding) for finding in self.findings]
        return {"level": self.level, "reached": self.reached, "exit_code": self.exit_code, "findings": found}


def examine(
    url: str | None = None,
    *,
    queues: Iterable[str] | None = None,
    prefix: str = DEFAULT_PREFIX,
    audit: bool = True,
    strict: bool = False,
) -> Diagnosis:
    """Look at a server and its queues, and say what is wrong and what to do. Changes nothing.

    Args:
        url: by default what `Settings.from_env` finds.
        queues: their names; by default all that SCAN finds under the prefix.
        audit: also look for inconsistencies in each queue.
        strict: what the user may not look at is a warning, and no hint.
    Raises:
        BadInput, ConfigurationError: a name or the URL; nothing was sent. A server that can't be reached is a finding.
    Cost: a dozen round trips, one for each 1,000 keys of the server, and the audits: for each queue one for 500 keys.
    """
    location = parse(Settings.from_env().url if url is None else url)
    names = None if queues is None else [check_queue_name(name) for name in queues]
    try:
        facts = gather(location, check_prefix(prefix), names, audit=audit)
    except CAUGHT as error:
        fault = classify(error)
        return _unreached(str(location), told(fault, error, str(location)), fault.action is Action.GIVE_UP)
    except RedisError as error:
        return _unreached(str(location), str(error), isinstance(error, RedisRefused))
    found = judge(facts)
    return Diagnosis([_stricter(finding) for finding in found] if strict else found)


def judge(facts: Facts) -> list[Finding]:
    """All findings. Pure."""
    found = [finding for server in facts.servers for finding in of_servers.judge(server)]
    found += of_queues.strangers(facts)
    return found + [finding for queue in facts.queues for finding in of_queues.judge(queue)]


def _stricter(finding: Finding) -> Finding:
    return replace(finding, level="warning") if finding.denied and finding.level in ("ok", "hint") else finding


def _unreached(target: str, why: str, refused: bool) -> Diagnosis:
    do = _REFUSED if refused else _UNREACHED
    return Diagnosis([Finding("error", "reached", f"server {target}", why, do)], reached=False)
