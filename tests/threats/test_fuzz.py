"""Any bytes give a value or an error of redqueue's own: never another exception, a crash or a hang.

Each decoder of what comes from outside: from Redis, from a child process, from the environment.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.client.urls import parse
from redqueue.core import codec, events, inspect, lease, results
from redqueue.core.bombs import decode
from redqueue.core.events import Entry, EntryId, read_entry, split_failure
from redqueue.core.keys import Keys
from redqueue.core.results import Ending, endings_in, value_of
from redqueue.core.seal import QueueSeal
from redqueue.errors import ConfigurationError, JobError, RedQueueError
from redqueue.registry.decoding import decoder_of, refuse_bombs
from redqueue.seals import Signed, seal_from_env
from redqueue.settings import Settings
from redqueue.worker.executors.pipe import Unread, for_child

KEYS: Final = Keys("q", "redqueue")
SEAL: Final = QueueSeal(Signed({"k": bytes(32)}), KEYS.base)
HEADS: Final = [
    b'["sms","",1]',
    b'["sms","",1,"a","u",{"retries":3,"to":5}]',
    b'["sms","",1,null,null,{"backoff":[1,2],"kc":[0,-1]}]',
]
TEXTS: Final = [
    b"",
    b"null",
    b'{"type":"A","message":"b","traceback":"c"}',
    b'[0.5,"m",{"at":1}]',
    b">",
    b"1 2 3",
    b"1 1000 {}",
    b'"\\ud800"',
    b"1e999",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 5000,
    b"-" + b"9" * 5000,
    b'["a","",' + b"9" * 5000 + b"]",
    b'["a","",1,null,null,{},' + b"[" * 8000,
    b'{"type":"a","message":"b","x":' + b"[" * 100_000,
    b"\xffs\x01k" + bytes(60),
    b"\xff",
    b"\x00\n\x1b",
]

anything = st.binary(max_size=300) | st.sampled_from([*HEADS, *TEXTS])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """What redqueue writes, with a few bytes changed, cut or put in."""
    text = bytearray(draw(st.sampled_from([*HEADS, *(one for one in TEXTS if len(one) < 1000)])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(text)


stored = anything | damaged()
maybe = st.none() | stored
quick = settings(max_examples=100, deadline=None)


def only(expected: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], object]) -> Any:
    """The call's value, or None when it raised what it may."""
    try:
        return call()
    except expected as error:
        assert str(error)
        return None


@quick
@given(stored, st.sampled_from([b"", b"\n", b"\nnull"]))
def test_envelopes_and_heads(text: bytes, more: bytes) -> None:
    opened = only(JobError, lambda: codec.open_envelope("a", text + more))
    assert opened is None or opened.head.created_ms is not None
    inspect.read_head(text)
    only(JobError, lambda: SEAL.open_envelope("a", text + more))


@quick
@given(stored)
def test_data_for_a_processor_and_for_a_reader(text: bytes) -> None:
    for annotation in (Any, dict[str, int], list[str] | None):
        only(JobError, partial(DECODERS[str(annotation)], text))
    only(JobError, lambda: refuse_bombs("f", text))
    read = inspect.get_data(KEYS, "a").read
    only(JobError, lambda: read([b'["sms","",1]\n' + text]))


DECODERS: Final = {str(one): decoder_of("f", one) for one in (Any, dict[str, int], list[str] | None)}


