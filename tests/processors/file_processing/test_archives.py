"""Zip archives: unpacked whole or not at all."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from redqueue.errors import JobCancelled
from redqueue.processors.file_processing import FileProcessor, Limits
from redqueue.processors.storage import Storage, StorageError, StorageFile
from redqueue.shapes import Checksum, Pack, Unpack
from redqueue.testing import job_context

from .conftest import Desk, job


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


def test_an_archive_is_unpacked_below_the_destination(desk: Desk) -> None:
    desk.put("in.zip", zipped(("a.txt", b"a" * 9), ("b/", b""), ("b/c/d.txt", b""), ("e\u0301.txt", b"e")))
    result = desk.process("in.zip", "out/x", Checksum("sha1"), Unpack())
    assert {key: data for key, data in desk.files().items() if key != "in.zip"} == {
        "out/x/a.txt": b"a" * 9,
        "out/x/b/c/d.txt": b"",
        "out/x/é.txt": b"e",
    }
    assert (result.count, result.size) == (3, 10)
    assert [file.key for file in result.files] == ["out/x/a.txt", "out/x/b/c/d.txt", "out/x/é.txt"]
    assert result.details[1] == {"op": "unpack", "entries": 3, "bytes": 10}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "..",
        ".",
        "C:\\..\\x",
        "C:/x",
        "..\\..\\x",
        "\\\\server\\share\\x",
        "//server/share",
        "a\nb",
        "a//b",
        "../",
        "a\u202eb",
        ".redqueue-x.part",
        "x" * 256,
    ],
    ids=ascii,
)
def test_a_name_that_leads_elsewhere_fails_the_whole_archive(desk: Desk, name: str) -> None:
    desk.put("in.zip", zipped(("good.txt", b"good"), (name, b"bad")))
    assert "entry that can't be unpacked" in desk.refusal("in.zip", "out", Unpack())
    assert [path.name for path in desk.root.parent.iterdir()] == ["root", "tmp"] or not (desk.root / "out").exists()


def with_nul_in_name() -> bytes:
    return zipped(("good.txt?../../x", b"x")).replace(b"good.txt?", b"good.txt\0")


def test_what_follows_a_nul_in_a_name_is_not_forgotten(desk: Desk) -> None:
    desk.put("in.zip", with_nul_in_name())
    assert "can't be" in desk.refusal("in.zip", "out", Unpack())


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010644, 0o140777], ids=["link", "device", "pipe", "socket"])
def test_a_link_or_a_device_fails_the_whole_archive(desk: Desk, mode: int) -> None:
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, mode << 16
    desk.put("in.zip", zipped(("good.txt", b"good"), (entry, b"/etc/passwd")))
    assert "a link or a device: 'link'" in desk.refusal("in.zip", "out", Unpack())


def test_names_must_be_unique(desk: Desk) -> None:
    desk.put("in.zip", zipped(("a", b"1"), ("a", b"2")))
    assert "two entries named 'a'" in desk.refusal("in.zip", "out", Unpack())
    desk.put("in.zip", zipped(("é", b"1"), ("e\u0301", b"2")))
    assert "two entries named" in desk.refusal("in.zip", "out", Unpack())
    desk.put("in.zip", zipped(("a", b"1"), ("a/b", b"2")))
    assert "a file and a folder of one name" in desk.refusal("in.zip", "out", Unpack())


def test_an_archive_does_not_replace_itself(desk: Desk) -> None:
    desk.put("uploads/in.zip", zipped(("a", b"1"), ("in.zip", b"2")))
    assert "replace the archive" in desk.refusal("uploads/in.zip", "uploads", Unpack())


def test_an_encrypted_archive_fails(desk: Desk) -> None:
    data = bytearray(zipped(("a", b"secret")))
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    desk.put("in.zip", bytes(data))
    assert "encrypted: 'a'" in desk.refusal("in.zip", "out", Unpack())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packers_that_take_much_memory_are_refused(desk: Desk, method: int) -> None:
    desk.put("in.zip", zipped(("a", b"x"), method=method))
    assert "neither stored nor deflated" in desk.refusal("in.zip", "out", Unpack())


def test_what_is_damaged_fails(desk: Desk) -> None:
    data = zipped(("a", bytes(range(256)) * 2), ("b", b"b" * 5000))
    for wrong in (b"", b"hello", data[: len(data) // 2], data[:-30], data[100:]):
        desk.put("in.zip", wrong)
        assert "the archive" in desk.refusal("in.zip", "out", Unpack())
    for position in range(31, data.index(b"PK\3\4", 4) - 1, 5):  # the last byte's last bits mean nothing
        desk.put("in.zip", data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        assert "the archive" in desk.refusal("in.zip", "out", Unpack())


def test_more_than_the_limits_fails(desk: Desk) -> None:
    desk.put("in.zip", zipped(*((str(n), b"x" * 1000) for n in range(20))))
    assert "20 entries, more than 19" in desk.refusal("in.zip", "out", Unpack(), limits=Limits(entries=19))
    assert "more than 19,999 bytes" in desk.refusal("in.zip", "out", Unpack(), limits=Limits(unpacked=19_999))
    desk.process("in.zip", "out", Unpack(), limits=Limits(entries=20, unpacked=20_000))


def test_a_directory_that_claims_to_be_huge_is_not_read(desk: Desk) -> None:
    data = zipped(*((f"{n:0200}", b"") for n in range(12_000)))
    desk.put("in.zip", data)
    assert "directory of more than" in desk.refusal("in.zip", "out", Unpack(), limits=Limits(entries=100))


def test_sizes_that_lie_do_not_help(desk: Desk) -> None:
    data = bytearray(zipped(("a", b"\0" * 50_000_000)))
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = data.index(signature) + offset
        data[place : place + 4] = struct.pack("<I", 1000)
    desk.put("in.zip", bytes(data))
    assert "damaged" in desk.refusal("in.zip", "out", Unpack())


class Failing(Storage):
    """It fails at the third file."""

    written = 0

    @contextmanager
    def writing(self, key: str) -> Iterator[StorageFile]:
        with super().writing(key) as file:
            self.written += 1
            if self.written == 3:
                raise StorageError(f"no space for {key}")
            yield file


def test_when_writing_fails_what_was_written_is_removed(desk: Desk) -> None:
    desk.put("in.zip", zipped(*((str(n), b"x") for n in range(5))))
    before = desk.files()
    processor = FileProcessor(Failing(desk.root), confined=False)
    with pytest.raises(StorageError, match="no space"):
        processor.process(job("in.zip", "out", Unpack()), job_context())
    desk.assert_clean(before)


def test_a_run_that_is_told_to_stop_deletes_nothing_that_its_successor_may_have_written(desk: Desk) -> None:
    desk.put("in.zip", zipped(*((str(n), b"x") for n in range(5))))
    context = job_context()

    class Stopping(Storage):
        @contextmanager
        def writing(self, key: str) -> Iterator[StorageFile]:
            context.cancelled = key == "out/2"
            with super().writing(key) as file:
                yield file

    with pytest.raises(JobCancelled):
        FileProcessor(Stopping(desk.root), confined=False).process(job("in.zip", "out", Unpack()), context)
    assert sorted(desk.files()) == ["in.zip", "out/0", "out/1"]


def test_the_result_of_a_long_archive_is_short(desk: Desk) -> None:
    name = '"' * 240
    desk.put("in.zip", zipped(*((f"{name}/{name}/{name}/{name}/{n}", b"") for n in range(150))))
    result = desk.process("in.zip", "out", Unpack())
    assert result.count == 150
    assert 50 < len(result.files) < 150
    assert len(msgspec.json.encode(result)) < 600_000


def test_files_are_packed_by_their_keys(desk: Desk) -> None:
    desk.put("a/1.txt", b"one" * 1000)
    desk.put("b/ü.txt", b"two")
    result = desk.process("a/1.txt", "out.zip", Pack(["b/ü.txt"]), Checksum())
    with zipfile.ZipFile(desk.root / "out.zip") as archive:
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == {
            "a/1.txt": b"one" * 1000,
            "b/ü.txt": b"two",
        }
    assert result.details[0] == {"op": "pack", "entries": 2, "bytes": 3003}
    again = desk.process("a/1.txt", "again.zip", Pack(["b/ü.txt"]))
    assert again.files[0].sha256 == result.files[0].sha256
    assert desk.process("out.zip", "back", Unpack()).count == 2


def test_packing_what_is_missing_or_too_large_fails(desk: Desk) -> None:
    desk.put("a", b"x" * 100)
    desk.put("b", b"x" * 100)
    assert "no file 'c'" in desk.refusal("a", "out.zip", Pack(["b", "c"]))
    assert "'b' is larger than 150" in desk.refusal("a", "out.zip", Pack(["b"]), limits=Limits(source=150))
