"""A test's own server: obedient while its process lives, gone when it is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from redqueue.embedded import PrivateServer
from redqueue.errors import ConfigurationError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Eventually = Callable[[Callable[[], bool]], bool]
    Gone = Callable[[int], bool]
    Python = Callable[..., subprocess.Popen[str]]

START_AND_WAIT = """
import sys
from redqueue.embedded import PrivateServer
server = PrivateServer().start()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""

# The child reads on in its own time: what it inherited must not keep the server alive.
FORK_AND_WAIT = START_AND_WAIT.replace("print", "import os\nchild = os.fork()\nif child: print")


def client(server: PrivateServer, *, timeout: float = 5) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True, socket_timeout=timeout)


def read(server: PrivateServer, key: str) -> object:
    with client(server) as connection:
        return connection.get(key)


def write(server: PrivateServer, key: str, value: str) -> None:
    with client(server) as connection:
        connection.set(key, value)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def told(process: subprocess.Popen[str]) -> tuple[int, Path]:
    """Its server's process and folder."""
    assert process.stdout is not None
    pid, folder = process.stdout.readline().split()
    return int(pid), Path(folder)


def test_it_answers_and_leaves_nothing_behind(gone: Gone) -> None:
    with PrivateServer() as server:
        pid = server.pid
        write(server, "key", "value")
        assert read(server, "key") == "value"
        assert server.url.startswith("unix://")
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        assert os.getsid(pid) != os.getsid(0)
    assert gone(pid)
    assert not server.folder.exists()


def test_it_allows_debug_commands() -> None:
    with PrivateServer() as server, client(server) as connection:
        assert connection.execute_command("DEBUG", "SLEEP", "0") in (True, "OK", b"OK")


def test_it_listens_on_a_port_when_told_to() -> None:
    port = free_port()
    with PrivateServer(port=port) as server:
        assert server.url == f"redis://127.0.0.1:{port}/0"
        write(server, "key", "value")
        server.kill()
        server.start()
        assert read(server, "key") is None


def test_it_takes_more_arguments() -> None:
    with PrivateServer(arguments=["--maxmemory", "10mb"]) as server, client(server) as connection:
        assert connection.config_get("maxmemory") == {"maxmemory": str(10 * 1024 * 1024)}


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on PATH")
def test_it_runs_the_program_it_is_given() -> None:
    with PrivateServer(binary="redis-server") as server, client(server) as connection:
        assert "valkey_version" not in connection.info()


@pytest.mark.parametrize("end", [PrivateServer.kill, PrivateServer.stop])
def test_started_again_it_has_its_data_when_it_keeps_them(end: Callable[[PrivateServer], None], gone: Gone) -> None:
    with PrivateServer(appendonly=True) as server:
        pid, url = server.pid, server.url
        write(server, "key", "value")
        end(server)
        assert gone(pid)
        with pytest.raises(ConfigurationError, match="does not run"):
            _ = server.pid
        server.start()
        assert server.url == url
        assert server.pid != pid
        assert read(server, "key") == "value"


def test_to_start_twice_or_end_twice_changes_nothing() -> None:
    with PrivateServer() as server:
        pid = server.pid
        assert server.start().pid == pid
        server.stop()
        server.stop()
        server.kill()
        server.close()


def test_one_that_was_killed_behind_its_back_can_be_started_again() -> None:
    with PrivateServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert server.start().pid != pid
        assert read(server, "key") is None


def test_paused_it_answers_nothing_until_it_is_resumed() -> None:
    with PrivateServer() as server:
        server.pause()
        with pytest.raises(redis.TimeoutError), client(server, timeout=0.05) as connection:
            connection.get("key")
        server.resume()
        assert read(server, "key") is None
        server.pause()
        server.stop()
        assert "User requested shutdown" in server.log.read_text()


def test_a_password_does_not_hinder_its_start_and_stop() -> None:
    with PrivateServer(arguments=["--requirepass", "secret"]) as server:
        server.stop()
        assert "User requested shutdown" in server.log.read_text()


def test_it_lives_on_when_the_thread_that_started_it_ends() -> None:
    server = PrivateServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with server:
        assert read(server, "key") is None


@pytest.mark.parametrize("script", [START_AND_WAIT, FORK_AND_WAIT])
def test_it_ends_with_a_killed_process(script: str, python: Python, gone: Gone, eventually: Eventually) -> None:
    parent = python(script)
    pid, folder = told(parent)
    parent.kill()
    parent.wait()
    assert gone(pid)
    assert eventually(lambda: not folder.exists())


def test_it_ends_with_a_process_that_forgot_it(python: Python, gone: Gone, eventually: Eventually) -> None:
    parent = python(START_AND_WAIT)
    pid, folder = told(parent)
    assert parent.stdin is not None
    parent.stdin.close()
    assert parent.wait(5) == 0
    assert gone(pid)
    assert eventually(lambda: not folder.exists())


def test_a_port_that_is_taken_is_told_from_the_log() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = PrivateServer(port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match=r"(?s)did not start.*in use"), server:
            pass
    assert not server.folder.exists()


def test_an_argument_that_the_server_does_not_know_is_told_from_the_log() -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)did not start.*no-such-option"):
        PrivateServer(arguments=["--no-such-option", "1"]).__enter__()


def test_a_program_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no-such-server"):
        PrivateServer(binary="no-such-server")
