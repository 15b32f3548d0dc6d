"""Providers that send nothing: for development and tests."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redqueue.processors.sms.provider import ProviderDown, SmsMessage


class FileProvider:
    """Appends a JSON line a message to a file: keys `id`, `to`, `text`, `key`, and what else the message has.

    Each line is one append, so workers on one machine can share the file. It is made with access for its owner only.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"FileProvider({str(self.path)!r})"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[_FileSession]:
        """The file, open for one job."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            yield _FileSession(descriptor)
        finally:
            os.close(descriptor)


class _FileSession:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def send(self, message: SmsMessage, /) -> str | None:
        """Append a line."""
        line = (json.dumps(_fields(message)) + "\n").encode()
        if os.write(self._descriptor, line) != len(line):
            raise ProviderDown("the disk took a part of a line only")
        return _id_of(message)


class ConsoleProvider:
    """Prints a line a message to stdout. What would control a terminal, or end the line, is written as an escape."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[_ConsoleSession]:
        """Nothing to open."""
        yield _ConsoleSession()


class _ConsoleSession:
    async def send(self, message: SmsMessage, /) -> str | None:
        """Print a line."""
        sys.stdout.write(f"sms to {message.to}: {json.dumps(message.text)}\n")
        sys.stdout.flush()
        return _id_of(message)


def _fields(message: SmsMessage) -> dict[str, Any]:
    found = {
        "id": _id_of(message),
        "to": message.to,
        "text": message.text,
        "key": message.idempotency_key,
        "campaign_id": message.campaign_id,
        "sub_account_id": message.sub_account_id,
        "metadata": message.metadata,
    }
    return {name: value for name, value in found.items() if value is not None}


def _id_of(message: SmsMessage) -> str:
    """The same whenever the same message is sent again."""
    return hashlib.blake2b(message.idempotency_key.encode(), digest_size=8).hexdigest()
