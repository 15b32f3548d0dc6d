"""examples/job_types/app.py, with its worker in the app's own event loop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

ADA = {"X-Sub-Account": "sub_123"}
EVE = {"X-Sub-Account": "sub_456"}


@pytest.fixture
async def client(load: Callable[[str], Any], redqueue_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = load("examples.job_types.app").create_app(redqueue_url, tmp_path)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app", headers=ADA) as client,
    ):
        yield client


async def outcome(client: httpx.AsyncClient, answer: httpx.Response) -> Any:
    """The status of a job that a request added, once it has ended."""
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert sorted(told) == ["checkStatusAt", "jobId", "message", "status"]
    assert told["status"] == "processing"
    async with asyncio.timeout(40):
        etag = ""
        while True:
            url = f"{told['checkStatusAt']}?wait=20"
            seen = await client.get(url, headers={"If-None-Match": etag}, timeout=30)
            if seen.status_code == 304:
                continue
            status, etag = seen.json(), seen.headers["ETag"]
            if status["status"] not in ("pending", "processing"):
                assert status["jobId"] == told["jobId"]
                return status


def photograph() -> bytes:
    file = BytesIO()
    Image.new("RGB", (800, 600), "orange").save(file, "JPEG")
    return file.getvalue()


async def test_every_job_type_is_added_by_a_request_and_run_by_the_apps_own_worker(client: httpx.AsyncClient) -> None:
    sms = {"phoneNumbers": ["030 23125-000", "nobody"], "message": "Open until 8"}
    writing = {"topic": "queues", "sections": ["why", "how", "when not"]}
    requests = {
        "sms": client.post("/sms-campaigns", json=sms),
        "email": client.post("/emails", json={"to": "Ada <ada@example.com>", "month": "June"}),
        "export": client.post("/exports", json={"filters": {"status": "won"}}),
        "thumbnail": client.post("/uploads/cat.jpg", content=photograph()),
        "text": client.post("/texts", json=writing),
        "report": client.post("/reports", json={"type": "monthly", "format": "excel", "delay": 0.2}),
        "cleanup": client.post("/cleanups", json={"daysOld": 365, "delay": 0.2}),
    }
    answers = dict(zip(requests, await asyncio.gather(*requests.values()), strict=True))
    statuses = dict(
        zip(answers, await asyncio.gather(*(outcome(client, one) for one in answers.values())), strict=True)
    )
    assert {name: status["error"] for name, status in statuses.items()} == dict.fromkeys(requests)
    assert {status["status"] for status in statuses.values()} == {"completed"}
    results = {name: status["result"] for name, status in statuses.items()}
    assert (results["sms"]["successful"], results["sms"]["failed"]) == (1, 1)
    assert (results["email"]["successful"], results["email"]["results"][0]["to"]) == (1, "ada@example.com")
    assert results["text"]["text"].count("This is what a stand-in says") == 3
    assert results["export"]["rows"] == 1_667
    assert answers["export"].json()["message"] == "Exporting the leads"

    assert [month["rows"] for month in results["report"]["series"]] == [90, 80, 90]
    assert results["cleanup"]["deleted"] == 435

    exported = await client.get(results["export"]["link"])
    assert exported.text.splitlines()[:2] == ['"id","name","status","created_at"', '1,"Lead 1","won","2026-02-01"']
    assert (await client.get("/notifications")).json() == [
        f"Your export of leads is ready: 1,667 rows. {results['export']['link']}"
    ]
    thumbnail = await client.get(results["thumbnail"]["files"][0]["link"])
    assert Image.open(BytesIO(thumbnail.content)).size == (200, 150)

    made = await client.get(results["report"]["file"]["link"])
    assert made.content.startswith(b"PK")

    theirs = [results["export"]["link"], answers["sms"].json()["checkStatusAt"]]
    assert [(await client.get(url, headers=EVE)).status_code for url in theirs] == [404, 404]


async def test_a_text_can_be_read_while_it_is_written(client: httpx.AsyncClient) -> None:
    answer = await client.post("/texts", json={"topic": "queues", "sections": ["why"]})
    url = f"/texts/{answer.json()['jobId']}"
    assert (await client.get(url, headers=EVE)).status_code == 404
    async with asyncio.timeout(20):
        *told, end, rest = (await client.get(url)).text.split("\n\n")
    assert (end, rest) == ("event: completed\ndata: ", "")
    written = (await outcome(client, answer))["result"]["text"]
    assert written.startswith("You said: Write the section 'why'")
    facts = [json.loads(one.removeprefix("data: ")) for one in told]
    assert facts
    assert [one["tail"] for one in facts] == [written[: one["length"]] for one in facts]
    assert (await client.get(url)).text == "event: completed\ndata: \n\n"


async def test_what_can_not_be_is_refused_before_a_job_is_added(client: httpx.AsyncClient) -> None:
    nobody = await client.post("/sms-campaigns", json={"phoneNumbers": [], "message": "Hi"})
    assert nobody.status_code == 422
    assert nobody.json()["detail"] == "SmsJobData: $.phoneNumbers: expected `array` of length >= 1"
    stranger = {"X-Sub-Account": "../sub_123"}
    assert (await client.post("/exports", json={}, headers=stranger)).status_code == 422
    assert (await client.post("/exports", json={"exportType": "users"})).status_code == 422
    assert (await client.post("/uploads/..%2Fcat.jpg", content=b"x")).status_code in (404, 422)
    assert (await client.get("/files/exports/sub_123/../sub_456/leads.csv")).status_code == 404
    assert (await client.get("/api/jobs/sms/stats")).status_code == 403


async def test_the_page_has_the_script_of_the_status_element(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert '<script type="module" src="/api/jobs/job-status.js"></script>' in page.text
    script = await client.get("/api/jobs/job-status.js")
    assert script.headers["Content-Type"].startswith("text/javascript")


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Ended, and not waited for by its new parent, as in a container whose first process does not.
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_folder_and_server_go_with_it(
    number: int, program: Callable[..., subprocess.Popen[str]], tmp_path: Path, until: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = program("-c", f"from examples.job_types import app; app.serve({port})")
    deadline = time.monotonic() + 40
    while True:
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
            break
        except httpx.TransportError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    (folder,) = (path.parent for path in tmp_path.glob("*/data"))
    server = int((folder / "data" / "server.pid").read_text())
    process.send_signal(number)
    said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert not folder.exists()
    until(lambda: is_there(server), lambda there: not there)
