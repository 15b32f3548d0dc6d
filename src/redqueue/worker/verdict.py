"""From what Python code returned or raised to an outcome, as data."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from redqueue.core.bombs import READ_DEPTH, bomb_in
from redqueue.core.codec import encode_json
from redqueue.core.lease import ErrorFacts
from redqueue.core.lifecycle import Outcome, Raised, Returned, Snoozed
from redqueue.defaults import MAX_ERROR_TEXT, MAX_PAYLOAD, MAX_TRACEBACK
from redqueue.errors import (
    BadSignature,
    CorruptEnvelope,
    Discard,
    InvalidArguments,
    InvalidOption,
    JobError,
    JobExpired,
    MethodNotAllowed,
    PayloadNotSerializable,
    ResultNotSerializable,
    Retry,
    Snooze,
)
from redqueue.units import to_ms

_OURS: Final = str(Path(__file__).parent)
_FINAL: Final = (
    BadSignature,
    CorruptEnvelope,
    Discard,
    InvalidArguments,
    JobExpired,
    MethodNotAllowed,
    ResultNotSerializable,
)
"""What another attempt can't mend."""


def returned(value: object) -> Outcome:
    """The outcome of a value. One that can't be stored is a failure that another attempt won't mend."""
    if value is None:
        return Returned(b"")
    try:
        result = encode_json(value)
    except PayloadNotSerializable as error:
        return raised(ResultNotSerializable(str(error).replace("the data", "the result")), {})
    if len(result) > MAX_PAYLOAD:
        size = f"{len(result):,} bytes as JSON, more than {MAX_PAYLOAD:,}"
        return raised(ResultNotSerializable(f"the result is {size}: store it elsewhere and return its key"), {})
    if problem := bomb_in(result, READ_DEPTH):  # nobody could read it
        return raised(ResultNotSerializable(f"the result is {problem}"), {})
    return Returned(result)


def raised(error: BaseException, options: Mapping[str, Any]) -> Outcome:
    """The outcome of an exception, by what the processor's options say of its class."""
    try:
        match error:
            case Snooze():
                return Snoozed(to_ms("Snooze.after", error.after), _text(error.reason, MAX_ERROR_TEXT))
            case Retry():
                after_ms = None if error.after is None else to_ms("Retry.after", error.after)
                return Raised(facts_of(error), after_ms=after_ms)
    except InvalidOption as wrong:
        return Raised(facts_of(wrong))
    return Raised(facts_of(error), final=_is_final(error, options))


def facts_of(error: BaseException) -> bytes:
    """An exception as JSON: class name, text and traceback, bounded. The worker's own frames are left out."""
    try:
        message = str(error)
    except BaseException as broken:
        message = f"<its __str__ raised {type(broken).__name__}>"
    frames = "" if isinstance(error, JobError) else _traceback(error)
    facts = ErrorFacts(type(error).__name__, _text(message, MAX_ERROR_TEXT), _text(frames, MAX_TRACEBACK))
    return msgspec.json.encode(facts)


def _is_final(error: BaseException, options: Mapping[str, Any]) -> bool:
    if isinstance(error, _FINAL):
        return True
    if isinstance(error, options.get("give_up_on", ())):
        return True
    retry_on = options.get("retry_on")
    return retry_on is not None and not isinstance(error, (*retry_on, Retry))


def _traceback(error: BaseException) -> str:
    try:
        told = traceback.TracebackException.from_exception(error, limit=-30)
        while told.stack and told.stack[0].filename.startswith(_OURS):
            del told.stack[0]
        return "".join(told.format())
    except Exception:
        return ""


def _text(text: str, limit: int) -> str:
    """At most `limit` bytes of text that JSON and a terminal can show; a cut says so."""
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) > limit:
        encoded = encoded[: limit - 20] + b" ... (cut)"
    return encoded.decode("utf-8", "ignore")
