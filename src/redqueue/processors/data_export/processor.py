"""Rows of a source as a file in the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import msgspec

from redqueue.context import JobContext
from redqueue.errors import Discard, InvalidOption
from redqueue.processors.base import BaseProcessor
from redqueue.processors.data_export.formats import WRITERS, ByteSink, Format, RowWriter
from redqueue.processors.data_export.key import export_key
from redqueue.processors.data_export.notices import Wording, check_notices, notices_of, ready_message, tell
from redqueue.processors.data_export.source import Asker, ExportSource, chosen_columns
from redqueue.processors.notifying import Notifies
from redqueue.processors.storage import InvalidKey, Storage, check_key
from redqueue.registry.names import quoted
from redqueue.shapes import DataExportJobData, ExportResult

BATCH: Final = 1_000
"""Rows after which progress is told."""


class Exported(msgspec.Struct, frozen=True):
    """The checkpoint: the file is there, and so many notices are settled, of which these could not be sent."""

    key: str
    rows: int
    size: int
    sha256: str
    settled: int = 0
    unsent: tuple[str, ...] = ()


class DataExportProcessor(BaseProcessor[DataExportJobData, ExportResult]):
    """Writes what a job asks for of a source to a file, and tells who wants to know.

    The file is seen whole or not at all. Its key is the same in every run of the job: a run that follows a crash
    replaces what was there. Once the file is written that is checkpointed, so a notice that fails repeats no export.

    It runs in a thread, or with ``execution="process"`` in a child process when its parts can be sent to one.

    Args:
        sources: by the name that jobs give as `export_type`.
        storage: where files go, and what makes the links.
        notifier: what tells people; None: jobs that ask for a notice fail.
        key: of the file, from the data and the job's id, of which two queues may have the same; None: by `export_key`.
        writers: what makes the writer of a format, in place of the usual one, as in
            ``{"pdf": partial(PdfWriter, font="/usr/share/fonts/DejaVuSans.ttf")}``.
        message: what a notice says.
        most_rows: of any export; one with more fails. None: no limit but the formats'.
    Raises:
        InvalidOption: no source, or a writer for a format that there isn't.
    """

    def __init__(
        self,
        sources: Mapping[str, ExportSource],
        storage: Storage,
        *,
        notifier: Notifies | None = None,
        key: Callable[[DataExportJobData, str], str] | None = None,
        writers: Mapping[Format, Callable[[], RowWriter]] = MappingProxyType({}),
        message: Wording = ready_message,
        most_rows: int | None = None,
    ) -> None:
        if not sources:
            raise InvalidOption("sources", "sources is empty: name at least one, as in {'leads': TableSource(...)}")
        if unknown := sorted(set(writers) - set(WRITERS)):
            raise InvalidOption("writers", f"there is no format {unknown[0]!r}; there are {', '.join(WRITERS)}")
        if most_rows is not None and most_rows < 1:
            raise InvalidOption("most_rows", f"most_rows is at least 1, or None, not {most_rows}")
        self._sources = dict(sources)
        self._storage = storage
        self._notifier = notifier
        self._key = key
        self._writers = {**WRITERS, **writers}
        self._message = message
        self._most_rows = most_rows

    def validate(self, data: DataExportJobData, /) -> None:
        """Refuse sources, columns, filters and notices that there aren't."""
        source = self._source(data)
        chosen_columns(source.columns, data.columns)
        source.check_filters(data.filters or {})
        check_notices(data, self._notifier)

    def process(self, data: DataExportJobData, context: JobContext, /) -> ExportResult:
        """Export, unless an earlier run did; then tell."""
        exported = self._restored(context) or self._export(data, context)
        return self._tell(data, exported, context)

    # -- the file

    def _export(self, data: DataExportJobData, context: JobContext) -> Exported:
        source, filters = self._source(data), data.filters or {}
        asker = Asker(data.sub_account_id, data.user_id)
        columns = chosen_columns(source.columns, data.columns)
        total = source.count(filters, asker)
        with self._storage.writing(self._place(data, context)) as file:
            with (
                _closed(source.rows(columns, filters, asker)) as rows,
                _open(self._writers[data.format], file, columns, data.export_type) as writer,
            ):
                count = self._write(rows, writer, len(columns), total, context)
            context.raise_if_cancelled()
        exported = Exported(file.key, count, file.size, file.sha256)
        context.checkpoint(exported).wait()
        return exported

    def _write(
        self, rows: Iterator[Sequence[object]], writer: RowWriter, width: int, total: int | None, context: JobContext
    ) -> int:
        count = 0
        for count, values in enumerate(rows, 1):
            context.raise_if_cancelled()
            if self._most_rows is not None and count > self._most_rows:
                raise Discard(f"the export has more than {self._most_rows:,} rows: filter them")
            if len(values) != width:
                raise ValueError(f"the source gave {len(values)} values for {width} columns")
            writer.row(values)
            if count % BATCH == 0:
                _tell_progress(context, count, total)
        _tell_progress(context, count, total)
        return count

    def _restored(self, context: JobContext) -> Exported | None:
        """What an earlier run wrote, if it is still there."""
        if context.restored is None:
            return None
        try:
            exported = msgspec.convert(context.restored, Exported)
        except msgspec.ValidationError:  # of another release: exporting again is always right
            return None
        return exported if self._storage.exists(exported.key) else None

    def _place(self, data: DataExportJobData, context: JobContext) -> str:
        try:
            if self._key is None:
                return check_key(export_key(data, context.job_id, context.queue))
            return check_key(self._key(data, context.job_id))
        except InvalidKey as error:
            raise Discard(str(error)) from None

    def _source(self, data: DataExportJobData) -> ExportSource:
        if data.export_type in self._sources:
            return self._sources[data.export_type]
        there = ", ".join(sorted(self._sources))
        raise Discard(f"there is no export type {quoted(data.export_type)}; this worker has {there}")

    # -- the notices

    def _tell(self, data: DataExportJobData, exported: Exported, context: JobContext) -> ExportResult:
        notices = notices_of(data, self._notifier)
        for number, notice in enumerate(notices):
            if number < exported.settled:
                continue
            assert self._notifier is not None
            context.raise_if_cancelled()
            result = self._result(data, exported)
            facts = _facts(data, result, context)
            sent = tell(self._notifier, notice, number, self._message(data, result), facts, context)
            unsent = exported.unsent if sent else (*exported.unsent, notice.kind)
            exported = msgspec.structs.replace(exported, settled=number + 1, unsent=unsent)
            context.checkpoint(exported).wait()
        return self._result(data, exported)

    def _result(self, data: DataExportJobData, exported: Exported) -> ExportResult:
        """With a link of now: one that an earlier run made may work no more."""
        return ExportResult(
            key=exported.key,
            format=data.format,
            rows=exported.rows,
            size=exported.size,
            sha256=exported.sha256,
            link=self._storage.link_for(exported.key),
            unsent=list(exported.unsent),
        )


@contextmanager
def _closed(rows: Iterable[Sequence[object]]) -> Iterator[Iterator[Sequence[object]]]:
    """An iterator of them; a generator is closed when it is left, and with it what it holds open."""
    iterator = iter(rows)
    try:
        yield iterator
    finally:
        if close := getattr(iterator, "close", None):
            close()


@contextmanager
def _open(make: Callable[[], RowWriter], file: ByteSink, columns: Sequence[str], title: str) -> Iterator[RowWriter]:
    writer = make()
    writer.open(file, columns, title=title)
    try:
        yield writer
        writer.close()
    except BaseException:
        writer.abandon()
        raise


def _tell_progress(context: JobContext, count: int, total: int | None) -> None:
    of = "" if total is None else f" of {total:,}"
    context.progress(min(count / total, 1.0) if total else None, f"{count:,}{of} rows")


def _facts(data: DataExportJobData, result: ExportResult, context: JobContext) -> dict[str, Any]:
    """For a notice's template."""
    return {
        "event": "export-ready",
        "job_id": context.job_id,
        "export_type": data.export_type,
        "sub_account_id": data.sub_account_id,
        "user_id": data.user_id,
        **{name: getattr(result, name) for name in ("key", "format", "rows", "size", "link")},
    }
