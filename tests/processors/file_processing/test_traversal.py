"""Paths outside of the root: by keys, by links, by what an archive names."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueue.shapes import Checksum, FileOperation, Pack, Strip, Unpack

from .conftest import Desk, image_bytes
from .test_archives import zipped

ELSEWHERE = (
    "../../etc/passwd",
    "../secret",
    "/etc/passwd",
    "C:\\..\\secret",
    "\\\\server\\share\\x",
    "//server/share/x",
)


@pytest.fixture
def secret(desk: Desk) -> Path:
    path = desk.root.parent / "secret"
    path.write_bytes(image_bytes("PNG"))
    return path


@pytest.mark.parametrize("key", ELSEWHERE)
def test_no_key_reads_or_writes_elsewhere(desk: Desk, secret: Path, key: str) -> None:
    """X13: a job names a key of the storage, never a path."""
    desk.put("in", image_bytes("PNG"))
    before = secret.read_bytes()
    assert repr(key) in desk.refusal(key, None, Checksum())
    assert repr(key) in desk.refusal("in", key, Strip())
    assert repr(key) in desk.refusal("in", "out.zip", Pack([key]))
    assert secret.read_bytes() == before


@pytest.mark.parametrize("operation", [Checksum(), Strip(), Pack()], ids=str)
def test_no_link_is_read(desk: Desk, secret: Path, operation: FileOperation) -> None:
    """X13: no symbolic link is followed."""
    (desk.root / "link").symlink_to(secret)
    (desk.root / "folder").symlink_to(secret.parent)
    destination = None if isinstance(operation, Checksum) else "out"
    for key in ("link", "folder/secret"):
        assert "symbolic link" in desk.refusal(key, destination, operation)


def test_no_link_is_written_through(desk: Desk, secret: Path) -> None:
    before = secret.read_bytes()
    desk.put("in", image_bytes("JPEG"))
    (desk.root / "folder").symlink_to(secret.parent)
    (desk.root / "out").symlink_to(secret)
    assert "symbolic link" in desk.refusal("in", "folder/secret", Strip())
    desk.process("in", "out", Strip())
    assert not (desk.root / "out").is_symlink()
    assert secret.read_bytes() == before


def test_an_archive_is_not_unpacked_through_a_link(desk: Desk, secret: Path) -> None:
    (desk.root / "out").mkdir()
    (desk.root / "out" / "b").symlink_to(secret.parent)
    desk.put("in.zip", zipped(("a", b"a"), ("b/secret", b"overwritten")))
    before = secret.read_bytes()
    assert "symbolic link" in desk.refusal("in.zip", "out", Unpack())
    assert secret.read_bytes() == before
    assert not (desk.root / "out" / "a").exists()
