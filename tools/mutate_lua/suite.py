"""The tests that mutants are shown to: collected once, and played in a fork of this process for each mutant.

What is imported and collected stays; the scripts' texts are replaced in the fork, and the fork starts its own server,
which dies with it. So nothing is written into the checkout, and an interrupted run leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import Phase, settings

from redqueue.core import script

if TYPE_CHECKING:
    from tools.mutate_lua.mutants import Mutant

FOLDERS: Final = ("tests/protocol", "tests/core")
ELSEWHERE: Final = ("[fakeredis", "OnFake", "-sync]", "-sync-", "[sync-", "test_interleavings", "test_cost.py")
"""In the ids of tests that ask the same again, of another server or the other shell, or the model only."""
MACHINE: Final = "test_state_machine.py::TestPrograms"
EXAMPLES: Final = 15
"""Of the state machine's 200 programs; the same ones each time, and what fails is not made smaller."""
SLOWEST: Final = 30.0
"""Tests that take longer, in seconds, are left out."""
MEMORY: Final = 4 << 30
"""Bytes of address space for a test process and for its server: a loop without an end stops there."""


@dataclass(slots=True)
class Test:
    """One test, and what is known of it when it has passed without a mutant."""

    item: pytest.Item
    seconds: float = 0.0
    scripts: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.item.nodeid

    @property
    def limit(self) -> float:
        """After so many seconds it hangs."""
        return 30 + 10 * self.seconds


@dataclass(slots=True)
class Trial:
    """A mutant in a fork of its own.

    Attributes:
        ended: "killed", "timed out" or "survived"; empty while it runs.
        by: the test that failed or hung.
    """

    mutant: Mutant
    pid: int
    pipe: int
    began: float
    ended: str = ""
    by: str = ""
    seconds: float = 0.0
    told: bytes = field(default=b"", repr=False)


