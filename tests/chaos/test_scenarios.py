"""The scenarios on real processes, small. The larger ones and those that wait take REDQUEUE_SLOW=1."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from chaos.__main__ import main, play_in
from chaos.patching import Change
from chaos.report import HEAD, Outcome, row, table
from chaos.scenarios import SCENARIOS, Size

if TYPE_CHECKING:
    from pathlib import Path

slow = pytest.mark.skipif(not os.environ.get("REDQUEUE_SLOW"), reason="minutes: REDQUEUE_SLOW=1 runs it")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line keeps goes with the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def small(name: str, **plan: Any) -> Size:
    """The short size of a scenario, with another plan."""
    size = SCENARIOS[name].short
    return msgspec.structs.replace(size, plan=msgspec.structs.replace(size.plan, **plan))


def test_jobs_of_killed_workers_run_again_and_none_is_lost(tmp_path: Path) -> None:
    size = msgspec.structs.replace(small("worker-kills", jobs=600, workers=2, lease=1, ms=200), faults=2)
    outcome = play_in(tmp_path / "chaos", "worker-kills", size, seed=1)
    assert outcome.findings == []
    assert (outcome.faults, outcome.lost, outcome.twice) == (2, 0, 0)
    assert outcome.extra == outcome.explained.get("killed", 0) + outcome.explained.get("stalled", 0) > 0


@slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_sound(tmp_path: Path, name: str) -> None:
    outcome = play_in(tmp_path / "chaos", name, SCENARIOS[name].short, seed=1)
    assert outcome.findings == []
    assert outcome.faults > 0


PLANTED: Final = {
    "recover of those who live": (
        "unreachable",
        "extra run",
        Change("recover.lua", "held > 0 and 0 or now", "now + lease"),
    ),
    "settle without a token": (
        "worker-stops",
        "outcome",
        Change("lib/lease.lua", "if not lease or string.sub(lease, 1, #holder) ~= holder then", "if not lease then"),
    ),
    "recover drops": (
        "worker-kills",
        "lost",
        Change("recover.lua", "redis.call('ZADD', waiting, found[i] and", "local _ = (found[i] and"),
    ),
    "a fence that does not grow": (
        "script-flush",
        "fence",
        Change("pump.lua", "clock[1] * 1000000 + clock[2])", "0) - 1"),
    ),
}
LONG_RUNS: Final = {"worker-stops": {"jobs": 150, "ms": 8_000, "concurrency": 20}}
"""So that a worker that was stopped settles while another one runs its job."""


@slow
@pytest.mark.parametrize("bug", PLANTED)
def test_a_bug_in_the_scripts_of_all_workers_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    monkeypatch.setattr("chaos.driver.PATIENCE_S", 10)
    name, found_as, change = PLANTED[bug]
    size = msgspec.structs.replace(small(name, changes=(change,), **LONG_RUNS.get(name, {})), faults=2)
    outcome = play_in(tmp_path / "chaos", name, size, seed=1)
    assert any(finding.startswith(f"{found_as}:") for finding in outcome.findings), outcome.findings


def test_a_scenario_without_its_fault_proves_nothing(tmp_path: Path) -> None:
    size = msgspec.structs.replace(small("worker-kills", jobs=50, workers=1), faults=0)
    outcome = play_in(tmp_path / "chaos", "worker-kills", size, seed=1)
    assert outcome.findings == ["no fault of the kind killed was there: nothing was proved"]


def test_the_command_line_writes_what_the_table_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = outcome_of(lost=0, findings=[])
    monkeypatch.setattr("chaos.__main__.play_in", lambda *given: found)
    monkeypatch.setattr("sys.argv", ["chaos", "--scenario", "upgrade", "--seed", "7", "--out", str(tmp_path / "out")])
    assert main() == 0
    assert "upgrade: 1,000 jobs, 3 faults, 2.0 s, 500 jobs/s" in capsys.readouterr().out
    assert msgspec.json.decode((tmp_path / "out").read_bytes(), type=Outcome) == found
    assert row(found) == "| upgrade | `--seed 7 --jobs 1000` | server 7.0 | 1,000 | 3 | 2 | 1,004 | 0 | 0 | 0 | 4 | 3 |"
    assert table([found]).startswith(HEAD)


def test_a_broken_promise_is_said_and_makes_the_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chaos.__main__.play_in", lambda *given: outcome_of(lost=1, findings=["lost: a was accepted"]))
    monkeypatch.setattr("sys.argv", ["chaos", "--scenario", "upgrade"])
    assert main() == 1
    assert "WRONG lost: a was accepted" in capsys.readouterr().out


def test_a_scenario_that_could_not_be_played_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(folder: Path, name: str, *rest: object) -> Outcome:
        if name == "upgrade":
            raise TimeoutError("nothing runs")
        return outcome_of(lost=0, findings=[])

    monkeypatch.setattr("chaos.__main__.play_in", play)
    monkeypatch.setattr("sys.argv", ["chaos", "--scenario", "upgrade", "--scenario", "redis-kills"])
    assert main() == 1
    said = capsys.readouterr()
    assert "TimeoutError: nothing runs" in said.err
    assert "lost 0" in said.out


LIVES: Final = "from chaos.lifeline import end_with_parent; end_with_parent(); import time; print('up', flush=True); {}"


def test_a_process_ends_with_its_parent_and_by_itself() -> None:
    for program, closes, code in (("time.sleep(60)", True, 1), ("pass", False, 0)):
        process = subprocess.Popen(
            [sys.executable, "-c", LIVES.format(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        with process.stdin, process.stdout, process.stderr:
            assert process.stdout.readline() == b"up\n"
            if closes:
                process.stdin.close()
            assert process.wait(30) == code
            assert process.stderr.read() == b""


def outcome_of(*, lost: int, findings: list[str]) -> Outcome:
    return Outcome(
        scenario="upgrade",
        about="two releases",
        command='make chaos ARGS="--scenario upgrade --seed 7 --full --jobs 1000"',
        server="server 7.0",
        jobs=1000,
        faults=3,
        seed=7,
        seconds=2.0,
        runs=1004,
        recorded=1000,
        lost=lost,
        forgotten=0,
        twice=0,
        extra=4,
        explained={"killed": 3},
        stalled=0,
        audits=2,
        findings=findings,
    )
