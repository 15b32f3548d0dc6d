"""``python -m redqueue.worker``, as an operator types it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue import Queue
from redqueue.embedded import PrivateServer

from .conftest import GUARD, HERE, Ledger, Workers, until


@pytest.fixture
def queue(durable_server: PrivateServer) -> Iterator[Queue]:
    with Queue("q", durable_server.url) as queue:
        yield queue


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "REDQUEUE_"))}
    return subprocess.run(
        [sys.executable, "-m", "redqueue.worker", *arguments],
        env={**clean, **environ},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_check_prints_the_registry_and_leaves(durable_server: PrivateServer) -> None:
    done = command("ledger_jobs:registry", "--check", "--url", durable_server.url)
    assert done.returncode == 0, done.stderr
    assert "processor flaky\nprocessor ledger\n" in done.stdout
    assert "queue     ledger: 0 waiting, 0 delayed, 0 workers" in done.stdout


def test_check_says_whether_a_seal_is_on(durable_server: PrivateServer) -> None:
    words = ("ledger_jobs:registry", "--check", "--url", durable_server.url)
    assert "\nseal      none\n" in command(*words).stdout
    secret = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcywgb2s="
    done = command(*words, REDQUEUE_SEAL=f'{{"kind": "signed", "keys": {{"2026-11": "{secret}"}}}}')
    assert done.stdout.endswith("\nseal      signed by key 2026-11\n")
    assert secret not in done.stdout + done.stderr


def test_check_says_when_redis_is_not_reached() -> None:
    done = command("ledger_jobs:registry", "--check", "--url", f"redis://:secret@127.0.0.1:{closed_port()}")
    assert done.returncode == 4
    assert "can't be connected to" in done.stderr and "secret" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such_module"], "no module 'no_such_module': is --app-dir the folder that it is in?"),
        (["ledger_jobs:nothing"], "ledger_jobs has no ServiceRegistry of the name 'nothing'"),
        (["ledger_jobs:registry", "-q", "a:b"], "after the colon comes a number, as in sms:50"),
        (["ledger_jobs:registry", "-q", "bad name"], "a queue name is"),
        (["ledger_jobs:registry", "-c", "0"], "concurrency must be a whole number from 1"),
        (["ledger_jobs:registry", "--lease", "0.1"], "lease must be from 0.5 seconds"),
        (["ledger_jobs:registry", "--lease", "nan"], "lease must be a finite number"),
        (["ledger_jobs:registry", "--max-jobs-per-child", "0"], "max_jobs_per_child must be"),
        (["ledger_jobs:registry", "--max-memory-per-child", "1"], "max_memory_per_child must be"),
        (["ledger_jobs:registry", "--ready-file", "/no/such/folder/ready"], "is in no folder that there is"),
        (["ledger_jobs:registry", "--ready-file", "r", "--processes", "2"], "leave out either"),
        (["ledger_jobs:registry", "--url", "ftp://x"], "a Redis URL begins with one of"),
        (["ledger_jobs"], "the registry names no processor, service or task"),
        (["ledger_jobs", "-q", "q"], "no processor, service or task; there is ledger_jobs:registry"),
        ([], "MODULE"),
        (["ledger_jobs:registry", "--log-format", "xml"], "--log-format"),
    ],
)
def test_what_can_not_work_is_said_with_exit_code_2(arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_password_ends_it_with_exit_code_3() -> None:
    with PrivateServer(arguments=["--requirepass", "right"]) as server:
        done = command("ledger_jobs:registry", "-q", "q", "--burst", "--url", f"unix://:wrong@{server.socket}")
    assert done.returncode == 3, done.stderr
    assert "credentials" in done.stderr and "wrong" not in done.stderr


def test_every_option_is_a_variable_too_and_the_option_wins(
    queue: Queue, durable_server: PrivateServer, ledger: Ledger
) -> None:
    queue.add("ledger", {"n": 1})
    environ = {
        "REDQUEUE_MODULES": "ledger_jobs:registry",
        "REDQUEUE_QUEUES": "other",
        "REDQUEUE_URL": durable_server.url,
        "REDQUEUE_BURST": "yes",
        "REDQUEUE_CONCURRENCY": "3",
        "REDQUEUE_GRACE": "1",
        "REDQUEUE_LEASE": "2",
        "REDQUEUE_PREFETCH": "0",
        "REDQUEUE_APP_DIR": str(HERE),
        "REDQUEUE_LOG_FORMAT": "json",
        "LEDGER": str(ledger.path),
    }
    done = command(**environ)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stderr.splitlines()[0])
    assert first["level"] == "INFO" and "works on other:3" in first["message"]
    assert not ledger.lines("start")
    assert command("-q", "q:2", **environ).returncode == 0
    assert ledger.runs("end") == {1: 1}


def test_a_ready_file_is_there_while_the_worker_works(workers: Workers, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    worker = workers.start("-q", "q", "--ready-file", str(path))
    until(lambda: path.exists() or None, "the ready file")
    assert path.read_text().strip().endswith(f":{worker.pid}")
    worker.terminate()
    assert worker.wait(GUARD) == 0
    assert not path.exists()


@pytest.mark.parametrize("name", ["REDQUEUE_CONCURRENCY", "REDQUEUE_BURST", "REDQUEUE_PREFETCH"])
def test_a_bad_variable_is_named(name: str) -> None:
    done = command("ledger_jobs:registry", **{name: "maybe"})
    assert done.returncode == 2
    assert name in done.stderr


def test_a_log_line_a_second_at_most_while_redis_is_away(
    queue: Queue, workers: Workers, ledger: Ledger, durable_server: PrivateServer
) -> None:
    worker = workers.start("-q", "q", "--lease", "0.5")
    queue.add("ledger", {"n": 1})
    ledger.wait_for("end", 1)
    durable_server.kill()
    began = time.monotonic()
    subprocess.run(["sleep", "2.5"], check=True)  # the outage itself
    durable_server.start()
    away = time.monotonic() - began
    queue.add("ledger", {"n": 2})
    ledger.wait_for("end", 2)
    said = [line for line in workers.log(worker).splitlines() if "Redis is away" in line]
    assert 1 <= len(said) <= away + 2
    assert "Redis is back after" in workers.log(worker)


def test_a_worker_that_starts_while_redis_is_away_waits_for_it(
    workers: Workers, ledger: Ledger, durable_server: PrivateServer, queue: Queue
) -> None:
    queue.add("ledger", {"n": 1})
    durable_server.kill()
    worker = workers.start("-q", "q")
    while "Redis is away" not in workers.log(worker):
        assert worker.poll() is None
        time.sleep(0.01)
    durable_server.start()
    ledger.wait_for("end", 1)
