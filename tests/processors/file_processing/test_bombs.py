"""Files that are small and become large: they fail fast, and the child process stays small."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from redqueue import AsyncQueue, Worker
from redqueue.processors.file_processing import Limits
from redqueue.shapes import Checksum, Resize, Strip, Unpack

from .conftest import JOB_TYPE, Desk, job

MOST_RESIDENT = 300 * 2**20
SOON = 20.0
"""Seconds for one bomb, on a machine that has other things to do."""


STEP = 16


@cache
def zeros_block() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(STEP * 2**20)) + packer.flush(zlib.Z_FULL_FLUSH)


def endless_zeros(mib: int) -> bytes:
    """A raw deflate stream of so many MiB: the same block again and again, so it is made quickly."""
    return zeros_block() * (mib // STEP) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def zip_of(stream: bytes, size: int) -> bytes:
    """An archive of one entry that claims that size."""
    name, most = b"zeros", 0xFFFFFFFF
    wide = struct.pack("<HHQQ", 1, 16, size, len(stream)) if size > most else b""
    sizes = (most, most) if wide else (len(stream), size)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 8, 0, 0, 0, *sizes, len(name), len(wide)) + name + wide
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 8, 0, 0, 0, *sizes, len(name), len(wide), 0, 0, 0, 0, 0)
    directory = entry + name + wide
    start = len(local) + len(stream)
    return local + stream + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), start, 0)


def png_of(side: int, depth: int = 1) -> bytes:
    """A black PNG, grey, of that many pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, depth, 0, 0, 0, 0)
    pixels = b"\x78\x9c" + endless_zeros((side * side // 8 >> 20) + 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif_of(frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x21\xf9\4\0\x0a\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return head + frame * frames + b";"


def animation_of(frames: int, side: int) -> bytes:
    shown = [Image.new("P", (side, side), n) for n in range(frames)]
    for one in shown:
        one.putpalette(bytes(range(256)) * 3)
    out = io.BytesIO()
    shown[0].save(out, "GIF", save_all=True, append_images=shown[1:], optimize=False)
    return out.getvalue()


def child_peak() -> int:
    """The most that this worker's children ever had resident, in bytes; only Linux tells."""
    if not Path("/proc/self").exists():
        return 0
    pids = [child.pid for child in multiprocessing.active_children()]
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    found = [re.search(r"VmHWM:\s+(\d+) kB", text) for text in texts]
    return max(int(one[1]) * 1024 for one in found if one)


async def test_a_bomb_fails_fast_in_little_memory(
    desk: Desk, make_worker: Callable[..., Worker], real_url: str
) -> None:
    """X12: pictures, archives and documents."""
    zeros = endless_zeros(10 * 1024)
    assert len(zeros) < 12 * 2**20
    bombs = {
        "honest.zip": (zip_of(zeros, 10 * 2**30), "unpacks to more than 2,147,483,648 bytes"),
        "ratio.zip": (zip_of(endless_zeros(1024), 2**30), "more than 200 times its size"),
        "lying.zip": (zip_of(zeros, 100 * 2**20), "damaged"),
        "huge.png": (png_of(65_500), "more than 64,000,000 pixels"),
        "frames.gif": (gif_of(100_000), "more than 500 frames"),
        "pixels.gif": (animation_of(70, 1_000), "more than 64,000,000 pixels in its frames"),
    }
    for name, (data, _) in bombs.items():
        desk.put(name, data)
    before = desk.files()
    async with AsyncQueue(JOB_TYPE, real_url) as queue, make_worker(concurrency=1):
        warm = await queue.add(JOB_TYPE, job("frames.gif", None, Checksum()))
        await warm.result(SOON)
        for name, (_, why) in bombs.items():
            operation = Unpack() if name.endswith(".zip") else Resize(width=10)
            began = time.monotonic()
            added = await queue.add(JOB_TYPE, job(name, "out", operation), retries=2, backoff=0)
            with pytest.raises(Exception, match=why):
                await asyncio.wait_for(added.result(SOON), SOON)
            status = await added.status()
            assert status is not None and status.attempts == 1
            assert time.monotonic() - began < SOON
        assert child_peak() < MOST_RESIDENT
    desk.assert_clean(before)


def test_a_picture_of_many_pixels_within_the_limit_is_taken(desk: Desk) -> None:
    desk.put("in.png", png_of(5_000, 8))
    assert desk.process("in.png", "out.png", Strip(), Resize(width=50)).details[-1]["height"] == 50


def test_text_chunks_that_inflate_to_gigabytes_fail(desk: Desk) -> None:
    whole = png_of(8, 8)
    text = b"k\0\0" + b"\x78\x9c" + endless_zeros(1024)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    desk.put("in.png", whole[:33] + chunk + whole[33:])
    assert "can't be decoded" in desk.refusal("in.png", "out.png", Strip())


def test_entries_that_share_their_bytes_are_counted(desk: Desk) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(5 * 2**20))
        first = archive.filelist[0]
        for number in range(500):
            twin = zipfile.ZipInfo(f"{number}")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(twin, field, getattr(first, field))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    desk.put("in.zip", out.getvalue())
    assert "unpacks to more than" in desk.refusal("in.zip", "out", Unpack())


def test_folders_that_only_names_imply_are_counted(desk: Desk) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(10):
            archive.writestr("/".join([str(number), *"abcdefghi", "file"]), b"")
    desk.put("in.zip", out.getvalue())
    assert "more than 109 files and folders" in desk.refusal("in.zip", "a/b", Unpack(), limits=Limits(entries=109))
    assert not (desk.root / "a").exists()
    assert desk.process("in.zip", "a/b", Unpack(), limits=Limits(entries=110)).count == 10


def test_folders_within_each_other_have_an_end(desk: Desk) -> None:
    for depth in (32, 33):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("d/" * depth + "file", b"")
        desk.put(f"{depth}.zip", out.getvalue())
    assert desk.process("32.zip", "out", Unpack()).count == 1
    assert "more than 32 folders" in desk.refusal("33.zip", "out", Unpack())
