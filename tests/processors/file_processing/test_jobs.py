"""Jobs of a worker, in its child processes."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redqueue.errors import ConfigurationError, Discard
from redqueue.processors.file_processing import FileProcessor, Limits
from redqueue.processors.storage import Storage
from redqueue.shapes import (
    Checksum,
    Convert,
    FileResult,
    Frame,
    Pack,
    Resize,
    Strip,
    Thumbnail,
    Transcode,
    Unpack,
)
from redqueue.testing import job_context

from .conftest import Desk, Run, image_bytes, job, needs
from .dying import DyingStorage
from .test_archives import zipped


def result_of(status: Any) -> FileResult:
    assert status.status == "completed", status.error
    return msgspec.convert(status.result, FileResult)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))


async def test_jobs_of_each_kind(desk: Desk, run: Run) -> None:
    desk.put("a.jpg", image_bytes("JPEG"))
    desk.put("b.zip", zipped(("x/1.txt", b"one"), ("2.txt", b"two")))
    image, archive, packed, told = await run(
        job("a.jpg", "thumbs/a.webp", Thumbnail(20, 20), Convert("webp"), Strip()),
        job("b.zip", "b", Unpack()),
        job("a.jpg", "c.zip", Pack(["b.zip"])),
        job("a.jpg", None, Checksum()),
    )
    (file,) = result_of(image).files
    data = (desk.root / "thumbs/a.webp").read_bytes()
    assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert file.link == "https://files.example.com/thumbs/a.webp"
    assert image.progress == pytest.approx(2 / 3)
    assert image.message == "strip"
    assert image.result["details"][0] == {"op": "thumbnail", "width": 20, "height": 13, "format": "jpeg", "frames": 1}
    assert result_of(archive).count == 2
    assert (desk.root / "b/x/1.txt").read_bytes() == b"one"
    assert result_of(packed).count == 1
    digest = hashlib.sha256((desk.root / "a.jpg").read_bytes()).hexdigest()
    assert result_of(told).details == [{"op": "checksum", "algorithm": "sha256", "digest": digest}]
    assert list(desk.temporary.iterdir()) == []


async def test_a_bad_file_fails_at_once_and_the_next_job_is_none_the_worse(desk: Desk, run: Run) -> None:
    desk.put("a.png", image_bytes("PNG", (400, 300)))
    desk.put("cut.png", image_bytes("PNG", (400, 300))[:5000])
    before = desk.files()
    jobs = [job(source, "out.png", Resize(width=5)) for source in ("cut.png", "missing.png", "../../etc/passwd")]
    *bad, good = await run(*jobs, job("a.png", "good.png", Resize(width=5)))
    assert [status.status for status in bad] == ["failed"] * 3
    assert [status.attempts for status in bad] == [1] * 3
    reasons = ["can't be decoded", "no file 'missing.png'", "has the part '..'"]
    assert all(reason in (status.error or "") for reason, status in zip(reasons, bad, strict=True))
    assert result_of(good).count == 1
    desk.storage.delete("good.png")
    desk.assert_clean(before)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_child_killed_in_the_middle_runs_again_and_the_outcome_is_whole(
    desk: Desk, run: Run, number: int, tmp_path: Path
) -> None:
    desk.put("in.zip", zipped(("a", b"a" * 1000), ("b", b"b" * 1000), ("c", b"c" * 1000)))
    processor = FileProcessor(DyingStorage(desk.root, tmp_path / "mark", number))
    (status,) = await run(job("in.zip", "out", Unpack()), processor=processor)
    assert (tmp_path / "mark").exists()
    assert result_of(status).count == 3
    assert status.attempts == 1  # a crash is no failure
    assert {path.name: path.read_bytes() for path in (desk.root / "out").iterdir() if path.name[0] != "."} == {
        name: name.encode() * 1000 for name in "abc"
    }
    assert not any(desk.storage.exists(f"out/{name}") for name in ("d", "half"))


async def test_an_image_whose_child_is_killed_while_it_is_written_is_written_again(
    desk: Desk, run: Run, tmp_path: Path
) -> None:
    desk.put("a.png", image_bytes("PNG"))
    desk.put("out.png", b"old")
    processor = FileProcessor(DyingStorage(desk.root, tmp_path / "mark", 1))
    (status,) = await run(job("a.png", "out.png", Resize(width=6)), processor=processor)
    assert result_of(status).count == 1
    assert desk.image("out.png").size == (6, 4)


async def test_a_job_that_needs_more_memory_than_it_may_fails_alone(desk: Desk, run: Run) -> None:
    desk.put("big.png", image_bytes("PNG", (3_000, 3_000), "L"))
    desk.put("small.png", image_bytes("PNG"))
    before = desk.files()
    processor = FileProcessor(desk.storage, limits=Limits(memory=40 * 2**20))
    big, small = await run(
        job("big.png", "out.png", Resize(width=5_000)), job("small.png", "ok.png", Strip()), processor=processor
    )
    assert (big.status, big.attempts) == ("failed", 1)
    assert "needs more than 40 MiB of memory" in (big.error or "")
    assert result_of(small).count == 1
    desk.storage.delete("ok.png")
    desk.assert_clean(before)


async def test_a_job_out_of_time_leaves_nothing(desk: Desk, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ffmpeg")
    slow = desk.root.parent / "bin"
    slow.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        (slow / name).write_text("#!/bin/sh\nexec sleep 600\n")
        (slow / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:/usr/bin:/bin")
    desk.put("a.mp4", b"x")
    before = desk.files()
    (status,) = await run(job("a.mp4", "b.mp4", Transcode("mp4")), timeout=2, retries=0)
    assert "TimeoutError" in (status.error or "")
    desk.assert_clean(before)


async def test_outside_of_a_child_process_no_file_is_opened(desk: Desk, run: Run) -> None:
    desk.put("a.png", image_bytes("PNG"))
    (status,) = await run(job("a.png", "b.png", Strip()), execution="thread", retries=2)
    assert "file processing runs in child processes" in (status.error or "")
    assert status.attempts == 1  # no other attempt would run elsewhere
    with pytest.raises(Discard, match="execution='process'"):
        FileProcessor(desk.storage).process(job("a.png", "b.png", Frame()), job_context())


def test_files_in_memory_are_not_for_child_processes() -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        FileProcessor(Storage("memory://x"))
    FileProcessor(Storage("memory://x"), confined=False)


def test_a_processor_is_made_of_settings(desk: Desk) -> None:
    processor = FileProcessor(desk.storage, limits=Limits(pages=3))
    assert len(pickle.dumps(processor)) < 2_000
    with pytest.raises(ValueError, match="pages"):
        Limits(pages=0)
