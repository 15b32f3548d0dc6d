"""One shared server for each data folder, through everything that befalls processes."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from redqueue import embedded
from redqueue.embedded import wire
from redqueue.errors import ConfigurationError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Gone = Callable[[int], bool]
    Killed = Callable[[int], None]
    Python = Callable[..., subprocess.Popen[str]]

ENSURE = """
import sys
from redqueue import embedded
sys.stdin.readline()
embedded.ensure(sys.argv[1])
print(embedded.status(sys.argv[1]).pid)
"""


def pid_of(folder: Path) -> int:
    found = embedded.status(folder)
    assert found is not None
    return found.pid


def write(url: str, key: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def read(url: str, key: str) -> object:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.get(key)


def test_ensure_returns_a_url_that_a_client_accepts(folder: Path) -> None:
    url = embedded.ensure(folder)
    assert url == embedded.url(folder)
    assert url.startswith("unix:///")
    write(url, "key", "value")
    assert read(url, "key") == "value"


def test_a_second_ensure_finds_the_first_ones_server(folder: Path) -> None:
    embedded.ensure(folder)
    first = pid_of(folder)
    embedded.ensure(str(folder))
    assert pid_of(folder) == first


def test_a_path_with_spaces_and_signs_is_quoted_in_the_url(make_folder: Callable[[str], Path]) -> None:
    url = embedded.ensure(make_folder("Application Support?#%41é"))
    write(url, "key", "value")
    assert read(url, "key") == "value"


def test_a_folder_by_another_way_is_the_same_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert embedded.url("link") == embedded.url("data") == embedded.url(folder)


def test_status_tells_what_runs_and_where(folder: Path) -> None:
    assert embedded.status(folder) is None
    embedded.ensure(folder)
    found = embedded.status(folder)
    assert found is not None
    assert found.folder == folder.resolve()
    assert found.socket.is_socket()
    assert found.version.split()[0] in ("valkey", "redis")
    assert found.used_memory > 0
    assert found.uptime >= 0
    os.kill(found.pid, 0)


def test_four_processes_at_once_share_one_server(folder: Path, python: Python) -> None:
    racers = [python(ENSURE, folder) for _ in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = {racer.communicate(timeout=20) for racer in racers}
    assert answers == {(f"{pid_of(folder)}\n", "")}


def test_eight_threads_at_once_share_one_server(folder: Path) -> None:
    def start(_: int) -> int:
        embedded.ensure(folder)
        return pid_of(folder)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(start, range(8)))) == 1


def test_two_folders_have_two_servers(make_folder: Callable[[str], Path]) -> None:
    one, two = make_folder("one"), make_folder("two")
    write(embedded.ensure(one), "key", "one")
    assert read(embedded.ensure(two), "key") is None
    assert pid_of(one) != pid_of(two)


def test_a_killed_servers_data_are_there_after_the_next_ensure(folder: Path, killed: Killed) -> None:
    write(embedded.ensure(folder), "key", "value")
    killed(pid_of(folder))
    assert embedded.status(folder) is None
    assert read(embedded.ensure(folder), "key") == "value"


def test_a_stopped_servers_data_are_there_after_the_next_ensure(folder: Path, gone: Gone) -> None:
    write(embedded.ensure(folder), "key", "value")
    pid = pid_of(folder)
    assert embedded.stop(folder) is True
    assert gone(pid)
    assert embedded.stop(folder) is False
    assert embedded.status(folder) is None
    assert read(embedded.ensure(folder), "key") == "value"


def test_stop_makes_no_folder(tmp_path: Path) -> None:
    assert embedded.stop(tmp_path / "none") is False
    assert list(tmp_path.iterdir()) == []


def test_a_stale_socket_and_a_pid_file_of_another_process_do_not_disturb(folder: Path, killed: Killed) -> None:
    embedded.ensure(folder)
    killed(pid_of(folder))
    assert (folder / "server.sock").is_socket()
    (folder / "server.pid").write_text(str(os.getpid()))
    embedded.ensure(folder)
    assert embedded.stop(folder) is True


def test_no_second_server_starts_when_the_socket_of_a_living_one_was_removed(
    folder: Path, killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.ensure(folder)
    pid = pid_of(folder)
    (folder / "server.sock").unlink()
    monkeypatch.setattr(wire, "START_TIMEOUT", 0.1)
    with pytest.raises(ConfigurationError, match=f"process {pid}.* does not answer"):
        embedded.ensure(folder)
    with pytest.raises(ConfigurationError, match=f"process {pid}.* did not end"):
        embedded.stop(folder, timeout=0.1)
    killed(pid)
    embedded.ensure(folder)


def test_a_server_that_hangs_is_reported_and_not_doubled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.ensure(folder)
    pid = pid_of(folder)
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(wire, "ANSWER_TIMEOUT", 0.05)
        monkeypatch.setattr(wire, "START_TIMEOUT", 0.1)
        with pytest.raises(ConfigurationError, match=f"process {pid}"):
            embedded.ensure(folder)
    finally:
        os.kill(pid, signal.SIGCONT)
    embedded.ensure(folder)
    assert pid_of(folder) == pid


def test_a_server_that_reads_its_data_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([wire.Answer.LOADING, wire.Answer.SILENT, wire.Answer.SILENT, wire.Answer.UP])
    monkeypatch.setattr(wire, "ping", lambda _: next(answers))
    monkeypatch.setattr(wire, "START_TIMEOUT", -1)
    monkeypatch.setattr(wire, "POLL", 0)
    assert len(list(wire.until_up(Path("unused")))) == 3


def test_the_server_outlives_its_starter_and_holds_none_of_its_pipes(folder: Path, python: Python) -> None:
    starter = python(ENSURE, folder)
    out, errors = starter.communicate("go\n", timeout=10)
    assert (int(out), errors) == (pid_of(folder), "")


def test_the_server_inherits_no_descriptor_even_if_it_is_inheritable(folder: Path) -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    embedded.ensure(folder)
    os.close(theirs)
    ended = select.poll()  # select knows no number beyond 1,023
    ended.register(ours)
    assert ended.poll(1000)
    assert os.read(ours, 1) == b""
    os.close(ours)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_has_a_session_a_folder_and_a_umask_of_its_own(folder: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    embedded.ensure(folder)
    pid = pid_of(folder)
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
    assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_only_this_user_can_read_what_the_server_writes(folder: Path) -> None:
    write(embedded.ensure(folder), "key", "value")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path for path in folder.rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_locale_that_is_not_installed_does_not_disturb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    embedded.ensure(folder)
    assert "LOCALE" not in (folder / "server.log").read_text()


def test_a_failing_start_shows_the_end_of_the_servers_log(folder: Path) -> None:
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(ConfigurationError, match=r"(?is)ended at once.*manifest"):
        embedded.ensure(folder)


def test_a_program_that_is_no_server_shows_what_it_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho wrong architecture >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("REDQUEUE_SERVER", str(program))
    with pytest.raises(ConfigurationError, match="wrong architecture"):
        embedded.ensure(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="can't be used"):
        embedded.ensure(tmp_path / "file")


def test_windows_is_told_to_give_a_url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    for call in (embedded.ensure, embedded.status, embedded.stop, embedded.url):
        with pytest.raises(ConfigurationError, match=r"Linux and macOS.*redis://"):
            call(folder)
