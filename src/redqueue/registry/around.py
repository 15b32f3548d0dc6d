"""What an application puts around its jobs: middlewares of the run and of the add, and hooks that are told facts."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from redqueue.context import JobContext
from redqueue.errors import InvalidOption, RegistrationError
from redqueue.records import JobToAdd
from redqueue.registry.arguments import described
from redqueue.registry.binding import is_async
from redqueue.units import shown

GoOn: TypeAlias = Callable[[], Awaitable[object]]
AroundRun: TypeAlias = Callable[[JobContext, GoOn], Awaitable[object]]
BeforeAdd: TypeAlias = Callable[[JobToAdd], JobToAdd]
Where: TypeAlias = Literal["run", "add"]
HookKind: TypeAlias = Literal["start", "stop", "attempt_end", "error", "lease_lost"]
Hook: TypeAlias = Callable[[Any], object]

_LAST_WAIT: Final = 1.0
"""Seconds for hooks that were cancelled to end."""
_log: Final = logging.getLogger("redqueue.registry")


def check_middleware(where: Where, function: Callable[..., object]) -> None:
    """Raise RegistrationError for a function that can't be called as a middleware of that kind."""
    if where == "run":
        _check_takes(function, 2, "a middleware of the run is `async def around(job, go_on)`")
        if not is_async(function):
            raise RegistrationError(f"{described(function)} is plain: a middleware of the run is async def")
        return
    _check_takes(function, 1, "a middleware of the add takes the job and returns it")
    if is_async(function):
        raise RegistrationError(f"{described(function)} is async: a middleware of the add is a plain function")


def check_where(where: object) -> None:
    """Raise InvalidOption for what is no kind of middleware."""
    _check_word("where", where, get_args(Where), "middleware")


def check_kind(kind: object) -> None:
    """Raise InvalidOption for what is no kind of hook."""
    _check_word("kind", kind, get_args(HookKind), "hook")


def check_hook(function: Callable[..., object]) -> None:
    """Raise RegistrationError for a function that doesn't take one fact."""
    _check_takes(function, 1, "a hook takes the fact")


def run_around(middlewares: Iterable[AroundRun], context: JobContext, innermost: GoOn) -> Awaitable[object]:
    """The run within its middlewares, of which the first is outermost."""
    go_on = innermost
    for around in reversed(tuple(middlewares)):
        go_on = partial(around, context, go_on)
    return go_on()


def pass_through(middlewares: Iterable[BeforeAdd], job: JobToAdd) -> JobToAdd:
    """What the middlewares make of a job, one after the other.

    Raises:
        RegistrationError: one returned something else, or a job for another queue.
        Exception: what one raised.
    """
    for change in middlewares:
        changed: object = change(job)
        if not isinstance(changed, JobToAdd) or not isinstance(changed.options, Mapping):
            raise RegistrationError(
                f"{described(change)} returned no JobToAdd: a middleware of the add returns the job, or another one "
                f"made with msgspec.structs.replace; nothing was sent"
            )
        if changed.queue != job.queue:
            raise RegistrationError(
                f"{described(change)} moved a job from the queue {job.queue!r} to {shown(changed.queue)}: "
                "a middleware can't, as the caller's handle is on that queue; nothing was sent"
            )
        job = changed
    return job


class Hooks:
    """The hooks of one worker, told on its event loop. Whatever they raise is logged and concerns nobody else."""

    def __init__(self, hooks: Mapping[HookKind, Iterable[Hook]]) -> None:
        self._hooks = {kind: tuple(some) for kind, some in hooks.items() if some}
        self._tasks: set[asyncio.Task[None]] = set()

    def wants(self, kind: HookKind) -> bool:
        """Whether anybody listens, so that the fact is worth making."""
        return kind in self._hooks

    def tell(self, kind: HookKind, fact: object) -> None:
        """Call the plain ones here and now; the async ones go on in tasks of their own."""
        for hook in self._hooks.get(kind, ()):
            try:
                result = hook(fact)
                if inspect.iscoroutine(result):
                    task = asyncio.get_running_loop().create_task(_listen(hook, result), name=described(hook))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                _log_raised(hook, error)

    async def finish(self, seconds: float) -> None:
        """Wait that long for the async ones, then cancel those that still run."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in late:
            _log.warning("hook %s was still running and is cancelled", task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_LAST_WAIT)


def options_view(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options that a middleware can read and not change: those of many jobs may be the same mapping."""
    return MappingProxyType(dict(options))


async def _listen(hook: Hook, result: Any) -> None:
    try:
        await result
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        _log_raised(hook, error)


def _log_raised(hook: Hook, error: BaseException) -> None:
    _log.error("hook %s raised %s", described(hook), type(error).__name__)


def _check_word(option: str, word: object, words: tuple[str, ...], what: str) -> None:
    if word not in words:
        raise InvalidOption(option, f"{what} kinds are {', '.join(words)}, not {shown(word)}")


def _check_takes(function: Callable[..., object], count: int, why: str) -> None:
    if isinstance(function, type) or not callable(function):
        raise RegistrationError(f"{function!r} is not a function: {why}")
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError) as error:
        raise RegistrationError(f"{described(function)} can't be called so: {why} ({error})") from error
