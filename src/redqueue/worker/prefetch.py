"""How many jobs to claim beyond the free slots: as many as are little work."""

from __future__ import annotations

from typing import Final

from redqueue.core.lease import MOST_A_CALL

MOST_WORK_S: Final = 0.1
"""Prefetched jobs are at most this much work."""

SHORT_RUN_S: Final = 0.05


class Prefetch:
    """Learns from one queue's runs.

    Args:
        fixed: as many, whatever they take; None: by their mean.
        limit: of the queue's jobs at once.
    """

    def __init__(self, fixed: int | None, limit: int) -> None:
        self._fixed = fixed
        self._limit = limit
        self._mean_run_s: float | None = None
        self._held_up = False

    def ran_for(self, seconds: float) -> None:
        """A run ended."""
        mean = self._mean_run_s
        self._held_up = False
        self._mean_run_s = seconds if mean is None else mean + (seconds - mean) * 0.05

    def hold_up(self) -> None:
        """Long runs keep prefetched jobs from starting: nothing more is prefetched before a run ends."""
        self._mean_run_s = None
        self._held_up = True

    def ahead(self) -> int:
        """How many to hold beyond the free slots."""
        if self._held_up:
            return 0
        if self._fixed is not None:
            return self._fixed
        mean = self._mean_run_s
        if mean is None or mean > SHORT_RUN_S:
            return 0
        return min(MOST_A_CALL, int(MOST_WORK_S * self._limit / max(mean, 1e-5)))
