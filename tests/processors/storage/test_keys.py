from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.processors.storage import InvalidKey, Storage, check_key

BAD = (
    "",
    "/",
    "/etc/passwd",
    "../../etc/passwd",
    "a/../b",
    "a/..",
    "..",
    ".",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    "C:\\..\\x",
    "C:/windows",
    "c:x",
    "\\\\server\\share\\x",
    "//server/share/x",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x85b",
    "a\u2028b",
    "invoice\u202egpj.exe",
    "a\ud800b",
    ".redqueue-0123.part",
    "a/.redqueue-x",
    "a" * 256,
    "é" * 128,
    "a/" * 512 + "a",
)


@pytest.mark.parametrize("key", BAD, ids=ascii)
def test_a_key_that_could_leave_the_root_or_deceive_is_refused(key: str) -> None:
    with pytest.raises(InvalidKey) as raised:
        check_key(key)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    "key", ["a", "a/b.png", "...", ".hidden", "a b/ü+%.txt", "~/x", "*?[1]", "日本/写真.jpg", "a" * 255]
)
def test_a_plain_relative_path_is_a_key(key: str) -> None:
    assert check_key(key) == key


def test_two_ways_to_write_a_letter_are_one_key() -> None:
    assert check_key("cafe\u0301.txt") == "café.txt"


@given(st.text(alphabet=st.characters() | st.sampled_from("./\\:ac\0é\u0301"), max_size=40))
def test_any_key_is_refused_or_stays_below_whatever_it_is_joined_to(key: str) -> None:
    """X13: any text."""
    try:
        key = check_key(key)
    except InvalidKey:
        return
    assert os.path.normpath(f"/root/{key}") == f"/root/{key}"
    assert ".." not in PurePosixPath(key).parts
    assert not PureWindowsPath(key).is_absolute()
    assert ".." not in PureWindowsPath(key).parts


@pytest.mark.parametrize("key", BAD, ids=ascii)
def test_no_operation_takes_a_bad_key(key: str) -> None:
    storage = Storage("memory://bad-keys", link="https://files.example.com/{key}")
    for operation in (storage.exists, storage.size, storage.delete, storage.link_for):
        with pytest.raises(InvalidKey):
            operation(key)
    with pytest.raises(InvalidKey), storage.writing(key):
        raise AssertionError("it was entered")
    with pytest.raises(InvalidKey), storage.reading(key):
        raise AssertionError("it was entered")
