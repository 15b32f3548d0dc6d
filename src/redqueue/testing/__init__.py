"""Tests of code that uses redqueue: fixtures (`plugin`), and functions that run jobs and move time without waiting.

Names are loaded at first use, since pytest loads the plugin in every run, also of projects that use none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redqueue.testing.clock import advance, advance_async
    from redqueue.testing.context import SettableContext, job_context
    from redqueue.testing.idle import NeverIdle, Report, run_until_idle, run_until_idle_async
    from redqueue.testing.model import Model

__all__ = [
    "Model",
    "NeverIdle",
    "Report",
    "SettableContext",
    "advance",
    "advance_async",
    "job_context",
    "run_until_idle",
    "run_until_idle_async",
]


def __getattr__(name: str) -> object:
    if name in ("advance", "advance_async"):
        from redqueue.testing import clock

        return getattr(clock, name)
    if name in ("SettableContext", "job_context"):
        from redqueue.testing import context

        return getattr(context, name)
    if name == "Model":
        from redqueue.testing import model

        return model.Model
    if name in __all__:
        from redqueue.testing import idle

        return getattr(idle, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
