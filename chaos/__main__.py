"""``make chaos``: play scenarios on real processes, and check what came out. Exit code 1: a promise was broken."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import msgspec
from chaos.checker import check
from chaos.driver import KEEP_ALL, Stage
from chaos.ledger import STALLED, read
from chaos.report import Outcome
from chaos.scenarios import SCENARIOS, Size
from chaos.stored import read_queue

from chaos import report
from redqueue.embedded import binary


def main() -> int:
    """Play what the command line says."""
    options = _options()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    ends = time.monotonic() + 60 * (options.minutes or 0)
    sound = True
    while True:
        for name in options.scenario or SCENARIOS:
            try:
                sound = _play_and_tell(name, seed, options) and sound
            except Exception:  # the other scenarios are played nevertheless: nobody may be there to start them again
                traceback.print_exc()
                sound = False
        seed += 1
        if time.monotonic() >= ends:
            return 0 if sound else 1


def _play_and_tell(name: str, seed: int, options: argparse.Namespace) -> bool:
    outcome = play(name, seed, options)
    print(report.said(outcome), flush=True)
    if options.out:
        report.append(options.out, outcome)
    return outcome.sound


def play(name: str, seed: int, options: argparse.Namespace) -> Outcome:
    """One scenario, from an empty server to the verdict. Its folder stays when something is wrong."""
    size = _sized(SCENARIOS[name].full if options.full else SCENARIOS[name].short, options)
    print(f"{name}: seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix=f"redqueue-chaos-{name}-"))
    outcome = play_in(folder, name, size, seed)
    if outcome.sound and not options.keep:
        shutil.rmtree(folder)
    else:
        print(f"{name}: the ledger and the workers' log are in {folder}", flush=True)
    return outcome


def play_in(folder: Path, name: str, size: Size, seed: int) -> Outcome:
    """The same in a folder of the caller's."""
    scenario = SCENARIOS[name]
    with Stage(folder, size.plan, seed) as stage:
        began = time.monotonic()
        stage.start_producers()
        scenario.play(stage, size)
        drained = stage.wait_until_drained()
        seconds = time.monotonic() - began
        stage.leave()
        at_work = [f"while at work: {finding}" for finding in stage.auditor.findings]
        stored = read_queue(stage.queue, stage.server.url, kept_all=size.plan.keep >= KEEP_ALL)
    stored.findings = [*at_work, *stored.findings]
    facts = read(stage.facts)
    verdict = check(facts, stored, scenario.rules)
    findings = verdict.lines()
    if not drained:
        findings.append("it was not drained: nothing moved any more")
    if len(facts.accepted) != size.plan.jobs:
        findings.append(f"only {len(facts.accepted):,} of {size.plan.jobs:,} jobs were accepted")
    if not scenario.fired(facts):
        findings.append(f"no fault of the kind {scenario.fault} was there: nothing was proved")
    return Outcome(
        scenario=name,
        about=scenario.about,
        command=_command(name, size, seed),
        server=_server(),
        jobs=size.plan.jobs,
        faults=scenario.fired(facts),
        seed=seed,
        seconds=seconds,
        runs=verdict.runs,
        recorded=verdict.recorded,
        lost=verdict.lost,
        forgotten=verdict.forgotten,
        twice=verdict.twice,
        extra=verdict.extra,
        explained=verdict.explained,
        stalled=facts.count(STALLED),
        audits=stage.auditor.looks + 1,
        findings=findings,
    )


def _sized(size: Size, options: argparse.Namespace) -> Size:
    """The size, with what the command line says of it."""
    plan = size.plan if options.jobs is None else msgspec.structs.replace(size.plan, jobs=options.jobs)
    return Size(
        plan,
        faults=size.faults if options.faults is None else options.faults,
        seconds=size.seconds if options.seconds is None else options.seconds,
    )


def _command(name: str, size: Size, seed: int) -> str:
    full = SCENARIOS[name].full
    words = [f"--scenario {name} --seed {seed} --full"]
    words += [f"--jobs {size.plan.jobs}"] if size.plan.jobs != full.plan.jobs else []
    words += [f"--faults {size.faults}"] if size.faults != full.faults else []
    words += [f"--seconds {size.seconds:g}"] if size.seconds != full.seconds else []
    return f'make chaos ARGS="{" ".join(words)}"'


def _server() -> str:
    program = binary.find()
    return f"{program.name} {'.'.join(map(str, binary.version(program)))}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS), help="default: all of them")
    parser.add_argument("--seed", type=int, help="of the plan; printed when it is drawn")
    parser.add_argument("--full", action="store_true", help="the full size: hours, not minutes")
    parser.add_argument("--minutes", type=float, help="go on with the next seeds until so many are over")
    parser.add_argument("--jobs", type=int, help="instead of the size's own")
    parser.add_argument("--faults", type=int, help="instead of the size's own")
    parser.add_argument("--seconds", type=float, help="for which a fault lasts, instead of the size's own")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append a line of JSON for each scenario")
    parser.add_argument("--keep", action="store_true", help="keep the ledgers of sound runs, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
