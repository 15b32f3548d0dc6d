"""One run of one job, and what its context knows of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from redqueue.context import JobFacts, Receipt
from redqueue.core.bombs import decode
from redqueue.core.lease import Claimed
from redqueue.core.lifecycle import RunRules, Settlement
from redqueue.core.report import LINE, PROGRESS, STATE, Kind, line_text, progress_text, state_text

if TYPE_CHECKING:
    from redqueue.registry.binding import Prepared
    from redqueue.worker.deadlines import Deadline
    from redqueue.worker.executors.process import ChildRun
    from redqueue.worker.pump import Pump
    from redqueue.worker.reports import Noted

Stopped = Literal["", "lost", "cancelled", "leaving", "timeout"]


class Run(msgspec.Struct, eq=False):
    """What the executors and the context share of a run. A struct: no other class is made as fast.

    Attributes:
        stopped: why the run was told to stop; empty: it was not.
        entered: its coroutine has begun; a task that is cancelled before never runs.
        decided: what becomes of the job, while its `on_failed` is told.
        due: when something is to be done about it.
        in_thread: a thread of the worker is busy with it.
        over: it was given up, so what it still does concerns nobody.
        replaced: that thread was given up, and another one took its place.
    """

    pump: Pump
    claimed: Claimed
    prepared: Prepared
    rules: RunRules
    facts: JobFacts
    attempt: int
    stopped: Stopped = ""
    entered: bool = False
    in_thread: bool = False
    over: bool = False
    decided: Settlement | None = None
    replaced: bool = False
    due: Deadline | None = None
    task: asyncio.Task[None] | None = None
    child: ChildRun | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop."""
        return self.stopped != ""

    @property
    def restored(self) -> Any:
        """The last checkpoint of an earlier run."""
        return None if self.claimed.saved is None else decode(self.claimed.saved)

    def note(self, kind: Kind, text: bytes) -> Noted:
        """Take what was encoded already, as in a child process."""
        if self.pump.keys.seal is not None:
            text = self.pump.keys.seal.close_report(self.claimed, kind, text)
        return self.pump.desk.note(self.claimed, kind, text)

    def note_progress(self, done: float | None, message: str | None, data: object) -> Receipt:
        """Send progress, the latest only."""
        return self.note(PROGRESS, progress_text(done, message, data))

    def note_line(self, line: str) -> Receipt:
        """Send a line of the job's log."""
        return self.note(LINE, line_text(line))

    def note_state(self, state: object) -> Receipt:
        """Send a checkpoint, the latest only."""
        return self.note(STATE, state_text(state))