def bombless(decoder: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """As a worker decodes: what is a bomb is refused before."""

    def decode_data(raw: bytes) -> Any:
        refuse_bombs("f", raw)
        return decoder(raw)

    return decode_data


DECODERS.update({name: bombless(one) for name, one in DECODERS.items()})


@quick
@given(stored, st.sampled_from(["completed", "failed", "cancelled", "gone", "closed"]), st.sampled_from([None, SEAL]))
def test_results_errors_and_reasons(text: bytes, kind: Any, seal: QueueSeal | None) -> None:
    only(JobError, lambda: value_of("a", Ending(kind, text, 1), seal))
    only(JobError, lambda: inspect.read_error(text))
    only(JobError, lambda: inspect.read_progress(text))


@quick
@given(stored)
def test_checkpoints(text: bytes) -> None:
    only((msgspec.DecodeError, UnicodeDecodeError), lambda: decode(text))


@quick
@given(st.sampled_from(["waiting", "delayed", "active", "completed", "failed", "cancelled"]), st.data())
def test_statuses(state: str, data: st.DataObject) -> None:
    """One job that is stored anyhow hides no other."""

    def column(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return [data.draw(strategy), None]

    number = st.none() | st.sampled_from([b"1", b"1.79e+12", b"1e999", b"x", b"-5"])
    outcome = [data.draw(maybe) for _ in range(3)] + [data.draw(number | stored) for _ in range(3)]
    outcome += [data.draw(maybe), data.draw(maybe)]
    columns = {
        "state": state.encode(),
        "now": 1,
        "ids": [data.draw(st.binary(max_size=20)), b"b"],
        "heads": [data.draw(stored), HEADS[0]],
        "spots": [data.draw(st.none() | st.integers(0, 9)) if state == "waiting" else data.draw(number), None],
        "claimed": column(number),
        "workers": column(maybe),
        "tried": column(maybe),
        "noted": column(maybe),
        "told": column(maybe),
        "outcomes": [outcome, None],
    }
    raw = [columns[field] for field in inspect.PAGE.header.reply]
    for keys in (KEYS, Keys("q", "redqueue", Signed({"k": bytes(32)}))):
        first, second = inspect.jobs(keys, "waiting").read(raw)
        assert first.job_id is not None
        assert second.job_type == "sms"
        json.dumps(first.to_wire(), default=str)


@quick
@given(st.lists(st.tuples(st.sampled_from([*events.KINDS, ":a", "worker", "?", ":"]) | st.text(max_size=5), stored)))
def test_entries_of_the_stream(pairs: list[tuple[str, bytes]]) -> None:
    fields = list(itertools.chain.from_iterable((name.encode("utf-8", "replace"), value) for name, value in pairs))
    for kind in (b"completed", b"failed", b"retrying", b"progress", b"delayed", b"cancelled", b"active"):
        entry = Entry(EntryId(2**63, 1), [kind, b"a b", *fields])
        for seal in (None, SEAL):
            for event in read_entry("q", entry, seal):
                assert event.kind
        for _, ending in endings_in(entry.fields):
            assert isinstance(ending.attempts, int)


@quick
@given(stored)
def test_details_of_events(text: bytes) -> None:
    for kind in events._FACTS:
        for seal in (None, SEAL):
            read_entry("q", Entry(EntryId(1, 1), [kind, b"a", b":a", text]), seal)
    attempt, _ = split_failure(text)
    assert attempt >= 0


@quick
@given(stored, maybe, maybe, maybe)
def test_claims(id: bytes, tried: bytes | None, noted: bytes | None, saved: bytes | None) -> None:
    fields: dict[str, Any] = dict.fromkeys(lease.PUMP.header.reply, 0)
    fields |= {"state": b"ok", "words": b"", "told": b"", "ids": [id], "envelopes": [b"x"]}
    fields |= {"tried": [tried], "noted": [noted], "saved": [saved]}
    call = lease.pump(KEYS, "s", "w", "0", 1, lease.Settles([], [], []), 1, (), lease.ListRule())
    (claimed,) = call.read([fields[name] for name in lease.PUMP.header.reply]).claimed
    assert claimed.failed >= 0
    assert claimed.crashes >= 0
    assert claimed.saved == saved


@quick
@given(stored, stored)
def test_looks_at_endings(result: bytes, attempt: bytes) -> None:
    for state in ("completed", "failed", "cancelled", "missing", "waiting"):
        ending = results._read_ending(state, [result, result, result, attempt])
        only(RedQueueError, partial(value_of, "a", ending))


@quick
@given(
    st.binary(max_size=200)
    | st.builds(bytes.__add__, st.sampled_from([b"\x92\xa5Begin", b"\x94\xa4Note\x01"]), anything)
)
def test_frames_between_a_worker_and_its_children(text: bytes) -> None:
    only((msgspec.DecodeError, UnicodeDecodeError), lambda: for_child(text))
    unread = Unread()
    unread.add(len(text).to_bytes(4, "big") + text)
    only((msgspec.DecodeError, UnicodeDecodeError), unread.take)
    raw = Unread()
    raw.add(text)
    only((msgspec.DecodeError, UnicodeDecodeError), raw.take)


SCHEMES: Final = [
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "redis+cluster://",
    "embedded://",
    "x://",
    "",
]
PARTS: Final = ["h", ":1", "@", "/0", "?", "db=1", "&", "%ff", "[", "]", "::1", ",", "#", "\x00", "\n", "é"]


@quick
@given(st.sampled_from(SCHEMES), st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=8).map("".join))
def test_urls(scheme: str, rest: str) -> None:
    only(ConfigurationError, lambda: parse(scheme + rest))
    only(ConfigurationError, lambda: Settings(url=scheme + rest))
    only(ConfigurationError, lambda: Settings.from_env({"REDIS_HOST": rest, "REDIS_PORT": rest, "REDIS_DB": rest}))


@quick
@given(stored.map(lambda text: text.decode("utf-8", "replace")))
def test_key_rings_of_the_environment(text: str) -> None:
    only(ConfigurationError, lambda: seal_from_env({"REDQUEUE_SEAL": text}))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:12]))
def test_texts_that_did_harm_elsewhere(text: bytes) -> None:
    """X10, X11: 100,000 levels, numbers of 5,000 digits."""
    for read in (inspect._read_result, inspect.read_error, inspect.read_progress, inspect.read_head):
        only(JobError, partial(read, text))
    only(JobError, lambda: value_of("a", Ending("completed", text)))
    only(JobError, lambda: codec.open_envelope("a", text + b"\nnull"))
