"""generate_report: what the application's rows come to, as data or as a file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from redqueue.context import INJECTED, JobContext
from redqueue.defaults import GENERIC_TASK, MAX_PAYLOAD
from redqueue.errors import Discard, InvalidOption
from redqueue.processors.data_export import ExportSource
from redqueue.processors.data_export.formats import EXTENSIONS, Format
from redqueue.processors.data_export.key import part
from redqueue.processors.storage import Storage
from redqueue.registry.names import check_name, quoted
from redqueue.shapes import Result, WrittenFile
from redqueue.tasks.channels import text_in
from redqueue.tasks.operations import fields_in
from redqueue.tasks.report_files import written
from redqueue.tasks.reports import Figures, Group, Number, Period, ReportPlan, Tally, check_plan

BUILT_IN: Final[Mapping[str, ReportPlan]] = MappingProxyType(
    {"monthly": ReportPlan(every="month"), "daily": ReportPlan(every="day"), "summary": ReportPlan()}
)
"""What jobs may fill in: source, date_column, group_by and sums."""

MOST_RESULT: Final = MAX_PAYLOAD - 4096
"""Bytes of a result's JSON."""

_NOBODY: Final = "~all"
"""In the place of a sub-account; none has this as its part of a key."""

_LOOKS: Final = 100
"""Rows after which it looks whether to stop."""
_TELLS: Final = 1_000


class ReportResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """What the rows come to.

    Attributes:
        rows, sums: of all of them.
        undated: rows without a date, which are in no period.
        series: by period, in order, without gaps. Where there is a file and they are too many: none.
        groups: the largest first. Likewise.
        file: where the report is, when the job asked for a format.
    """

    type: str
    source: str
    rows: int
    sums: dict[str, Number]
    undated: int
    series: list[Period]
    groups: list[Group]
    file: WrittenFile | None = None


