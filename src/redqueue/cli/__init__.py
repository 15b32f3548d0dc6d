"""The command `redqueue`. It needs the extra ``cli``; the worker's own command line needs nothing."""

from __future__ import annotations
