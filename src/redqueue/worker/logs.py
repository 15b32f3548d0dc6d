"""The log of a worker process: one line an event, whatever is in it."""

from __future__ import annotations

import logging
import re
from typing import Final

import msgspec

# Control characters and those that turn the direction of text could forge lines, or hide what stands there.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

FACTS: Final = ("queue", "job_id", "attempt", "error")
"""What a line about a job has beside its text; the error is the exception's class name."""


def set_up_logging(form: str) -> None:
    """Log to stderr, as text or as a JSON object a line; INFO and above."""
    out = logging.StreamHandler()
    out.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[out], force=True)


def format_in_use() -> str | None:
    """The format by which `set_up_logging` logs; None: nobody called it, or something else was set up since."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Json | _Text):
            return "json" if isinstance(handler.formatter, _Json) else "text"
    return None


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], record.message)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        facts |= {name: value for name in FACTS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(facts).decode()