class GenerateReport:
    """``generate_report(type, filters)``, over the sources that it was made with.

    Args:
        sources: by name, as for data exports.
        reports: more types by name, or the built-in ones with columns that jobs don't choose any more.
        storage: where files go; None: jobs that ask for one fail.
    Raises:
        InvalidOption: a plan names a source that there isn't, or a column that its source hasn't.
    """

    def __init__(
        self,
        sources: Mapping[str, ExportSource],
        reports: Mapping[str, ReportPlan] = MappingProxyType({}),
        storage: Storage | None = None,
    ) -> None:
        self._sources = dict(sources)
        self._reports = {**BUILT_IN, **reports}
        self._fixed = frozenset(reports)
        self._storage = storage
        for name, plan in reports.items():
            self._check(check_name("report", name), plan)

    def __call__(
        self,
        type: Annotated[str, Meta(max_length=128)],
        filters: dict[str, Any] | None = None,
        context: JobContext = INJECTED,
    ) -> ReportResult:
        """Count and add up the rows that pass the filters, of which only the groups and periods are held.

        Args:
            type: "monthly", "daily", "summary", or one that was registered.
            filters: as the source takes them.
            context: the job's mapping may have `format` (csv, excel, pdf or json) and `title`; for the built-in types
                also `source`, `date_column`, `group_by` and `sums`.
        Raises:
            Discard: no such type, source, column, filter or format; or too many groups, periods or bytes.
        """
        plan = self._plan(type, context.given)
        name, source = self._source(plan)
        date_column = check_plan(plan, source.columns)
        source.check_filters(filters or {})
        format = self._format(context.given)
        title = text_in(context.given, "title", 200) or f"{type.capitalize()} report of {name}"
        tally = Tally(plan, date_column)
        _read(source, tally, filters or {}, context)
        figures = tally.figures()
        result = _result(type, name, figures)
        if format is None:
            if len(msgspec.json.encode(result)) > MOST_RESULT:
                raise Discard("the report is longer than 1 MiB: filter its rows, group by less, or take a format")
            return result
        file = self._write(type, format, title, figures, context)
        if len(msgspec.json.encode(result)) > MOST_RESULT // 2:
            result = msgspec.structs.replace(result, series=[], groups=[])
        return msgspec.structs.replace(result, file=file)

    def _plan(self, type: str, given: Mapping[str, Any]) -> ReportPlan:
        plan = self._reports.get(type)
        if plan is None:
            raise Discard(f"there is no report {quoted(type)}; there are: {', '.join(sorted(self._reports))}")
        if type in self._fixed:
            return plan
        try:
            group_by, sums = fields_in(given, "group_by"), fields_in(given, "sums")
        except ValueError as error:
            raise Discard(f"{error}, in the job's context") from None
        return msgspec.structs.replace(
            plan,
            source=text_in(given, "source", 128),
            date_column=text_in(given, "date_column", 128),
            group_by=tuple(group_by),
            sums=tuple(sums),
        )

    def _source(self, plan: ReportPlan) -> tuple[str, ExportSource]:
        if plan.source is None and len(self._sources) == 1:
            return next(iter(self._sources.items()))
        there = ", ".join(sorted(self._sources))
        if plan.source is None:
            raise Discard(f"the report needs its source, as in context={{'source': ...}}; there are: {there}")
        if plan.source not in self._sources:
            raise Discard(f"there is no source {quoted(plan.source)}; there are: {there}")
        return plan.source, self._sources[plan.source]

    def _check(self, name: str, plan: ReportPlan) -> None:
        try:
            check_plan(plan, self._source(plan)[1].columns)
        except Discard as error:
            raise InvalidOption("reports", f"reports[{name!r}]: {error.reason}") from None

    def _format(self, given: Mapping[str, Any]) -> Format | None:
        format = text_in(given, "format", 32)
        if format is None:
            return None
        if self._storage is None:
            raise Discard("this worker has no storage for reports: builtin_tasks(..., storage=Storage(...))")
        for known in EXTENSIONS:
            if known == format:
                return known
        raise Discard(f"there is no format {quoted(format)}; there are: {', '.join(EXTENSIONS)}")

    def _write(self, type: str, format: Format, title: str, figures: Figures, context: JobContext) -> WrittenFile:
        """The same key in every run of the job."""
        assert self._storage is not None
        account = _NOBODY if context.sub_account_id is None else part(context.sub_account_id)
        folder = f"reports/{account}/{part(type)}"
        if context.queue != GENERIC_TASK:  # job ids are a queue's own
            folder += "/" + part(context.queue).replace(".", "~2E")  # no folder may have a file's name
        with self._storage.writing(f"{folder}/{part(context.job_id)}.{EXTENSIONS[format]}") as file:
            file.write(written(format, figures, title))
            context.raise_if_cancelled()
        return WrittenFile(file.key, file.size, file.sha256, self._storage.link_for(file.key))


def _read(source: ExportSource, tally: Tally, filters: Mapping[str, Any], context: JobContext) -> None:
    columns = tally.columns or list(source.columns[:1])
    total = source.count(filters, context)
    count = 0
    with ExitStack() as stack:
        rows = iter(source.rows(columns, filters, context))
        if close := getattr(rows, "close", None):  # of a generator, and with it what it holds open
            stack.callback(close)
        for count, values in enumerate(rows, 1):
            if count % _LOOKS == 0:
                context.raise_if_cancelled()
            tally.add(dict(zip(columns, values, strict=True)))
            if count % _TELLS == 0:
                context.progress(min(count / total, 1.0) if total else None, f"{count:,} rows")
    context.raise_if_cancelled()
    context.progress(1, f"{count:,} rows")


def _result(type: str, source: str, figures: Figures) -> ReportResult:
    return ReportResult(
        type=type,
        source=source,
        rows=figures.total.rows,
        sums=figures.total.sums,
        undated=figures.undated,
        series=figures.series,
        groups=figures.groups,
    )
