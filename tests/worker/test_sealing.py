"""Sealed jobs in child processes: the worker opens what they get, and seals what they tell."""

from __future__ import annotations

import pytest

from redqueue import AsyncQueue, Encrypted, ServiceRegistry, Signed

from .child_jobs import registry_of_all
from .conftest import MakeWorker, Work, status_of

SECRET = b"a secret of thirty-two bytes, ok"


@pytest.fixture
def registry() -> ServiceRegistry:
    return registry_of_all()


@pytest.mark.parametrize("seal", [Signed({"k": SECRET}), Encrypted({"k": SECRET})], ids=["signed", "encrypted"])
async def test_a_child_gets_plain_data_and_what_it_tells_is_sealed(
    real_url: str, work: Work, seal: Signed, queue: AsyncQueue
) -> None:
    async with AsyncQueue("q", real_url, seal=seal, backoff=0) as sealed:
        echoed = await sealed.add("echo", {"n": 1})
        failed = await sealed.add("fail", "no", retries=0)
        restored = await sealed.add("steer", "snooze")  # its checkpoint comes back
        plain = await queue.add("echo", 2)
        await work(seal=seal, concurrency=2)
        assert await echoed.result(10) == {"n": 1}
        assert (await status_of(failed)).error == "ValueError: no"
        assert await restored.result(10) == "snooze"
        assert ((await status_of(sealed.job(plain.id))).error or "").startswith("BadSignature: ")
        assert list(await sealed.audit()) == []


async def test_a_worker_takes_its_seal_from_the_environment(
    real_url: str, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """X15: and shows nothing of it."""
    secret = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcywgb2s="
    caplog.set_level("DEBUG")
    monkeypatch.setenv("REDQUEUE_SEAL", f'{{"kind": "encrypted", "keys": {{"k": "{secret}"}}}}')
    async with AsyncQueue("q", real_url, seal=Signed({"k": SECRET})) as sealed:
        job = await sealed.add("echo", 1)
        worker = make_worker(burst=True)
        await worker.serve()
        assert await job.result(10) == 1
    assert "seal: encrypted by key k\n" in caplog.text
    shown = caplog.text + repr(worker._config)
    assert secret not in shown
    assert SECRET.decode() not in shown
