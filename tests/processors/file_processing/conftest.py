"""A storage in a folder, processors of its files, and workers that run them in child processes."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from PIL import Image

from redqueue import AsyncQueue, Discard, JobStatus, ServiceRegistry, Worker
from redqueue.processors.file_processing import FileProcessor, Limits
from redqueue.processors.storage import Storage
from redqueue.shapes import FileOperation, FileProcessingJobData, FileResult
from redqueue.testing import job_context

JOB_TYPE = "file-processing"


def job(source: str, destination: str | None, *operations: FileOperation) -> FileProcessingJobData:
    return FileProcessingJobData(
        sub_account_id="acme", source=source, operations=list(operations), destination=destination
    )


def needs(program: str) -> None:
    """Skip on a developer's machine that lacks it."""
    if shutil.which(program) is None and os.environ.get("CI") is None:
        pytest.skip(f"no {program}")


def image_bytes(kind: str, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> bytes:
    noise = Image.new("I;16", size, 40_000) if mode == "I;16" else Image.effect_noise(size, 60).convert(mode)
    out = io.BytesIO()
    noise.save(out, kind, **options)
    return out.getvalue()


class Desk:
    """A storage's folder as the test sees it, and a processor without a worker."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.storage = Storage(self.root, link="https://files.example.com/{key}")

    def put(self, key: str, data: bytes) -> str:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return key

    def process(
        self, source: str, destination: str | None, *operations: FileOperation, limits: Limits | None = None
    ) -> FileResult:
        """As a worker would, in this process."""
        processor = FileProcessor(self.storage, limits=limits, confined=False)
        data = job(source, destination, *operations)
        processor.validate(data)
        with job_context() as context:
            return processor.process(data, context)

    def refusal(
        self, source: str, destination: str | None, *operations: FileOperation, limits: Limits | None = None
    ) -> str:
        """Why the job fails for good. It leaves nothing behind."""
        before = self.files()
        with pytest.raises(Discard) as raised:
            self.process(source, destination, *operations, limits=limits)
        self.assert_clean(before)
        return raised.value.reason

    def files(self) -> dict[str, bytes]:
        """All of them, by key; those too that no key reaches."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def assert_clean(self, before: dict[str, bytes]) -> None:
        assert self.files() == before
        assert [path.name for path in self.temporary.iterdir()] == []

    def image(self, key: str) -> Image.Image:
        with Image.open(self.root / key) as image:
            image.load()
        return image


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path)
    monkeypatch.setenv("TMPDIR", str(desk.temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(desk.temporary))
    return desk


class Run(Protocol):
    async def __call__(
        self, *jobs: FileProcessingJobData, processor: FileProcessor | None = None, **options: Any
    ) -> list[JobStatus]: ...


@pytest.fixture
def make_worker(real_url: str, desk: Desk) -> Callable[..., Worker]:
    def make(processor: FileProcessor | None = None, execution: str = "process", **options: Any) -> Worker:
        registry = ServiceRegistry()
        processor = processor or FileProcessor(desk.storage)
        registry.register_processor(JOB_TYPE, processor, execution=execution)  # type: ignore[arg-type]
        return Worker([JOB_TYPE], real_url, registry=registry, **options)

    return make


@pytest.fixture
def run(real_url: str, make_worker: Callable[..., Worker]) -> Run:
    """Adds jobs, lets a worker run them in its child processes, and answers what became of them."""

    async def run_all(
        *jobs: FileProcessingJobData, processor: FileProcessor | None = None, **options: Any
    ) -> list[JobStatus]:
        worker = make_worker(processor, options.pop("execution", "process"), burst=True, concurrency=1)
        options = {"retries": 2, "backoff": 0} | options
        async with AsyncQueue(JOB_TYPE, real_url) as queue:
            added = [await queue.add(JOB_TYPE, one, **options) for one in jobs]
            await asyncio.wait_for(worker.serve(), 60)
            statuses = [await one.status() for one in added]
        return [status for status in statuses if status is not None]

    return run_all
