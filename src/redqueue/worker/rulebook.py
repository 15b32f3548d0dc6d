"""Whose word counts: the job's, else its processor's, else the worker's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redqueue.core.lease import ListRule
from redqueue.core.lifecycle import RunRules
from redqueue.options import NOTHING_GIVEN, Given
from redqueue.rules import Keep
from redqueue.units import to_ms

if TYPE_CHECKING:
    from redqueue.registry.binding import Binding
    from redqueue.worker.pump import Pump

Limits = tuple[int, int]


class Rulebook:
    """Resolves run options; a function's own are resolved once."""

    def __init__(self, default: RunRules) -> None:
        self.default = default
        self._known: dict[int, tuple[Binding, RunRules, Limits | None, Limits | None]] = {}

    def rules(self, pump: Pump, binding: Binding, given: Given) -> RunRules:
        """The rules of one run. A keep that counts is the queue's, which the pump takes over."""
        entry = self._known.get(id(binding))
        if entry is None:
            # Held together with the binding, so that its id can't become another's.
            entry = self._known[id(binding)] = (binding, *self._of_function(binding.options))
        _, rules, completed, failed = entry
        if given is not NOTHING_GIVEN:
            completed = given.keep_completed or completed
            failed = given.keep_failed or failed
            rules = RunRules(
                rules.retries if given.retries is None else given.retries,
                rules.backoff if given.backoff is None else given.backoff,
                _word(completed),
                _word(failed),
                self._timeout_ms(binding.options, given),
                rules.expires_ms,
            )
        if completed is not None or failed is not None:
            pump.keep = _list_rule(pump.keep, completed, failed)
        return rules

    def _of_function(self, options: Mapping[str, Any]) -> tuple[RunRules, Limits | None, Limits | None]:
        completed, failed = _limits(options, "keep_completed"), _limits(options, "keep_failed")
        rules = RunRules(
            options.get("retries", self.default.retries),
            options.get("backoff", self.default.backoff),
            _word(completed),
            _word(failed),
            self._timeout_ms(options, NOTHING_GIVEN),
            to_ms("expires_in", options["expires_in"]) if "expires_in" in options else None,
        )
        return rules, completed, failed

    def _timeout_ms(self, options: Mapping[str, Any], given: Given) -> int | None:
        """The job's, else its processor's, else the worker's; a processor's also caps the job's."""
        own = to_ms("timeout", options["timeout"]) if "timeout" in options else None
        if given.timeout_ms is None:
            return self.default.timeout_ms if own is None else own
        return given.timeout_ms if own is None else min(own, given.timeout_ms)


def _limits(options: Mapping[str, Any], name: str) -> Limits | None:
    return Keep.of(name, options[name]).limits if name in options else None


def _word(limits: Limits | None) -> str:
    """A keep in the words of the settle script: '0' drops at once, a number is an age of the job's own."""
    if limits is None or limits[0] > 0:
        return "-"
    return "0" if limits[0] == 0 else str(limits[1])


def _list_rule(current: ListRule, completed: Limits | None, failed: Limits | None) -> ListRule:
    counted = ListRule(
        completed if completed is not None and completed[0] > 0 else current.completed,
        failed if failed is not None and failed[0] > 0 else current.failed,
    )
    return current if counted == current else counted
