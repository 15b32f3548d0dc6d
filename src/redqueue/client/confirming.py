"""Calls that are to be confirmed: the call, and the question whether a replica or the disk has it, on one connection.

The question is about what its own connection wrote. A call that is sent again may find that it was carried out and
write nothing, and the question would be answered with yes at once, for nothing. So a write that does no harm goes
between the two: it gives the record of the call its time to live again. What is written comes after the call's own
writes, and replicas and disks get both in this order. Sent as one, the three reach one server, also when redis-py
sends them again, or a failover comes between two tries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeAlias

from redis import RedisCluster
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import AskError, ConnectionError, NoPermissionError, ReadOnlyError, ResponseError, TimeoutError

from redqueue.client.faults import CAUGHT, Action, classify
from redqueue.core.durability import CONFIRM_MS, NEEDS, PROBES, QUESTIONS, Confirmation, is_given
from redqueue.core.script import Call
from redqueue.errors import RedisRefused

Words: TypeAlias = Sequence[Any]

_RECORD_MS: Final = 600_000
_LAYOUT: Final = (AskError, ConnectionError, TimeoutError)  # a MovedError is an AskError
_REFUSALS: Final = ("unknown command", "appendonly is disabled", "NOPERM", "can't run this command")


def send(client: Any, call: Call[Any], probed: set[tuple[str, str]]) -> Confirmation:
    """The answer to the call and what Redis confirmed; raises what redis-py raises.

    Args:
        probed: which server answered which question before; what is learned is added.
    Raises:
        RedisRefused: the question may not be asked there; nothing was sent.
    """
    probe = (_place(client, call), call.durability)
    if probe not in probed:
        _check(call, _together(client, call, [PROBES[call.durability]])[0])
        probed.add(probe)
    began = monotonic()
    replies = _together(client, call, _words(client, call, CONFIRM_MS))
    if _lacks_script(replies[0]):
        replies = _together(client, call, _words(client, call, _left(began), whole=True))
    return _read(replies)


async def send_async(client: Any, call: Call[Any], probed: set[tuple[str, str]]) -> Confirmation:
    """The same for tasks."""
    if isinstance(client, AsyncRedisCluster):
        await client.initialize()
    probe = (_place(client, call), call.durability)
    if probe not in probed:
        _check(call, (await _together_async(client, call, [PROBES[call.durability]]))[0])
        probed.add(probe)
    began = monotonic()
    replies = await _together_async(client, call, _words(client, call, CONFIRM_MS))
    if _lacks_script(replies[0]):
        replies = await _together_async(client, call, _words(client, call, _left(began), whole=True))
    return _read(replies)


def _left(began: float) -> float:
    """Redis waited for what its connection wrote before: what that didn't confirm in time, nothing later will."""
    return CONFIRM_MS - (monotonic() - began) * 1000


def _words(client: Any, call: Call[Any], within_ms: float, *, whole: bool = False) -> list[Words]:
    script, keys = call.script, call.keys
    head = ("EVAL", script.text) if whole else ("EVALSHA", script.sha)
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    # Redis looks for who has waited long enough ten times a second.
    longest = 1000 * ((options.get("socket_timeout") or math.inf) * 0.75 - 0.1)
    return [
        (*head, len(keys), *keys, *call.args),
        ("PEXPIRE", keys[0], _RECORD_MS),
        (*QUESTIONS[call.durability], int(max(1, min(within_ms, longest)))),  # 0 would be for ever
    ]


def _place(client: Any, call: Call[Any]) -> str:
    if isinstance(client, RedisCluster | AsyncRedisCluster):
        return str(client.get_node_from_key(call.keys[0]).name)  # type: ignore[union-attr]
    return ""


def _together(client: Any, call: Call[Any], commands: Sequence[Words]) -> list[Any]:
    """The replies, errors of the server among them; all on one connection."""
    if not isinstance(client, RedisCluster):
        return _piped(client, commands)
    try:
        node: Any = client.get_node_from_key(call.keys[0])  # type: ignore[no-untyped-call]
        replies = _piped(client.get_redis_connection(node), commands)
        _raise_moved(replies)
    except _LAYOUT:
        with suppress(*CAUGHT):  # its own calls make redis-py learn where the queue is now
            client.execute_command("EXISTS", call.keys[0])  # type: ignore[no-untyped-call]
        raise
    return replies


def _piped(client: Any, commands: Sequence[Words]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for words in commands:
            pipe.execute_command(*words)
        replies: list[Any] = pipe.execute(raise_on_error=False)
    return replies


async def _together_async(client: Any, call: Call[Any], commands: Sequence[Words]) -> list[Any]:
    if not isinstance(client, AsyncRedisCluster):
        async with client.pipeline(transaction=False) as pipe:
            for words in commands:
                pipe.execute_command(*words)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies
    try:
        sent = [PipelineCommand(n, *words) for n, words in enumerate(commands)]
        await client.get_node_from_key(call.keys[0]).execute_pipeline(sent)  # type: ignore[union-attr]
        replies = [one.result for one in sent]
        _raise_moved(replies)
    except _LAYOUT:
        with suppress(*CAUGHT):
            await client.execute_command("EXISTS", call.keys[0])
        raise
    return replies


def _raise_moved(replies: list[Any]) -> None:
    """Raise what says that the queue isn't there, or that the connection was lost."""
    for reply in replies:
        if isinstance(reply, AskError) or (isinstance(reply, Exception) and not isinstance(reply, ResponseError)):
            raise reply


def _check(call: Call[Any], reply: Any) -> None:
    """Refuse what the server can't tell, before anything is stored."""
    if not isinstance(reply, Exception):
        return
    text = str(reply)
    if "replica" in text:  # WAIT is for primaries: as after a failover
        raise ReadOnlyError(text)
    if isinstance(reply, NoPermissionError) or any(part in text for part in _REFUSALS):
        raise RedisRefused(f"{NEEDS[call.durability]}, and the server says: {text[:200]}. Nothing was stored")
    raise reply


def _lacks_script(answer: Any) -> bool:
    return isinstance(answer, Exception) and classify(answer).action is Action.RELOAD


def _read(replies: list[Any]) -> Confirmation:
    answer, touched, said = replies
    if isinstance(answer, Exception):
        raise answer
    if touched != 1:  # so the question was about nothing
        return Confirmation(answer, False, f"a write that it is about failed: {touched}"[:200])
    if not isinstance(said, Exception):
        return Confirmation(answer, is_given(said))
    if classify(said).action is Action.GIVE_UP:
        return Confirmation(answer, False, str(said)[:200])
    raise ConnectionError(f"Connection lost while it was to be confirmed: {said}")
