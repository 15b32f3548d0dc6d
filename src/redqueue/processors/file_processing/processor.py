"""The file-processing job."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from redqueue.context import JobContext
from redqueue.errors import ConfigurationError, Discard
from redqueue.processors.base import BaseProcessor
from redqueue.processors.file_processing.archives import pack, unpack
from redqueue.processors.file_processing.bench import Bench
from redqueue.processors.file_processing.confinement import in_child, memory_limit, work_folder
from redqueue.processors.file_processing.documents import extract_text
from redqueue.processors.file_processing.images import Picture, change_picture, read_picture, write_picture
from redqueue.processors.file_processing.limits import KIB, MIB, Limits
from redqueue.processors.file_processing.media import probe, take_frame, transcode
from redqueue.processors.file_processing.plan import ON_IMAGES, check_plan
from redqueue.processors.storage import FileMissing, FileTooLarge, InvalidKey, Storage, Stored, check_key
from redqueue.shapes import (
    Checksum,
    FileOperation,
    FileProcessingJobData,
    FileResult,
    Frame,
    Pack,
    Probe,
    Text,
    Transcode,
    Unpack,
    WrittenFile,
)

LISTED_BYTES: Final = 512 * KIB
"""Of the files that a result lists, as JSON."""


class FileProcessor(BaseProcessor[FileProcessingJobData, FileResult]):
    """Works on files of a storage, each job in a child process that its file can't take along.

    ``registry.register_processor("file-processing", FileProcessor(storage), execution="process", timeout=120)``

    Args:
        storage: where the files are; one that a child process sees too, so not ``memory://``.
        limits: what a file may ask for.
        confined: False lets jobs run in the worker itself, for unit tests; then their memory has no limit.
    Raises:
        ConfigurationError: a child process can't see the storage.
    """

    def __init__(self, storage: Storage, *, limits: Limits | None = None, confined: bool = True) -> None:
        if confined and storage.protocol == "memory":
            raise ConfigurationError("files in memory:// are not seen by child processes: use a folder or a bucket")
        self._storage = storage
        self._limits = limits or Limits()
        self._confined = confined

    def validate(self, data: FileProcessingJobData, /) -> None:
        """Refuse keys and operations that could not work."""
        check_plan(data)

    def process(self, data: FileProcessingJobData, context: JobContext, /) -> FileResult:
        """Fetch the source, carry out the operations, and put what they made in the storage: whole or not at all.

        Raises:
            Discard: the file can't be processed, or this isn't a child process, and another attempt would not help.
            StorageError: the storage failed; another attempt may do.
            ConfigurationError: a program is missing on this machine.
        """
        if not self._confined:
            return self._worked(data, context)
        if not in_child():
            raise Discard("file processing runs in child processes: register it with execution='process'")
        try:
            with memory_limit(self._limits.memory):
                return self._worked(data, context)
        except MemoryError:
            # Without its traceback, whose frames hold what took the memory.
            reason = f"the file needs more than {self._limits.memory // MIB:,} MiB of memory"
        raise Discard(reason)

    def _worked(self, data: FileProcessingJobData, context: JobContext) -> FileResult:
        try:
            with work_folder() as folder:
                return Work(data, folder, self._storage, self._limits, context).run()
        except (FileMissing, FileTooLarge, InvalidKey) as error:
            raise Discard(str(error)) from error


class Work:
    """One job: a file that one operation after the other changes, in a folder of its own."""

    def __init__(
        self, data: FileProcessingJobData, folder: Path, storage: Storage, limits: Limits, context: JobContext
    ) -> None:
        self._data = data
        self._bench = Bench(folder, storage, limits, context, self._tell)
        self._path = folder / "source"
        self._picture: Picture | None = None
        self._made = 0
        self._step = 0
        self._written: list[Stored] = []

    def run(self) -> FileResult:
        """All of it."""
        try:
            return self._run()
        finally:
            self._picture = None  # however it ends, an idle child keeps none

    def _run(self) -> FileResult:
        self._bench.storage.download(self._data.source, self._path, most=self._bench.limits.source)
        details: list[dict[str, Any]] = []
        for step, operation in enumerate(self._data.operations):
            self._step = step
            self._bench.context.raise_if_cancelled()
            self._tell(0)
            details.append({"op": type(operation).__name__.lower(), **self._carry_out(operation)})
        if self._data.destination is not None and not self._has_written():
            self._written.append(self._put(self._data.destination))
        return FileResult(
            files=self._listed(),
            count=len(self._written),
            size=sum(stored.size for stored in self._written),
            details=details,
        )

    def _carry_out(self, operation: FileOperation) -> dict[str, Any]:
        bench, limits = self._bench, self._bench.limits
        if isinstance(operation, ON_IMAGES):
            picture = read_picture(self._path, limits) if self._picture is None else self._picture
            self._picture = change_picture(picture, operation, limits)
            return self._picture.told()
        source = self._file()
        match operation:
            case Checksum(algorithm):
                return {"algorithm": algorithm, "digest": self._digest(source, algorithm)}
            case Probe():
                return probe(source, bench).told()
            case Unpack():
                below, never = check_key(self._data.destination or ""), check_key(self._data.source)
                self._written, told = unpack(source, below, never, bench)
            case Pack(also):
                named = (check_key(self._data.source), source)
                told = pack(named, [check_key(key) for key in also], self._new(), bench)
            case Text():
                told = extract_text(source, self._new(), bench)
            case Frame():
                told = take_frame(source, self._new(), operation, bench)
            case Transcode():
                told = transcode(source, self._new(), operation, bench)
            case _:
                raise TypeError(f"{type(operation).__name__} is no operation on files")
        return told

    def _file(self) -> Path:
        """The file as it is now; a picture is encoded."""
        if self._picture is not None:
            picture, self._picture = self._picture, None
            write_picture(picture, self._new())
        return self._path

    def _new(self) -> Path:
        """The path of the next file; from here on it is what is worked on."""
        self._made += 1
        self._path = self._bench.folder / f"made-{self._made}"
        return self._path

    def _digest(self, path: Path, algorithm: str) -> str:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
        return digest.hexdigest()

    def _put(self, key: str) -> Stored:
        path = self._file()
        if (size := path.stat().st_size) > self._bench.limits.output:
            raise Discard(f"the outcome has {size:,} bytes, more than {self._bench.limits.output:,}")
        self._bench.context.raise_if_cancelled()
        return self._bench.storage.upload(path, key)

    def _has_written(self) -> bool:
        return isinstance(self._data.operations[-1], Unpack)

    def _tell(self, share: float) -> None:
        operations = self._data.operations
        self._bench.context.progress(
            (self._step + share) / len(operations), type(operations[self._step]).__name__.lower()
        )

    def _listed(self) -> list[WrittenFile]:
        listed: list[WrittenFile] = []
        size = 0
        for stored in self._written:
            link = self._bench.storage.link_for(stored.key)
            file = WrittenFile(key=stored.key, size=stored.size, sha256=stored.sha256, link=link)
            size += len(msgspec.json.encode(file)) + 1
            if size > LISTED_BYTES:
                break
            listed.append(file)
        return listed
