"""What is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from redqueue.errors import Discard, InvalidArguments
from redqueue.processors.file_processing import FileProcessor
from redqueue.processors.file_processing.plan import check_plan
from redqueue.processors.storage import Storage
from redqueue.registry import ServiceRegistry
from redqueue.shapes import (
    Checksum,
    Convert,
    Crop,
    FileOperation,
    FileProcessingJobData,
    Frame,
    Orient,
    Pack,
    Probe,
    Resize,
    Strip,
    Text,
    Thumbnail,
    Transcode,
    Unpack,
)

from .conftest import job

ALL: list[FileOperation] = [
    Resize(width=1),
    Thumbnail(1, 1),
    Crop(0, 0, 1, 1),
    Convert("png"),
    Strip(),
    Orient(),
    Unpack(),
    Pack(),
    Checksum(),
    Text(),
    Probe(),
    Frame(),
    Transcode("mp4"),
]


@pytest.mark.parametrize(
    "operations",
    [
        [Orient(), Resize(width=10), Strip(), Convert("webp", quality=80), Checksum()],
        [Frame(3.5), Thumbnail(10, 10), Crop(0, 0, 5, 5)],
        [Probe(), Checksum("md5"), Transcode("mp4"), Probe()],
        [Checksum(), Unpack()],
        [Pack(["b", "c"]), Checksum()],
        [Text()],
    ],
    ids=str,
)
def test_operations_that_follow_each_other_are_taken(operations: list[FileOperation]) -> None:
    check_plan(job("a", "z", *operations))


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ([Unpack(), Checksum()], "checksum can't follow unpack"),
        ([Resize(width=1), Transcode("mp4")], "put it first"),
        ([Transcode("mp4"), Resize(width=1)], "resize works on images"),
        ([Text(), Text()], "put it first"),
        ([Frame(), Unpack()], "put it first"),
        ([Pack(["b", "b"])], "named twice"),
        ([Pack(["a"])], "named twice"),
        ([Pack(["z"])], "destination is also a source"),
        ([Pack(["../b"])], "'../b'"),
        ([Checksum()], "only tell"),
    ],
    ids=str,
)
def test_operations_that_do_not_are_refused(operations: list[FileOperation], why: str) -> None:
    with pytest.raises(Discard, match=why):
        check_plan(job("a", "z", *operations))


@pytest.mark.parametrize(
    ("source", "destination", "why"),
    [
        ("../../etc/passwd", "z", "'..'"),
        ("/etc/passwd", "z", "absolute"),
        ("a", "../../z", "'..'"),
        ("a", "C:\\..\\z", "backslash"),
        ("\\\\server\\share", "z", "backslash"),
        ("//server/share", "z", "absolute"),
        ("a", "a", "also a source"),
        ("cafe\u0301", "café", "also a source"),
        ("a", None, "no destination"),
        ("a\0", "z", "control"),
    ],
)
def test_keys_that_will_not_do_are_refused(source: str, destination: str | None, why: str) -> None:
    with pytest.raises(Discard, match=why):
        check_plan(job(source, destination, Strip()))


@pytest.mark.parametrize("operation", ALL, ids=lambda one: type(one).__name__)
def test_each_operation_is_named_on_the_wire(operation: FileOperation) -> None:
    text = msgspec.json.encode(job("a", "z", operation))
    assert msgspec.json.decode(text)["operations"][0]["op"] == type(operation).__name__.lower()
    assert msgspec.json.decode(text, type=FileProcessingJobData).operations == [operation]


def test_a_mapping_will_do_in_either_spelling(tmp_path: Path) -> None:
    registry = ServiceRegistry()
    registry.register_processor("file-processing", FileProcessor(Storage(tmp_path)), execution="process")
    registry.check()
    binding = registry.processor_binding("file-processing")
    for name in ("subAccountId", "sub_account_id"):
        data = {name: "acme", "source": "a", "operations": [{"op": "thumbnail", "width": 5, "height": 6}]}
        (decoded,) = binding.prepare(msgspec.json.encode(data)).args[:1]
        assert decoded.operations == [Thumbnail(5, 6)]
    for operation in (
        {"op": "thumbnail", "width": 5, "height": 6, "depth": 7},
        {"op": "format"},
        {"op": "resize", "width": 0},
    ):
        with pytest.raises(InvalidArguments, match=r"operations"):
            binding.prepare(msgspec.json.encode({"subAccountId": "acme", "source": "a", "operations": [operation]}))
