"""Lines that processes append, and what is read of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from chaos.ledger import Fault, Ledger, Run, now_us, read

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from pathlib import Path
from chaos.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), "dies")
n = 0
while True:
    n += 1
    ledger.note("accepted", f"j{n}", n)
"""


def test_what_is_noted_is_read(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path, "producer") as producer,
        Ledger(tmp_path, "w") as worker,
        Ledger(tmp_path, "driver") as driver,
    ):
        producer.note_all(["accepted a 1", "accepted b 2"])
        producer.note("refused", 5)
        producer.note("cancel", "b", "asked", 6)
        producer.note("cancel", "b", "cancelled", 7)
        worker.note("limit", 3)
        worker.note("start", "a", 11, 1, 20)
        worker.note("start", "b", 12, 2, 21)
        worker.note("end", "a", 11, "ok", 30)
        driver.note("fault", "killed", "w", 40, 41)
    facts = read(tmp_path)
    assert facts.accepted == {"a": 1, "b": 2}
    assert (facts.refused, facts.cancelled, facts.asked_to_stop) == ([5], {"b": 7}, {"b"})
    assert facts.runs == {"a": [Run("w", 11, 1, 20, 30, "ok")], "b": [Run("w", 12, 2, 21)]}
    assert facts.faults == [Fault("killed", "w", 40, 41)]
    assert facts.limits == {"w": 3}
    assert (facts.count("killed"), facts.count("stopped")) == (1, 0)


def test_runs_are_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    for name, at in (("w1", 9), ("w2", 3)):
        with Ledger(tmp_path, name) as ledger:
            ledger.note("start", "a", at, 1, at)
    assert [run.worker for run in read(tmp_path).runs["a"]] == ["w2", "w1"]


def test_a_line_that_was_cut_off_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("accepted a 1\naccepted b 2", encoding="utf-8")
    assert read(tmp_path).accepted == {"a": 1}


@pytest.mark.parametrize("line", ["what is this", "start a 1 1", "start a one 1 1", "end a 1 ok 5"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "w").write_text(f"accepted a 1\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"w:2: '{line}' is no line of a ledger"):
        read(tmp_path)


def test_a_killed_process_leaves_whole_lines(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    file = tmp_path / "dies"
    while not file.exists() or file.stat().st_size < 10_000:
        assert process.poll() is None
    process.kill()
    process.wait()
    text = file.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert read(tmp_path).accepted == {f"j{n}": n for n in range(1, text.count("\n") + 1)}


def test_the_clock_is_the_same_for_all_processes() -> None:
    before = now_us()
    code = "from chaos.ledger import now_us; print(now_us())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert before < int(said.stdout) < now_us()
