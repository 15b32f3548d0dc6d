"""A bucket: uploads that end or are aborted, links that expire, and secrets that nobody sees."""

from __future__ import annotations

import logging
import traceback
import urllib.request
from typing import TYPE_CHECKING

import fsspec
import pytest

from redqueue.errors import ConfigurationError, MissingExtra
from redqueue.processors.storage import InvalidKey, Storage, StorageError
from redqueue.processors.storage.remote import SpooledDraft

if TYPE_CHECKING:
    from .conftest import Bucket

PART = 5 * 2**20
SECRET = "canary-of-a-secret-key"


def test_a_large_file_is_one_upload_of_parts(bucket: Bucket) -> None:
    with bucket.storage().writing("big") as file:
        for _ in range(13):
            file.write(b"x" * 2**20)
        assert len(bucket.uploads()) == 1
        assert bucket.names() == []
    head = bucket.client.head_object(Bucket=bucket.name, Key="a prefix/big")
    assert head["ContentLength"] == 13 * 2**20
    assert head["ETag"].endswith('-3"')
    assert bucket.uploads() == []


def test_an_upload_that_fails_is_aborted(bucket: Bucket) -> None:
    with pytest.raises(ZeroDivisionError), bucket.storage().writing("big") as file:
        file.write(b"x" * (PART + 1))
        assert len(bucket.uploads()) == 1
        raise ZeroDivisionError
    assert bucket.uploads() == []
    assert bucket.names() == []


def test_an_upload_that_cannot_be_completed_is_aborted(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3File

    def lost(self: object) -> None:
        raise OSError("the connection is lost")

    monkeypatch.setattr(S3File, "commit", lost)
    with pytest.raises(StorageError, match="'big': OSError: the connection is lost"):  # noqa: SIM117
        with bucket.storage().writing("big") as file:
            file.write(b"x" * (PART + 1))
    assert bucket.uploads() == []
    assert bucket.names() == []


def test_nothing_is_sent_of_a_small_file_before_its_end(bucket: Bucket) -> None:
    with bucket.storage().writing("small") as file:
        file.write(b"x")
        assert bucket.uploads() == []
    assert bucket.names() == ["a prefix/small"]


def test_a_signed_link_can_be_opened(bucket: Bucket) -> None:
    storage = bucket.storage(link="sign")
    with storage.writing("a b/ü.txt") as file:
        file.write(b"hello")
    link = storage.link_for("a b/ü.txt")
    assert link is not None
    assert SECRET not in link
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert answer.read() == b"hello"


def test_another_writers_file_is_seen(bucket: Bucket) -> None:
    storage = bucket.storage()
    assert not storage.exists("a")
    bucket.client.put_object(Bucket=bucket.name, Key="a prefix/a", Body=b"x")
    assert storage.size("a") == 1
    bucket.client.delete_object(Bucket=bucket.name, Key="a prefix/a")
    assert not storage.exists("a")


def test_a_key_names_no_version(bucket: Bucket) -> None:
    with pytest.raises(InvalidKey, match="versionId"), bucket.storage().writing("a?versionId=1"):
        pass


def test_wildcards_are_letters(bucket: Bucket) -> None:
    storage = bucket.storage()
    for key in ("a1", "a*", "a?"):
        with storage.writing(key) as file:
            file.write(key.encode())
    storage.delete("a*")
    assert bucket.names() == ["a prefix/a1", "a prefix/a?"]


def test_no_text_shows_what_is_secret(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    storage = Storage("s3://no-such-bucket/x", options=bucket.options)
    shown = repr(storage)
    for operation in (storage.size, storage.link_for):
        try:
            operation("a")
        except StorageError:
            shown += traceback.format_exc()
    with pytest.raises(StorageError) as raised, storage.writing("a") as file:
        file.write(b"x")
    shown += "".join(traceback.format_exception(raised.value)) + caplog.text
    assert "no-such-bucket" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_sent_whole_is_sent_at_the_end(bucket: Bucket, fails: bool) -> None:
    import s3fs

    files = s3fs.S3FileSystem(**bucket.options)
    draft = SpooledDraft(files, f"{bucket.name}/a", "gs")
    draft.write(b"hello")
    assert bucket.names() == []
    if fails:
        draft.discard()
        assert bucket.names() == []
    else:
        draft.commit()
        assert bucket.names() == ["a"]


@pytest.mark.parametrize(
    ("url", "error", "why"),
    [("s3://bucket", MissingExtra, r"redqueue-jobs\[s3\]"), ("gs://bucket", ConfigurationError, "Install gcsfs")],
)
def test_a_package_that_is_missing_is_named(
    url: str, error: type[Exception], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(protocol: str, **options: object) -> None:
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(error, match=why):
        Storage(url).exists("a")
