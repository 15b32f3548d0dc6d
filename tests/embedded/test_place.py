"""Where a server lives: the default folder, and sockets whose path would be too long."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from redqueue import embedded
from redqueue.embedded import place
from redqueue.embedded.place import Place
from redqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folder for short sockets is made, instead of /tmp itself."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(place, "SHORT_FOLDERS", Path(folder))
        yield Path(folder) / f"redqueue-{os.geteuid()}"


@pytest.fixture
def long_folder(short: Path, make_folder: Callable[[str], Path]) -> Path:
    return make_folder("long" * 30)


def test_a_long_path_gets_a_socket_in_a_private_short_folder(long_folder: Path, short: Path) -> None:
    embedded.ensure(long_folder)
    found = embedded.status(long_folder)
    assert found is not None
    assert found.socket.parent == short
    assert len(os.fsencode(found.socket)) < 104
    assert stat.S_IMODE(short.stat().st_mode) == 0o700
    assert list(long_folder.rglob("*.sock")) == []


def test_two_long_paths_have_two_sockets(short: Path, tmp_path: Path) -> None:
    one, two = (Place.of(tmp_path / ("long" * 30) / name) for name in ("one", "two"))
    assert one.socket.parent == two.socket.parent == short
    assert one.socket != two.socket


def test_a_short_folder_that_others_can_write_is_refused(long_folder: Path, short: Path) -> None:
    short.mkdir()
    short.chmod(0o777)
    for call in (embedded.ensure, embedded.status):
        with pytest.raises(ConfigurationError, match="not a folder of this user's alone"):
            call(long_folder)


def test_a_link_in_the_place_of_the_short_folder_is_refused(long_folder: Path, short: Path) -> None:
    private = short.with_name("private")
    private.mkdir(mode=0o700)
    short.symlink_to(private)
    with pytest.raises(ConfigurationError, match="not a folder of this user's alone"):
        embedded.ensure(long_folder)
    assert list(private.iterdir()) == []


def test_a_short_folder_of_another_user_is_refused(
    long_folder: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Place.of(long_folder)
    short.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="not a folder of this user's alone"):
        there.check()


def test_the_default_folder_is_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDQUEUE_EMBEDDED_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(sys, "platform", "linux")
    assert Place.of(None).folder == Path("/home/ada/.local/share/redqueue")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert Place.of(None).folder == Path("/home/ada/.local/share/redqueue")
    monkeypatch.setenv("XDG_DATA_HOME", "/data/ada")
    assert Place.of(None).folder == Path("/data/ada/redqueue")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Place.of(None).folder == Path("/home/ada/Library/Application Support/redqueue")


def test_a_variable_overrides_the_default_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDQUEUE_EMBEDDED_DIR", str(folder))
    assert embedded.ensure() == embedded.url(folder)
    here, there = embedded.status(), embedded.status(folder)
    assert here is not None
    assert there is not None
    assert here.pid == there.pid
    assert embedded.stop() is True


def test_a_user_without_a_home_is_told_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"set .REDQUEUE_EMBEDDED_DIR"):
        embedded.url("~no-such-user-here/data")
