"""A storage of each kind, empty: a folder, memory, and a bucket of a server that speaks S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from redqueue.processors.storage import Storage

SECRET = "canary-of-a-secret-key"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a server that speaks S3."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        yield Bucket(s3_server)


class Bucket:
    """A bucket as its owner sees it, without s3fs."""

    def __init__(self, url: str) -> None:
        self.name = f"bucket-{uuid4().hex}"
        self.options = {
            "key": "ada",
            "secret": SECRET,
            "endpoint_url": url,
            "client_kwargs": {"region_name": "us-east-1"},
            "default_block_size": 5 * 2**20,
        }
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="ada", aws_secret_access_key=SECRET
        )
        self.client.create_bucket(Bucket=self.name)

    def storage(self, link: str | None = None) -> Storage:
        return Storage(f"s3://{self.name}/a prefix", options=self.options, link=link)

    def names(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def uploads(self) -> list[object]:
        """Multipart uploads that neither ended nor were aborted."""
        found: list[object] = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return found


@pytest.fixture(params=["file", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """One of each kind."""
    if request.param == "file":
        return Storage(f"file://{tmp_path}/root of files")
    if request.param == "memory":
        return Storage(f"memory://{uuid4().hex}")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.storage()
