"""What every kind of storage promises."""

from __future__ import annotations

import csv
import hashlib
import io
import multiprocessing
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from redqueue.errors import ConfigurationError
from redqueue.processors.storage import FileMissing, FileTooLarge, Storage, StorageError, Stored

SIX_MIB = bytes(range(256)) * 4096 * 6
"""More than one part of an upload."""


def put(storage: Storage, key: str, data: bytes) -> Stored:
    with storage.writing(key) as file:
        file.write(data)
    return file.stored()


def get(storage: Storage, key: str) -> bytes:
    with storage.reading(key) as file:
        return file.read()


@pytest.mark.parametrize("data", [b"", b"hello", SIX_MIB], ids=["nothing", "little", "much"])
def test_what_is_written_is_read(storage: Storage, data: bytes) -> None:
    stored = put(storage, "a/b c/ü.bin", data)
    assert stored == Stored("a/b c/ü.bin", len(data), hashlib.sha256(data).hexdigest())
    assert get(storage, "a/b c/ü.bin") == data
    assert storage.size("a/b c/ü.bin") == len(data)
    assert storage.exists("a/b c/ü.bin")


def test_a_file_is_seen_when_it_is_whole(storage: Storage) -> None:
    with storage.writing("a/b") as file:
        file.write(SIX_MIB)
        assert not storage.exists("a/b")
    assert storage.size("a/b") == len(SIX_MIB)


@pytest.mark.parametrize("error", [OSError, FileNotFoundError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_leaves_what_was_there(storage: Storage, error: type[BaseException]) -> None:
    put(storage, "old", b"old")
    for key in ("old", "new"):
        with pytest.raises(error, match="mine"), storage.writing(key) as file:
            file.write(SIX_MIB)
            raise error("mine")
    assert get(storage, "old") == b"old"
    assert not storage.exists("new")


def test_a_file_is_replaced(storage: Storage) -> None:
    put(storage, "a", b"one")
    with storage.writing("a") as file:
        file.write(b"two and more")
        assert get(storage, "a") == b"one"
    assert get(storage, "a") == b"two and more"


def test_a_reader_can_seek(storage: Storage) -> None:
    put(storage, "a", b"0123456789")
    with storage.reading("a") as file:
        file.seek(-3, io.SEEK_END)
        assert file.read(2) == b"78"
        file.seek(0)
        assert file.read() == b"0123456789"


def test_what_is_missing_is_named(storage: Storage, tmp_path: Path) -> None:
    put(storage, "folder/a", b"a")
    for key in ("nothing", "folder/nothing", "nothing/at/all", "folder"):
        with pytest.raises(FileMissing, match=repr(key)) as raised, storage.reading(key):
            pass
        assert isinstance(raised.value, FileNotFoundError)
        assert isinstance(raised.value, StorageError)
        with pytest.raises(FileMissing):
            storage.size(key)
        with pytest.raises(FileMissing):
            storage.download(key, tmp_path / "copy")
        assert not storage.exists(key)
    assert not (tmp_path / "copy").exists()


def test_deleting_twice_is_fine(storage: Storage) -> None:
    put(storage, "a/b", b"x")
    storage.delete("a/b")
    assert not storage.exists("a/b")
    storage.delete("a/b")
    storage.delete("never/there")


def test_files_are_copied_from_and_to_this_machine(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(SIX_MIB)
    stored = storage.upload(tmp_path / "here", "there")
    assert stored == Stored("there", len(SIX_MIB), hashlib.sha256(SIX_MIB).hexdigest())
    assert storage.download("there", tmp_path / "back", most=len(SIX_MIB)) == stored
    assert (tmp_path / "back").read_bytes() == SIX_MIB


def test_a_download_that_is_too_large_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    put(storage, "big", SIX_MIB)
    with pytest.raises(FileTooLarge, match="'big' is larger than 6,291,455 bytes"):
        storage.download("big", tmp_path / "copy", most=len(SIX_MIB) - 1)
    assert not (tmp_path / "copy").exists()


def test_what_writes_to_files_writes_to_a_storage(storage: Storage) -> None:
    with storage.writing("a.csv") as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text).writerow(["é", 1])
        text.flush()
    assert get(storage, "a.csv") == "é,1\r\n".encode()
    with storage.writing("a.zip") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.txt", "x" * 1000)
    with storage.reading("a.zip") as read, zipfile.ZipFile(read) as archive:
        assert archive.read("x.txt") == b"x" * 1000


def test_a_closed_file_is_complete_and_takes_no_more(storage: Storage) -> None:
    with storage.writing("a") as file:
        file.write(memoryview(b"abc"))
        file.close()
        assert (file.size, file.tell()) == (3, 3)
        with pytest.raises(ValueError, match="closed"):
            file.write(b"d")
    assert get(storage, "a") == b"abc"


def test_threads_write_and_read_at_once(storage: Storage) -> None:
    def work(number: int) -> bool:
        put(storage, f"t/{number % 4}", bytes([number % 4]) * 10_000)
        return get(storage, f"t/{number % 4}") == bytes([number % 4]) * 10_000

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(32)))


