"""The notifier: e-mail, text messages, the application itself, and whatever Apprise knows, each by its kind."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redqueue.errors import Discard, InvalidOption
from redqueue.processors.notifying import Notifies
from redqueue.registry.names import check_name, quoted
from redqueue.shapes import Delivery, Result
from redqueue.tasks.channels import Channel, ForeignChannel, InApp, InAppChannel, Message, NotNow, failed

if TYPE_CHECKING:
    from redqueue.processors.email import SmtpSender, Templates
    from redqueue.processors.sms import SmsProvider

Note: TypeAlias = Callable[[int, Delivery | NotNow], Awaitable[None]]
"""What became of the target at that place."""

EMAIL: Final = "email"
SMS: Final = "sms"
IN_APP: Final = "in_app"


class NotificationResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """What became of those who were to be told, each once and in their order."""

    kind: str
    total: int
    successful: int
    failed: int
    results: list[Delivery]


class Notifier:
    """Tells people, by the kinds that it was given. What a data export and `send_notification` tell by.

    It holds settings, no connections: it can be made at import and used from any event loop. Nobody sees who else was
    told. No kind's secrets are in its repr, in errors or in results.

    Args:
        email: the mail server, for the kind "email".
        templates: what a job's `template` names, or what `Templates` takes; None: only plain text.
        subject: of mail whose job gives none.
        sms: a provider, for the kind "sms".
        default_region: the country of numbers without a country code, as in "DE".
        in_app: ``notify(user_id, message, context)``, async or plain, for the kind "in_app". In `context`, the job's
            mapping, is also the `idempotency_key`. `RecipientRefused` makes a failed entry; who meets another exception
            is put off, and the others are told.
        services: URLs of Apprise's by a kind of your own. ``{to}`` in one is each recipient of the job; without it the
            service is told once, whoever the job names. URLs are secrets: take them from the environment.
    Raises:
        InvalidOption: no kind at all, or one twice.
        ConfigurationError: a URL that Apprise can't read.
        MissingExtra: "email", "sms" or "notify" for what was given.
    """

    def __init__(
        self,
        *,
        email: SmtpSender | None = None,
        templates: Templates | str | Path | Mapping[str, Mapping[str, str]] | None = None,
        subject: str = "Notification",
        sms: SmsProvider | None = None,
        default_region: str | None = None,
        in_app: InApp | None = None,
        services: Mapping[str, str | Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._channels: dict[str, Channel] = {}
        if email is not None:
            self._channels[EMAIL] = _mail(email, templates, subject)
        elif templates is not None:
            raise InvalidOption("templates", "templates are of e-mail: give email=SmtpSender(...) too")
        if sms is not None:
            self._channels[SMS] = _texts(sms, default_region)
        if in_app is not None:
            self._channels[IN_APP] = InAppChannel(in_app)
        for kind, urls in services.items():
            if check_name("kind", kind) in (EMAIL, SMS, IN_APP):
                raise InvalidOption("services", f"services has the kind {kind!r}, which is given by its own argument")
            self._channels[kind] = _services(kind, [urls] if isinstance(urls, str) else urls)
        if not self._channels:
            raise InvalidOption("notifier", "the notifier has no kind: give email, sms, in_app or services")

    @property
    def kinds(self) -> frozenset[str]:
        """What it can tell by."""
        return frozenset(self._channels)

    def __repr__(self) -> str:
        return f"Notifier({', '.join(sorted(self._channels))})"

    def channel(self, kind: str) -> Channel:
        """Tells by that kind, which is one of `kinds`."""
        return self._channels[kind]

    async def send(
        self, kind: str, recipients: Sequence[str], message: str, context: Mapping[str, Any], *, idempotency_key: str
    ) -> NotificationResult:
        """Tell all of them, one after the other; each has a key of its own, made of the idempotency key and of theirs.

        A recipient that will never do, or that can't be told now when others were, is a failed entry.

        Args:
            context: may have `subject`, `template` and `template_data`.
        Raises:
            Discard: there is no such kind, or the message will never do.
            NotNow, Exception: an outage. It isn't known here who was told: `send_notification` keeps that.
        """
        channel = channel_of(self, kind)
        targets = channel.targets(recipients)
        outcomes: dict[int, Delivery | NotNow] = {}

        async def note(place: int, outcome: Delivery | NotNow) -> None:
            outcomes[place] = outcome

        await tell_each(channel, dict(enumerate(targets)), Message(message, context), idempotency_key, note)
        put_off = [outcome for outcome in outcomes.values() if isinstance(outcome, NotNow)]
        if put_off and len(put_off) == len(targets):
            raise put_off[0]
        return result_of(kind, targets, outcomes)


def channel_of(notifier: Notifies, kind: str) -> Channel:
    """What tells by that kind.

    Raises:
        Discard: there is no such kind; it names those that there are.
    """
    if kind not in notifier.kinds:
        there = ", ".join(sorted(notifier.kinds)) or "none"
        raise Discard(f"this worker's notifier has no kind {quoted(kind)}; it has {there}")
    return notifier.channel(kind) if isinstance(notifier, Notifier) else ForeignChannel(notifier, kind)


async def tell_each(
    channel: Channel, targets: Mapping[int, str], message: Message, idempotency_key: str, note: Note
) -> None:
    """Tell these targets, by place; `note` is awaited before the next one is told."""
    async with channel.open(targets.values(), message) as session:
        for place, to in targets.items():
            try:
                outcome: Delivery | NotNow = await session.tell(to, key_for(idempotency_key, to))
            except NotNow as not_now:
                outcome = not_now
            await note(place, outcome)


def key_for(idempotency_key: str, to: str) -> str:
    """The key of one target. Not of its place, which a changed setting may give to somebody else."""
    return f"{idempotency_key}:{hashlib.sha256(to.encode()).hexdigest()[:16]}"


def result_of(kind: str, targets: Sequence[str], outcomes: Mapping[int, Delivery | NotNow]) -> NotificationResult:
    """An entry a target. One that was put off has failed."""
    results = []
    for place, to in enumerate(targets):
        outcome = outcomes.get(place)
        results.append(outcome if isinstance(outcome, Delivery) else failed(to, str(outcome or "not told")))
    successful = sum(one.status == "sent" for one in results)
    total = len(results)
    return NotificationResult(kind=kind, total=total, successful=successful, failed=total - successful, results=results)


def _mail(
    sender: SmtpSender, templates: Templates | str | Path | Mapping[str, Mapping[str, str]] | None, subject: str
) -> Channel:
    from redqueue.processors.email import Templates
    from redqueue.tasks.mail_channel import MailChannel

    known = templates if templates is None or isinstance(templates, Templates) else Templates(templates)
    return MailChannel(sender, known, subject)


def _texts(provider: SmsProvider, region: str | None) -> Channel:
    from redqueue.tasks.sms_channel import SmsChannel

    return SmsChannel(provider, region)


def _services(kind: str, urls: Sequence[str]) -> Channel:
    from redqueue.tasks.services import ServiceChannel

    return ServiceChannel(kind, urls)
