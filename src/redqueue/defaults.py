"""Every default and every limit of redqueue's own, once."""

from __future__ import annotations

from typing import Final

DEFAULT_URL: Final = "redis://localhost:6379/0"
DEFAULT_PREFIX: Final = "redqueue"
DEFAULT_RETRIES: Final = 3
DEFAULT_KEPT_COMPLETED: Final = 10
DEFAULT_KEPT_FAILED: Final = 50
DEFAULT_CONCURRENCY: Final = 10
DEFAULT_LEASE: Final = 30
"""Seconds, as the two that follow."""
DEFAULT_GRACE: Final = 25
DEFAULT_UNKNOWN_GRACE: Final = 3600

GENERIC_TASK: Final = "generic-task"
"""The job type and queue of service methods and tasks."""

MAX_CRASHES: Final = 3
MAX_RETRIES: Final = 10_000
MAX_PRIORITY: Final = 1000
MAX_CONCURRENCY: Final = 10_000
MAX_KEPT: Final = 10_000_000
MAX_LABEL: Final = 256
"""Characters; the three that follow are bytes."""
MAX_PAYLOAD: Final = 1024 * 1024
MAX_ERROR_TEXT: Final = 16 * 1024
MAX_TRACEBACK: Final = 32 * 1024
MAX_PROGRESS_MESSAGE: Final = 1024
MAX_PROGRESS_DATA: Final = 4 * 1024
MAX_LOG_LINE: Final = 4 * 1024
MAX_LOG_LINES: Final = 1000
