"""What came out, as a line of JSON to keep and a row of a table to read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

HEAD: Final = (
    "| scenario | arguments | server | jobs | faults | seconds | runs "
    "| lost | forgotten | recorded twice | extra runs | explained |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)

COMMAND: Final = 'make chaos ARGS="--scenario SCENARIO --full ARGUMENTS"'


class Outcome(msgspec.Struct):
    """One scenario's figures.

    Attributes:
        forgotten: jobs whose adds Redis forgot when it was killed; they are not among the lost.
        seconds: from the first add to the last outcome; looking through it all takes longer.
        audits: how often everything was looked through for inconsistencies, at work and at rest.
        stalled: how often the machine gave a worker no time for most of a lease.
    """

    scenario: str
    about: str
    command: str
    server: str
    jobs: int
    faults: int
    seed: int
    seconds: float
    runs: int
    recorded: int
    lost: int
    forgotten: int
    twice: int
    extra: int
    explained: dict[str, int]
    stalled: int
    audits: int
    findings: list[str]

    @property
    def sound(self) -> bool:
        """Whether every promise was kept."""
        return not self.findings


def row(outcome: Outcome) -> str:
    """One row of the table."""
    cells = (
        outcome.scenario,
        f"`{_arguments(outcome)}`",
        outcome.server,
        f"{outcome.jobs:,}",
        f"{outcome.faults:,}",
        f"{outcome.seconds:.0f}",
        f"{outcome.runs:,}",
        f"{outcome.lost:,}",
        f"{outcome.forgotten:,}",
        f"{outcome.twice:,}",
        f"{outcome.extra:,}",
        f"{sum(outcome.explained.values()):,}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _arguments(outcome: Outcome) -> str:
    """What follows the scenario and --full on the command line."""
    words = outcome.command.partition(f"--scenario {outcome.scenario} ")[2]
    return words.rstrip('"').replace(" --full", "")


def said(outcome: Outcome) -> str:
    """The same in words, with what is wrong."""
    why = ", ".join(f"{count:,} by {kind}" for kind, count in sorted(outcome.explained.items())) or "none"
    figures = f"{outcome.jobs:,} jobs, {outcome.faults:,} faults, {outcome.seconds:.1f} s"
    rate = f"{outcome.jobs / outcome.seconds:,.0f} jobs/s on {outcome.server}"
    jobs = f"lost {outcome.lost:,}, forgotten by Redis {outcome.forgotten:,}, recorded twice {outcome.twice:,}"
    runs = f"{jobs}, extra runs {outcome.extra:,}"
    lines = [f"{outcome.scenario}: {figures}, {rate}", f"  {runs}; explained: {why}; {outcome.audits} audits"]
    return "\n".join([*lines, *(f"  WRONG {finding}" for finding in outcome.findings)])


def table(outcomes: Sequence[Outcome]) -> str:
    """All rows, in Markdown, with the command of each below."""
    return "\n".join([HEAD, *map(row, outcomes), "", COMMAND])


def append(path: Path, outcome: Outcome) -> None:
    """Keep one as a line of JSON."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    print(table([msgspec.json.decode(line, type=Outcome) for line in Path(sys.argv[1]).read_bytes().splitlines()]))
