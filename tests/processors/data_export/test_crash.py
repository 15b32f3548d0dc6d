"""A worker is killed in the middle of an export; another one delivers the file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from redqueue import Queue

HERE = Path(__file__).parent
GUARD = 30.0


@pytest.fixture
def start(real_url: str, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a worker of `crash_jobs`; what is left of them is ended."""
    running: list[subprocess.Popen[bytes]] = []
    (tmp_path / "files").mkdir()

    def begin() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "redqueue.worker", "crash_jobs:registry", "--app-dir", str(HERE)]
        running.append(
            subprocess.Popen(
                [*command, "-q", "data-export", "--lease", "1", "--url", real_url],
                env={**os.environ, "EXPORTS": str(tmp_path)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait(GUARD)


def wait_for(path: Path) -> None:
    """Another process makes it; there is no event across processes."""
    ends = time.monotonic() + GUARD
    while not path.exists():
        assert time.monotonic() < ends, f"waited {GUARD:g} s for {path.name}"
        time.sleep(0.01)


def whole_files(folder: Path) -> list[Path]:
    """What readers of the storage see."""
    return [path for path in folder.rglob("*") if path.is_file() and ".redqueue-" not in str(path)]


@pytest.mark.parametrize("where", ["in-rows", "in-notice"])
def test_a_killed_workers_export_is_delivered_whole_by_another(
    where: str, start: Callable[[], subprocess.Popen[bytes]], real_url: str, tmp_path: Path
) -> None:
    data = {"subAccountId": "s", "exportType": where, "format": "csv"}
    with Queue("data-export", real_url) as queue:
        job = queue.add(
            "data-export", {**data, "notify": [{"kind": "email", "recipients": ["ada@example.com"]}]}, job_id="j"
        )
        victim = start()
        wait_for(tmp_path / where)
        assert bool(whole_files(tmp_path / "files")) is (where == "in-notice")
        victim.kill()
        victim.wait(GUARD)
        assert bool(whole_files(tmp_path / "files")) is (where == "in-notice")
        start()
        result = job.result(GUARD)
    (file,) = whole_files(tmp_path / "files")
    content = file.read_bytes()
    assert sha256(content).hexdigest() == result["sha256"] and content.count(b"\r\n") == 20_001
    runs = (tmp_path / "runs").read_text().count("run")
    assert runs == (2 if where == "in-rows" else 1), "a file that is there is not exported again"
    (key,) = (tmp_path / "sent").read_text().splitlines()
    assert key.endswith(":ready:0")
