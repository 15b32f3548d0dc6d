"""What tells people that something is done, as a processor sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Notifies(Protocol):
    """Tells people, by the kinds that it has: "email", "sms", "in_app", or any other name."""

    @property
    def kinds(self) -> frozenset[str]:
        """What it can tell by."""
        ...

    async def send(
        self, kind: str, recipients: Sequence[str], message: str, context: Mapping[str, Any], *, idempotency_key: str
    ) -> object:
        """Tell all of them, or raise: then it is tried again, with the same key.

        Args:
            message: what a person reads.
            context: what a template may want: JSON.
            idempotency_key: the same for every try; for services that refuse to do a thing twice.
        """
        ...
