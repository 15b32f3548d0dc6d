"""What builtin_tasks registers, and what it imports for that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from redqueue import ServiceRegistry
from redqueue.context import JobContext
from redqueue.errors import InvalidOption, RegistrationError
from redqueue.processors.data_export import AskedBy, ExportSource, Filters
from redqueue.tasks import builtin_tasks
from redqueue.tasks.cleanup import CleanupTable
from redqueue.tasks.notifier import Notifier
from redqueue.tasks.reports import ReportPlan

from .conftest import Tasks

PURE = ["calculateSum", "calculate_sum", "delay", "processData", "process_data"]


class Empty(ExportSource):
    columns = ("id", "created_at")

    def rows(self, columns: Sequence[str], filters: Filters, asker: AskedBy) -> Iterator[Sequence[object]]:
        return iter(())


async def echo(data: Any, context: JobContext) -> Any:
    return data, context.given["source"]


def backwards(data: Any, options: Mapping[str, Any]) -> Any:
    return data[::-1]


def names(**parts: Any) -> list[str]:
    registry = ServiceRegistry()
    registry.use(builtin_tasks(**parts))
    registry.check()
    return registry.tasks()


def test_the_pure_three_are_always_there_and_the_others_when_their_part_is() -> None:
    table = CleanupTable("sqlite://", "logs", "id", "at")
    assert names() == PURE
    assert names(tables={"logs": table}) == sorted([*PURE, "cleanup_old_data", "cleanupOldData"])
    everything = names(
        tables={"logs": table},
        sources={"leads": Empty()},
        notifier=Notifier(in_app=print),
        routines={"echo": echo},
        reports={"churn": ReportPlan(every="month")},
    )
    four = ["send_notification", "cleanup_old_data", "generate_report", "custom_async_task"]
    camel = ["sendNotification", "cleanupOldData", "generateReport", "customAsyncTask"]
    assert everything == sorted([*PURE, *four, *camel])


def test_no_extra_is_imported_before_its_part_is_asked_for() -> None:
    code = """
import sys
from redqueue import ServiceRegistry
from redqueue.tasks import builtin_tasks
from redqueue.tasks.notifier import Notifier
async def echo(data): ...
registry = ServiceRegistry()
registry.use(builtin_tasks(notifier=Notifier(in_app=print), routines={"echo": echo}))
registry.check()
extras = {"sqlalchemy", "apprise", "aiosmtplib", "jinja2", "httpx", "phonenumbers", "reportlab", "xlsxwriter", "fsspec"}
assert not extras & set(sys.modules), extras & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", ["custom_async_task", "customAsyncTask"])
def test_a_routine_runs_under_both_names(tasks: Tasks, name: str) -> None:
    parts = {"routines": {"echo": echo}}
    assert tasks.result(parts, name, "echo", [1], context={"source": "js"}) == [[1], "js"]
    assert "there are: echo" in tasks.error(parts, name, "os.system", "ls")


def test_operations_of_an_application_run(tasks: Tasks) -> None:
    parts = {"operations": {"backwards": backwards}}
    assert tasks.result(parts, "processData", [1, 2], "backwards") == [2, 1]
    assert tasks.result(parts, "processData", [2, 1], "sort") == [1, 2]


def test_a_part_that_is_not_given_is_an_unknown_task(tasks: Tasks) -> None:
    assert "cleanup_old_data" in tasks.error({}, "cleanup_old_data", "logs", 30)


def test_settings_that_can_not_work_are_refused_at_once() -> None:
    with pytest.raises(InvalidOption, match="reports need sources"):
        builtin_tasks(reports={"churn": ReportPlan()})
    with pytest.raises(InvalidOption, match=r"reports\['churn'\]: the source has no column 'status'"):
        builtin_tasks(sources={"leads": Empty()}, reports={"churn": ReportPlan(group_by=("status",))})
    with pytest.raises(InvalidOption, match=r"reports\['churn'\]: there is no source 'x'; there are: leads"):
        builtin_tasks(sources={"leads": Empty()}, reports={"churn": ReportPlan(source="x")})
    with pytest.raises(RegistrationError, match="not async"):
        builtin_tasks(routines={"print": print})  # type: ignore[dict-item]