class Suite:
    """A pytest plugin; instead of the tests' own loop it runs `play`.

    Args:
        most: a mutant is shown to so many tests at the most; by default to all.
    """

    def __init__(self, play: Callable[[Suite], None], most: int | None = None) -> None:
        self.play = play
        self.most = most
        self.tests: list[Test] = []
        self.left_out: list[str] = []
        self.kills: dict[str, Counter[str]] = {}
        self._report: Callable[[pytest.TestReport], None] | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [one for one in items if not any(part in one.nodeid for part in ELSEWHERE)]
        for item in items:
            if MACHINE in item.nodeid:
                case = item.getparent(pytest.Class).obj  # type: ignore[union-attr]
                case.settings = settings(case.settings, max_examples=EXAMPLES, phases=[Phase.generate])

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not session.testsfailed:
            self.tests = [Test(item) for item in session.items]
            self.play(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._report is not None:
            self._report(report)

    def learn(self, kept: Path | None) -> None:
        """Play all tests without a mutant: which pass, how long they take, and of which scripts they make calls.

        Args:
            kept: a file with what an earlier run learned, or where it is to be kept.
        """
        if kept is None or not kept.exists():
            facts = list(self._facts())
            if kept is not None:
                kept.write_text(json.dumps(facts), encoding="utf-8")
        else:
            facts = json.loads(kept.read_text(encoding="utf-8"))
        by_name = {found["test"]: found for found in facts if found["passed"]}
        self.left_out = [test.name for test in self.tests if test.name not in by_name]
        known = [one for one in self.tests if one.name in by_name]
        for test in known:
            fact = by_name[test.name]
            test.seconds, test.scripts = fact["seconds"], frozenset(fact["scripts"])
        self.tests = [test for test in known if test.seconds < SLOWEST]

    def _facts(self) -> Iterator[dict[str, Any]]:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._observe(write)
        os.close(write)
        with os.fdopen(read) as lines:
            yield from map(json.loads, lines)
        os.waitpid(pid, 0)

    def _observe(self, write: int) -> None:
        be_quiet()
        called: set[str] = set()
        make = script.Script.call

        def call(self: script.Script, *given: object, **named: object) -> object:
            called.add(self.name)
            return make(self, *given, **named)  # type: ignore[arg-type]

        script.Script.call = call  # type: ignore[assignment, method-assign]
        with os.fdopen(write, "w", buffering=1) as lines:
            for test, after in self._pairs(self.tests):
                called.clear()
                outcomes: list[str] = []
                self._report = lambda report, seen=outcomes: seen.append(report.outcome)
                began = time.monotonic()
                play(test, after)
                passed = set(outcomes) == {"passed"}
                fact = {"test": test.name, "seconds": time.monotonic() - began, "scripts": sorted(called)}
                lines.write(json.dumps({**fact, "passed": passed}) + "\n")
        os._exit(0)

    def try_out(self, mutant: Mutant, scripts: frozenset[str]) -> Trial:
        """Begin to show a mutant, which is in these scripts, to the tests that may notice it."""
        tests = self.order(mutant.file, scripts)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            self._judge(mutant, scripts, tests, write)
        os.close(write)
        os.set_blocking(read, False)
        return Trial(mutant, pid, read, time.monotonic())

    def order(self, file: str, scripts: frozenset[str]) -> list[Test]:
        """First those that quickly killed other mutants of this file, then the protocol's, then the quick ones."""
        kills = self.kills.setdefault(file, Counter())

        def place(test: Test) -> tuple[float, bool, float, str]:
            elsewhere = not test.name.startswith(FOLDERS[0])
            return (-kills[test.name] / (0.1 + test.seconds), elsewhere or test.seconds > 1, test.seconds, test.name)

        return sorted((test for test in self.tests if test.scripts & scripts), key=place)[: self.most]

    def _judge(self, mutant: Mutant, scripts: frozenset[str], tests: list[Test], write: int) -> None:
        be_quiet()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        install(mutant, scripts)

        def stop_when_failed(report: pytest.TestReport) -> None:
            if report.failed:
                os._exit(1)

        self._report = stop_when_failed
        code = 1
        try:
            for test, after in self._pairs(tests):
                os.write(write, test.name.encode() + b"\n")  # fails, and so ends this, when nobody reads it any more
                signal.setitimer(signal.ITIMER_REAL, test.limit)
                play(test, after)
            code = 0
        finally:
            os._exit(code)

    @staticmethod
    def _pairs(tests: list[Test]) -> Iterator[tuple[Test, pytest.Item | None]]:
        return zip(tests, [*(test.item for test in tests[1:]), None], strict=True)

    def look_after(self, trial: Trial) -> bool:
        """Whether it has ended."""
        with suppress(BlockingIOError):
            while told := os.read(trial.pipe, 65536):
                trial.told += told
        pid, status = os.waitpid(trial.pid, os.WNOHANG)
        if pid == 0:
            return False
        with suppress(BlockingIOError):
            trial.told += os.read(trial.pipe, 65536)
        os.close(trial.pipe)
        trial.seconds = time.monotonic() - trial.began
        names = trial.told.decode().split()
        hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
        trial.ended = "timed out" if hung else "survived" if status == 0 else "killed"
        if status != 0:
            trial.by = trial.told.decode().strip().split("\n")[-1] if names else "no test: it did not start"
            self.kills[trial.mutant.file][trial.by] += 1
        return True


def play(test: Test, after: pytest.Item | None) -> None:
    test.item.config.hook.pytest_runtest_protocol(item=test.item, nextitem=after)


def be_quiet() -> None:
    """What tests print in a fork is nobody's; and it is in a group of its own, so that Ctrl-C ends the parent first."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    sys.stdout.flush()


def install(mutant: Mutant, scripts: frozenset[str]) -> None:
    """Let this process send the mutant's text."""
    read = script._read
    script._read = lambda path: mutant.text if path == mutant.file else read(path)
    for name in scripts:
        fresh, known = script.load.__wrapped__(name), script.load(name)
        known.text, known.sha = fresh.text, fresh.sha
