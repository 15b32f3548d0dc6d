"""A run: how many jobs each measurement takes, found by short trials, and the rounds, one peer after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.harness.environments import NotInstalled, prepare, versions
from benchmarks.harness.figures import COSTS, KINDS, MEASUREMENTS, Entry, Figure, Kind
from benchmarks.harness.measurements import Bench, Unsupported
from benchmarks.harness.peers import Peer
from benchmarks.harness.processes import Broken
from benchmarks.harness.server import Server

FIRST_TRY: Final = 400
LEAST: Final = 400
MOST: Final = 150_000
SHORTEST_SECONDS: Final = 0.1
PINGS: Final = 200
SHORTEST_PAUSE_SECONDS: Final = 0.004
DELAYED: Final = 20_000
ADDING_SECONDS: Final = 4

Say = Callable[[str], None]


class Contest:
    """One peer in this run: its sizes, and its figures as they grow."""

    def __init__(self, peer: Peer, wanted: Sequence[str], seconds: float, say: Say) -> None:
        self.peer = peer
        self.figures: dict[str, Figure] = {}
        self._wanted = [name for name in wanted if not peer.figures or name in peer.figures]
        self._seconds = seconds
        self._say = say
        self._sizes: dict[str, int] = {}
        self._bench: Bench | None = None
        self._adds = 0.0  # a second, 50 at once
        self._runs = 0.0
        for name in set(wanted) - set(self._wanted):
            self._note(name, unsupported="not measured: see its notes")

    def prepare(self, server: Server) -> None:
        """Install it and find its sizes; what does not work in a trial is not tried again."""
        try:
            prepare(self.peer)
        except NotInstalled as error:
            for name in self._wanted:
                self._note(name, failed=str(error))
            self._wanted = []
            return
        self._bench = Bench(self.peer, server)
        for name in list(self._wanted):
            if name != "delayed" and not self._attempt(name, self._size):
                self._wanted.remove(name)
        if "delayed" in self._wanted:
            self._size_delayed()
        self._say(f"  {self.peer.name}: {self._sizes}")

    def round(self) -> None:
        """One round of all that works; its values are appended."""
        for name in self._wanted:
            self._attempt(name, self._measure)

    def entry(self) -> Entry:
        """As it is kept."""
        facts = {key: getattr(self.peer, key) for key in Entry.__struct_fields__ if key not in ("versions", "figures")}
        installed = versions(self.peer) if self._bench is not None else {}
        return Entry(**facts, versions=installed, figures=self.figures)

    def _size(self, name: str) -> None:
        if name == "latency":
            self._sizes[name] = PINGS
            return
        rate, jobs = 0.0, FIRST_TRY
        for _ in range(3):
            rate = self._take(name, jobs)[name]
            if jobs / rate >= SHORTEST_SECONDS:
                break
            jobs *= 8
        self._sizes[name] = max(LEAST, min(MOST, round(rate * self._seconds)))
        if name in ("add_fifty", "add_bulk"):
            self._adds = max(self._adds, rate)
        if name.startswith("process"):
            self._runs = max(self._runs, rate)

    def _size_delayed(self) -> None:
        """As many as it adds in 4 s and runs in 1.5 times the usual time, at most 20,000; adding later costs more."""
        adds, runs = self._adds or 1000, self._runs or 1000
        jobs = round(min(DELAYED, adds / 3 * ADDING_SECONDS, runs * self._seconds * 1.5))
        self._sizes["delayed"] = max(LEAST, jobs)

    def _take(self, name: str, jobs: int) -> dict[str, float]:
        assert self._bench is not None
        if name == "latency":
            return self._bench.latency(jobs, max(SHORTEST_PAUSE_SECONDS, 5 / (self._runs or 1000)))
        if name == "delayed":
            return self._bench.delayed(jobs, jobs / (self._adds or 1000) * 3)
        return self._bench.measurements()[name](jobs)

    def _measure(self, name: str) -> None:
        jobs = self._sizes[name]
        found = self._take(name, jobs)
        for kind in self._kinds(name):
            figure = self.figures.setdefault(kind.key, Figure())
            figure.rounds.append(found[kind.key])
            figure.jobs = jobs

    def _kinds(self, name: str) -> list[Kind]:
        """The figures that come from a measurement: its own, and what jobs cost from the first flavour's."""
        costs = name == f"process_{self.peer.flavours[0]}"
        return [kind for kind in KINDS if kind.measurement == (COSTS if costs and kind.measurement == COSTS else name)]

    def _attempt(self, name: str, do: Callable[[str], None]) -> bool:
        try:
            do(name)
        except Unsupported as why:
            self._note(name, unsupported=str(why))
        except (Broken, KeyError) as error:
            self._say(f"  {self.peer.name}, {name}: failed: {error}")
            self._note(name, failed=str(error))
        else:
            return True
        return False

    def _note(self, name: str, *, unsupported: str = "", failed: str = "") -> None:
        for kind in self._kinds(name):
            figure = self.figures.setdefault(kind.key, Figure())
            figure.unsupported = unsupported or figure.unsupported
            figure.failed += [failed] if failed else []


def run_rounds(
    peers: Sequence[Peer], server: Server, *, wanted: Sequence[str], rounds: int, seconds: float, say: Say
) -> list[Entry]:
    """Round 1 of every peer, then round 2, and so on, so that a slow minute of the machine hits them all."""
    contests = [Contest(peer, wanted or MEASUREMENTS, seconds, say) for peer in peers]
    say("trials")
    for contest in contests:
        contest.prepare(server)
    for number in range(1, rounds + 1):
        for contest in contests:
            say(f"round {number} of {rounds}: {contest.peer.name}")
            contest.round()
    return [contest.entry() for contest in contests]
