"""A folder is left by no key, whoever else writes there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from redqueue.processors.storage import FileMissing, InvalidKey, Storage, StorageError

WRITER = """
import sys
from redqueue.processors.storage import Storage
with Storage(sys.argv[1]).writing("a/big") as file:
    file.write(b"x" * 100_000)
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.mark.parametrize("key", ["link", "folder-link/secret", "a/link"])
def test_symbolic_links_are_not_followed(root: Path, key: str) -> None:
    outside = root.parent / "outside"
    (root / "a").mkdir()
    (root / "link").symlink_to(outside / "secret")
    (root / "a" / "link").symlink_to("../../outside/secret")
    (root / "folder-link").symlink_to(outside)
    storage = Storage(root)
    with pytest.raises(InvalidKey, match="symbolic link"), storage.reading(key):
        pass
    with pytest.raises(InvalidKey, match="symbolic link"):
        storage.size(key)
    assert not storage.exists(key)
    if key == "folder-link/secret":
        with pytest.raises(InvalidKey, match="symbolic link"), storage.writing(key):
            pass
        with pytest.raises(StorageError):
            storage.delete(key)
    else:
        with storage.writing(key) as file:
            file.write(b"mine")
        assert (root / key).read_bytes() == b"mine"  # the link was replaced
        assert not (root / key).is_symlink()
    assert (outside / "secret").read_text() == "secret"
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_deleting_a_link_leaves_what_it_points_to(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside" / "secret")
    Storage(root).delete("link")
    assert list(root.iterdir()) == []
    assert (root.parent / "outside" / "secret").exists()


def test_swapping_a_folder_for_a_link_at_any_moment_leads_nowhere(root: Path) -> None:
    """X13: a race."""
    outside = root.parent / "outside"
    (root / "a").mkdir()
    (root / "a" / "secret").write_text("public")
    (root.parent / "link").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "a").rename(root.parent / "aside")
            (root.parent / "link").rename(root / "a")
            (root / "a").rename(root.parent / "link")
            (root.parent / "aside").rename(root / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    storage, read, refused = Storage(root), 0, 0
    try:
        ends = time.monotonic() + 20
        while (read < 50 or refused < 50) and time.monotonic() < ends:
            try:
                with storage.reading("a/secret") as file:
                    assert file.read() == b"public"
                read += 1
            except (InvalidKey, FileMissing):
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert read >= 50
    assert refused >= 50
    assert [path.name for path in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize("moment", ["before the folder is opened", "after it"])
def test_a_folder_that_becomes_a_link_while_a_file_is_written_leads_nowhere(
    root: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").mkdir()
    genuine = os.open

    def swapped(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path != "a":
            return genuine(path, flags, mode, dir_fd=dir_fd)
        folder = genuine(path, flags, mode, dir_fd=dir_fd) if moment == "after it" else -1
        (root / "a").rename(root / "aside")
        (root / "a").symlink_to(root.parent / "outside")
        return folder if folder >= 0 else genuine(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swapped)
    if moment == "after it":
        with Storage(root).writing("a/new") as file:
            file.write(b"x")
        assert (root / "aside" / "new").read_bytes() == b"x"
    else:
        with pytest.raises(InvalidKey, match="symbolic link"), Storage(root).writing("a/new"):
            pass
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["secret"]


def test_the_root_may_be_a_link(root: Path) -> None:
    (root.parent / "current").symlink_to(root)
    with Storage(root.parent / "current").writing("a") as file:
        file.write(b"x")
    assert (root / "a").read_bytes() == b"x"


def test_what_is_no_plain_file_is_no_file(root: Path) -> None:
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    storage = Storage(root)
    for key in ("folder", "pipe"):
        assert not storage.exists(key)
        with pytest.raises(FileMissing), storage.reading(key):
            pass
    with pytest.raises(InvalidKey, match="is a folder"), storage.writing("folder"):
        pass
    with storage.writing("file") as file:
        file.write(b"x")
    with pytest.raises(InvalidKey, match="no folder"), storage.writing("file/below"):
        pass
    with pytest.raises(StorageError):
        storage.delete("folder")
    assert (root / "folder").is_dir()


def test_a_killed_writers_file_is_never_served_and_removed_after_a_day(root: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (left,) = (root / "a").iterdir()
    assert left.name.startswith(".redqueue-")
    storage = Storage(root)
    assert not storage.exists("a/big")
    with pytest.raises(InvalidKey):
        storage.exists(f"a/{left.name}")
    with storage.writing("a/other"):
        pass
    assert left.exists()  # it could be another writer's
    long_ago = time.time() - 86_500
    os.utime(left, (long_ago, long_ago))
    with Storage(root).writing("a/big") as file:
        file.write(b"whole")
    assert sorted(path.name for path in (root / "a").iterdir()) == ["big", "other"]


def test_two_writers_of_one_file_both_succeed_and_the_last_stays(root: Path) -> None:
    storage = Storage(root)
    with storage.writing("a") as one, storage.writing("a") as two:
        one.write(b"one")
        two.write(b"two")
    assert (root / "a").read_bytes() == b"one"
    assert [path.name for path in root.iterdir()] == ["a"]


def test_a_full_disk_is_an_error_that_names_the_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device", str(root))

    storage = Storage(root)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"'a/b': OSError: No space left on device$"), storage.writing("a/b") as file:
        file.write(b"x")
    assert list((root / "a").iterdir()) == []


def test_no_descriptor_stays_open(root: Path) -> None:
    storage = Storage(root)
    before = len(list(Path("/dev/fd").iterdir()))
    with storage.writing("a/b/c") as file:
        file.write(b"x")
    for key in ("a/b/c", "a/b/d", "x/y", "a/b", "a/b/c/d"):
        storage.exists(key)
    with pytest.raises(ZeroDivisionError), storage.writing("a/b/c"):
        raise ZeroDivisionError
    with pytest.raises(InvalidKey), storage.writing("a/b/c/d"):
        pass
    storage.delete("a/b/c")
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_folder_is_not_deleted_and_trying_again_would_not_help(root: Path) -> None:
    storage = Storage(root)
    with storage.writing("a/b"):
        pass
    with pytest.raises(InvalidKey, match="'a' is a folder"):
        storage.delete("a")
    assert storage.exists("a/b")


def test_the_names_of_new_folders_outlive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))
    with Storage(tmp_path / "new" / "root").writing("a/b/c"):
        pass
    for folder in (".", "new", "new/root", "new/root/a", "new/root/a/b"):
        assert (tmp_path / folder).stat().st_ino in synced, folder
