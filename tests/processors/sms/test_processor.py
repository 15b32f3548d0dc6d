"""The processor with a provider in memory: chunks, failures, what is left when it is stopped."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from redqueue.errors import Discard, InvalidOption, Snooze
from redqueue.processors.sms import (
    ConsoleProvider,
    FileProvider,
    NumberRefused,
    ProviderBusy,
    ProviderDown,
    ProviderMisconfigured,
    SmsMessage,
    SmsProcessor,
)
from redqueue.shapes import SmsJobData
from redqueue.testing.context import SettableContext, job_context

from .conftest import Told, job_data, numbers


async def test_all_numbers_get_the_message_and_the_result_is_in_their_order() -> None:
    told, context = Told(), job_context(job_id="j")
    data = job_data(["0151 23000000", "+12025550123", "+49 151 23000002"], "Grüße €")
    result = await SmsProcessor(told, default_region="DE").process(data, context)
    assert [(one.to, one.status, one.message_id) for one in result.results] == [
        ("+4915123000000", "sent", "id-+4915123000000"),
        ("+12025550123", "sent", "id-+12025550123"),
        ("+4915123000002", "sent", "id-+4915123000002"),
    ]
    assert (result.total, result.successful, result.failed, result.duplicates, result.segments) == (3, 3, 0, 0, 1)
    assert [message.idempotency_key.rpartition(":")[2] for message in told.messages] == ["0", "1", "2"]
    assert len({message.idempotency_key for message in told.messages}) == 3
    assert told.messages[0].text == "Grüße €"
    assert (told.opened, told.closed) == (1, 1)


async def test_a_bad_number_is_a_failed_entry_and_a_repeated_one_is_sent_once() -> None:
    told = Told()
    data = job_data(["+4915123000000", "nobody", "0151 23000000", "0151 1", "+4915123000000"])
    result = await SmsProcessor(told, default_region="DE").process(data, job_context())
    assert told.sent_to == ["+4915123000000"]
    assert [(one.to, one.status, one.error) for one in result.results] == [
        ("+4915123000000", "sent", None),
        ("nobody", "failed", "not a phone number"),
        ("+4915123000000", "sent", None),
        ("0151 1", "failed", "no such number"),
        ("+4915123000000", "sent", None),
    ]
    assert (result.total, result.successful, result.failed, result.duplicates) == (5, 3, 2, 2)


async def test_a_job_of_bad_numbers_completes_without_opening_the_provider() -> None:
    told = Told()
    result = await SmsProcessor(told).process(job_data(["nobody", "0151 23000000"]), job_context())
    assert (result.failed, told.opened) == (2, 0)
    assert [one.error for one in result.results] == ["not a phone number", "no country code"]


async def test_a_refused_number_fails_alone() -> None:
    async def send(message: SmsMessage) -> str:
        if message.to.endswith("1"):
            raise NumberRefused("landline\x1b[31m")
        return "id"

    result = await SmsProcessor(Told(send)).process(job_data(numbers(3)), job_context())
    assert [(one.status, one.error) for one in result.results] == [
        ("sent", None),
        ("failed", "landline\\x1b[31m"),
        ("sent", None),
    ]


async def test_each_chunk_is_checkpointed_and_told_as_progress() -> None:
    context = job_context()
    await SmsProcessor(Told(), concurrency=4).process(job_data([*numbers(10), "nobody"]), context)
    assert [state["sms"].count("s") for state in context.checkpoints] == [4, 8, 10]
    assert context.told == [(5 / 11, "5 of 11"), (9 / 11, "9 of 11"), (1.0, "11 of 11")]


async def test_no_more_than_concurrency_are_under_way_at_once() -> None:
    now = most = 0

    async def send(message: SmsMessage) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    await SmsProcessor(Told(send), concurrency=3).process(job_data(numbers(10)), job_context())
    assert most == 3


async def failing_run(told: Told, context: SettableContext, kind: type[BaseException], **options: Any) -> BaseException:
    processor = SmsProcessor(told, **options)
    with pytest.raises(kind) as raised:
        await processor.process(job_data(numbers(6)), context)
    return raised.value


@pytest.mark.parametrize("error", [ProviderDown("503"), OSError("no route"), TimeoutError(), ZeroDivisionError()])
async def test_an_outage_is_raised_after_what_was_sent_is_checkpointed(error: Exception) -> None:
    down = True

    async def send(message: SmsMessage) -> str:
        if message.to.endswith("3") and down:
            raise error
        await asyncio.sleep(0.01)  # still under way when the other one fails
        return "id"

    told, context = Told(send), job_context()
    assert await failing_run(told, context, type(error), concurrency=5) is error
    keys = {message.to: message.idempotency_key for message in told.messages}
    assert context.checkpoints[-1]["sms"].split("\n") == ["sid", "sid", "sid", "", "sid"]
    assert told.closed == 1
    down = False
    told.messages.clear()
    result = await SmsProcessor(told, concurrency=5).process(
        job_data(numbers(6)), job_context(restored=context.checkpoints[-1], created_at=context.created_at)
    )
    assert result.successful == 6
    assert told.sent_to == [numbers(6)[3], numbers(6)[5]]
    assert told.messages[0].idempotency_key == keys[told.sent_to[0]]


async def test_the_keys_of_a_job_are_its_own_though_its_id_is_used_again() -> None:
    told, added = Told(), datetime(2026, 1, 1, tzinfo=UTC)
    contexts = [
        job_context(created_at=added),
        job_context(created_at=added),
        job_context(created_at=added + timedelta(milliseconds=1)),
        job_context(queue="q" * 64, job_id="j" * 128, created_at=added),
    ]
    for context in contexts:
        await SmsProcessor(told).process(job_data(numbers(1)), context)
    first, again, *others = [message.idempotency_key for message in told.messages]
    assert first == again and len({first, *others}) == 3
    assert all(len(key) <= 200 and key.isascii() and key.isprintable() for key in (first, *others))


@pytest.mark.parametrize(("region", "later"), [(None, "DE"), ("DE", None), ("DE", "US")])
async def test_nobody_is_sent_to_twice_when_the_region_changes_between_runs(
    region: str | None, later: str | None
) -> None:
    down = True

    async def send(message: SmsMessage) -> str:
        if message.to == numbers(2)[1] and down:
            raise ProviderDown("503")
        return "id"

    data = job_data(["0151 23000000", numbers(1)[0], numbers(2)[1]])
    told, context = Told(send), job_context()
    with pytest.raises(ProviderDown):
        await SmsProcessor(told, default_region=region, concurrency=1).process(data, context)
    down = False
    again = job_context(restored=context.checkpoints[-1])
    result = await SmsProcessor(told, default_region=later).process(data, again)
    assert told.sent_to == [numbers(1)[0], numbers(2)[1], numbers(2)[1]]
    assert result.results[1].status == "sent"


async def test_a_busy_provider_is_a_snooze_of_the_longest_pause_asked_for() -> None:
    async def send(message: SmsMessage) -> str:
        if message.to.endswith("0"):
            return "id"
        raise ProviderBusy(5 if message.to.endswith("1") else 9, "slow down")

    context = job_context()
    error = await failing_run(Told(send), context, Snooze, concurrency=3)
    assert isinstance(error, Snooze)
    assert (error.after, error.reason) == (9, "slow down")
    assert context.checkpoints[-1]["sms"] == "sid"


@pytest.mark.parametrize(("asked", "after"), [(0, 1), (-3, 1), (10**9, 3_600)])
async def test_a_pause_is_bounded(asked: float, after: float) -> None:
    async def send(message: SmsMessage) -> str:
        raise ProviderBusy(asked)

    error = await failing_run(Told(send), job_context(), Snooze)
    assert isinstance(error, Snooze) and error.after == after


async def test_wrong_settings_discard_the_job_even_when_others_were_busy_or_down() -> None:
    errors = [ProviderBusy(5), ProviderDown("503"), ProviderMisconfigured("set the token")]

    async def send(message: SmsMessage) -> str:
        raise errors[int(message.to[-1]) % 3]

    context = job_context()
    error = await failing_run(Told(send), context, Discard)
    assert str(error) == "set the token"
    assert context.checkpoints


async def test_an_error_of_opening_steers_the_job_too() -> None:
    class Shut(Told):
        def open(self) -> Any:
            raise ProviderMisconfigured("no such file")

    await failing_run(Shut(), job_context(), Discard)


async def test_a_stopped_run_lets_sends_end_begins_none_and_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redqueue.processors.sms.processor.CHUNK_SECONDS", 10_000)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def send(message: SmsMessage) -> str:
        begun.set()
        await go_on.wait()
        return "id"

    told, context = Told(send), job_context()
    run = asyncio.create_task(SmsProcessor(told, rate=0.001, concurrency=5).process(job_data(numbers(6)), context))
    await begun.wait()
    run.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert context.checkpoints == [{"looked_at": None, "sms": "sid", "region": None}]
    assert len(told.messages) == told.closed == 1


async def test_a_send_that_never_ends_does_not_hold_a_stopped_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redqueue.processors.sms.sending.LEAVES_WITHIN", 0.01)
    begun = asyncio.Event()

    async def send(message: SmsMessage) -> str:
        if message.to.endswith("0"):
            return "id"
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    context = job_context()
    run = asyncio.create_task(SmsProcessor(Told(send)).process(job_data(numbers(2)), context))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 10)
    assert context.checkpoints[-1]["sms"] == "sid"


async def test_a_send_that_cancels_itself_is_an_outage() -> None:
    async def send(message: SmsMessage) -> str:
        raise asyncio.CancelledError

    await failing_run(Told(send), job_context(), ProviderDown)


async def test_with_a_rate_a_chunk_is_what_two_seconds_let_through() -> None:
    context = job_context()
    await SmsProcessor(Told(), rate=0.5).process(job_data(numbers(1)), context)
    assert SmsProcessor(Told(), rate=0.5)._chunk == 1
    assert SmsProcessor(Told(), rate=3)._chunk == 6
    assert SmsProcessor(Told(), rate=1_000)._chunk == 20


@pytest.mark.parametrize("message", [" ", "\n\t", "\ud83d"])
def test_a_message_that_nobody_could_read_is_discarded(message: str) -> None:
    with pytest.raises(Discard):
        SmsProcessor(Told()).validate(SmsJobData(sub_account_id="s", phone_numbers=["+1"], message=message))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("rate", value) for value in (0, -1, float("nan"), float("inf"), True, "5")],
        *[("concurrency", value) for value in (0, 1_001, 2.5, True, None)],
        ("default_region", "Germany"),
    ],
)
def test_a_wrong_setting_names_its_option(option: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=option) as raised:
        SmsProcessor(Told(), **{option: value})
    assert raised.value.option == option


def test_a_provider_must_be_one() -> None:
    with pytest.raises(InvalidOption, match="provider must be an SmsProvider, not str"):
        SmsProcessor("twilio")  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", [ConsoleProvider(), FileProvider("sms.jsonl")])
def test_it_can_be_sent_to_a_child_process(provider: Any) -> None:
    assert isinstance(pickle.loads(pickle.dumps(SmsProcessor(provider, rate=5))), SmsProcessor)
