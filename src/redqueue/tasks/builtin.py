"""The built-in functions as an extension of a registry. A part asks for its extra when it is wanted, and not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from redqueue.errors import ConfigurationError, InvalidOption
from redqueue.processors.notifying import Notifies
from redqueue.registry import ServiceRegistry
from redqueue.tasks.operations import Operation
from redqueue.tasks.pure import register_pure
from redqueue.tasks.routines import CustomAsyncTask, Routine

if TYPE_CHECKING:
    from redqueue.processors.data_export import ExportSource
    from redqueue.processors.storage import Storage
    from redqueue.tasks.cleanup import CleanupTable
    from redqueue.tasks.reports import ReportPlan

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def builtin_tasks(
    *,
    tables: Mapping[str, CleanupTable] = _NOTHING,
    sources: Mapping[str, ExportSource] = _NOTHING,
    notifier: Notifies | None = None,
    routines: Mapping[str, Routine] = _NOTHING,
    operations: Mapping[str, Operation] = _NOTHING,
    reports: Mapping[str, ReportPlan] = _NOTHING,
    storage: Storage | None = None,
) -> BuiltinTasks:
    """The built-in functions, for ``registry.use(builtin_tasks(...))``, each also under its camelCase name.

    `delay`, `calculate_sum` and `process_data` are always among them; each of the others when what it works on is
    given, and a job that names one of the rest fails as for any unknown name.

    Args:
        tables: what `cleanup_old_data` may delete from, by the names that jobs give.
        sources: what `generate_report` reads.
        notifier: what `send_notification` tells by: a `Notifier`, or one of your own.
        routines: what `custom_async_task` runs, by id.
        operations: more of them for `process_data`.
        reports: more types for `generate_report`; and `storage` is where its files go.
    Raises:
        InvalidOption: reports without sources, or a report of a source or column that there isn't.
        RegistrationError: a routine that isn't async.
        MissingExtra: "export" for tables and sources.
    """
    if reports and not sources:
        raise InvalidOption("reports", "reports need sources to read: builtin_tasks(sources={...}, reports=...)")
    effects: dict[str, Callable[..., object]] = {}
    if notifier is not None:
        effects |= _notification(notifier)
    if tables:
        effects |= _cleanup(tables)
    if sources:
        effects |= _reports(sources, reports, storage)
    if routines:
        task = CustomAsyncTask(routines)
        effects |= {"custom_async_task": task, "customAsyncTask": task}
    return BuiltinTasks(effects, operations)


class BuiltinTasks:
    """What `builtin_tasks` makes."""

    def __init__(self, effects: Mapping[str, Callable[..., object]], operations: Mapping[str, Operation]) -> None:
        self._effects = effects
        self._operations = operations

    def register(self, registry: ServiceRegistry, /) -> None:
        """Register all of them. Settings that can't work fail a job at once."""
        register_pure(registry, self._operations)
        for name, function in self._effects.items():
            registry.register_task(name, function, give_up_on=(ConfigurationError,))


def _notification(notifier: Notifies) -> Mapping[str, Callable[..., object]]:
    from redqueue.tasks.notification import SendNotification

    task = SendNotification(notifier)
    return {"send_notification": task, "sendNotification": task}


def _cleanup(tables: Mapping[str, CleanupTable]) -> Mapping[str, Callable[..., object]]:
    from redqueue.tasks.cleanup import CleanupOldData

    task = CleanupOldData(tables)
    return {"cleanup_old_data": task, "cleanupOldData": task}


def _reports(
    sources: Mapping[str, ExportSource], reports: Mapping[str, ReportPlan], storage: Storage | None
) -> Mapping[str, Callable[..., object]]:
    from redqueue.tasks.report import GenerateReport

    task = GenerateReport(sources, reports, storage)
    return {"generate_report": task, "generateReport": task}