def _put_from_afar(storage: Storage) -> None:
    put(storage, "from/afar", b"hello")


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_storage_can_be_sent_to_another_process(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storage = Storage(tmp_path) if kind == "file" else request.getfixturevalue("bucket").storage()
    put(storage, "here", b"opened")
    process = multiprocessing.get_context("spawn").Process(target=_put_from_afar, args=(storage,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert get(pickle.loads(pickle.dumps(storage)), "from/afar") == b"hello"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "empty"),
        ("file://", "no folder"),
        ("file://server/share", "no folder"),
        ("http://example.com/files", "half written"),
        ("ftp://example.com", "half written"),
        ("sftp://example.com/x", "half written"),
        ("s3://", "bucket"),
        ("s3://bucket/../other", "bucket"),
        ("s3://ada:canary@bucket", "credentials"),
        ("s3://bucket?versionId=1", "query"),
        ("simplecache::s3://bucket", ""),
    ],
)
def test_a_place_that_will_not_do_is_refused(url: str, why: str) -> None:
    if url.startswith("simplecache"):
        assert Storage(url).protocol == "file"  # a path, as strange as it is; never a chain of file systems
        return
    with pytest.raises(ConfigurationError, match=why) as raised:
        Storage(url)
    assert "canary" not in str(raised.value)


def test_a_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("relative")
    monkeypatch.chdir("/")
    put(storage, "a", b"x")
    assert (tmp_path / "relative" / "a").read_bytes() == b"x"
    assert get(Storage(f"file://{tmp_path}/%72elative"), "a") == b"x"


def test_settings_of_another_kind_of_storage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder has none"):
        Storage(tmp_path, options={"key": "x"})
    with pytest.raises(ConfigurationError, match="signs no links"):
        Storage(tmp_path, link="sign")
    with pytest.raises(ConfigurationError, match="7 days"):
        Storage("s3://bucket", link="sign", link_expires=8 * 86_400)
    with pytest.raises(ConfigurationError, match=r"\{key\}"):
        Storage(tmp_path, link="https://files.example.com/")


def shop_link(key: str) -> str | None:
    return f"https://shop.example.com/{key}" if key.startswith("public/") else None


def test_links_are_made_from_a_template_or_by_a_function(tmp_path: Path) -> None:
    assert Storage(tmp_path).link_for("a") is None
    storage = Storage(tmp_path, link="https://files.example.com/{key}?v=1")
    assert storage.link_for("a b/ü?&#.txt") == "https://files.example.com/a%20b/%C3%BC%3F%26%23.txt?v=1"
    assert storage.link_for("{key}") == "https://files.example.com/%7Bkey%7D?v=1"
    by_function = pickle.loads(pickle.dumps(Storage(tmp_path, link=shop_link)))
    assert by_function.link_for("public/a") == "https://shop.example.com/public/a"
    assert by_function.link_for("private/a") is None


def test_the_environment_says_where(tmp_path: Path) -> None:
    given = {"STORAGE_URL": f"file://{tmp_path}", "STORAGE_LINK": "https://files.example.com/{key}"}
    assert Storage.from_env(given).link_for("a") == "https://files.example.com/a"
    with pytest.raises(ConfigurationError, match="STORAGE_URL is not set"):
        Storage.from_env({})


@pytest.mark.parametrize("url", ["s3:/bucket", "file:/srv/files", "S3:/bucket/prefix", "gs:/x", "htp:/x", "s3:/u:p@x"])
def test_a_url_with_a_slash_too_few_is_no_folder(url: str) -> None:
    with pytest.raises(ConfigurationError, match="two slashes follow the colon") as raised:
        Storage.from_env({"STORAGE_URL": url})
    assert "p@x" not in str(raised.value)
    assert Storage(f"./{url}").protocol == "file"
