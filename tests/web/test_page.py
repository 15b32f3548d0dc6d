"""job-status.js in Chromium: a page of its own server, the real app and a real worker."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from redqueue import AsyncJobQueueService, JobContext, JobQueueService, JobStatus, ServiceRegistry, Worker
from redqueue.web import Action, jobs_app

GUARD = 20.0
HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=2">'

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Jobs</title>
<script type="module" src="/page.js"></script>
<body></body></html>"""

SCRIPT = """
import * as jobs from "/api/jobs/job-status.js";
window.jobs = jobs;
window.seen = [];
window.poll = (type, id, options = {}) => {
  window.seen = [];
  window.outcome = null;
  window.abort = new AbortController();
  const onUpdate = (status) => window.seen.push(status);
  jobs.pollJobStatus(type, id, { interval: 20, signal: window.abort.signal, onUpdate, ...options }).then(
    (status) => { window.outcome = { status }; },
    (error) => { window.outcome = { error: error.name, message: error.message, code: error.status }; },
  );
};
window.heard = [];
for (const name of ["job-status-change", "job-finished", "job-status-error"]) {
  document.addEventListener(name, (event) => window.heard.push([name, event.detail.status ?? null]));
}
window.ready = true;
"""
STRICT = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"


class Site:
    """A page and the jobs below /api/jobs, on loopback; `Stage` says what the jobs do.

    Attributes:
        asked: If-None-Match of each question for a status, and how it was answered.
        failing: how many answers are to be 503.
    """

    def __init__(self, url: str) -> None:
        self.asked: list[tuple[str | None, int]] = []
        self.failing = 0
        self.service = AsyncJobQueueService(url)
        jobs = jobs_app(self.service, authorize=self.allows, prefix="/api/jobs")

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            async def note(message: Any) -> None:
                if message["type"] == "http.response.start" and scope["path"].endswith("/status"):
                    known = dict(scope["headers"]).get(b"if-none-match")
                    self.asked.append((known and known.decode(), message["status"]))
                await send(message)

            if scope["path"].endswith("/status") and self.failing:
                self.failing -= 1
                await PlainTextResponse("away", 503)(scope, receive, note)
            else:
                await jobs(scope, receive, note)

        routes = [Route("/", self.page), Route("/page.js", self.script), Mount("/api/jobs", counted)]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    async def page(self, request: Request) -> Response:
        return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": STRICT})

    async def script(self, request: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    async def allows(self, request: Request, action: Action, job_type: str, status: JobStatus | None) -> bool:
        return status is None or status.sub_account_id != "other"

    @contextmanager
    def open(self) -> Iterator[Site]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(GUARD)
            self._socket.close()


class Stage:
    """The processors of these tests: they stand still until they are let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.end = threading.Event()
        self.registry = ServiceRegistry()
        self.registry.register_processor("export", self.export)
        self.registry.register_processor("broken", self.broken)

    def export(self, data: Any, context: JobContext) -> Any:
        context.progress(0.25, data).wait(GUARD)
        assert self.go_on.wait(GUARD)
        context.progress(0.75, "nearly").wait(GUARD)
        assert self.end.wait(GUARD)
        return {"rows": 3}

    def broken(self, data: Any) -> None:
        raise ValueError(data)


class Browser:
    """Chromium, as a test speaks to it."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome

    def run(self, script: str, *values: Any) -> Any:
        return self.chrome.execute_script(script, *values)

    def until(self, expression: str) -> Any:
        """What a JavaScript expression gives once it is true."""
        return WebDriverWait(self.chrome, GUARD, 0.01).until(
            lambda chrome: chrome.execute_script(f"return {expression}"), f"waited for {expression}"
        )

    def open(self, url: str) -> None:
        self.chrome.get(url)
        self.until("window.ready")

    def show(self, **attributes: str) -> None:
        """Put one element into the page, with data-* for what is not an attribute's name."""
        self.run(
            """window.element = document.createElement("job-status");
            for (const [name, value] of Object.entries(arguments[0])) element.setAttribute(name, value);
            document.body.replaceChildren(element);""",
            {name.replace("_", "-"): value for name, value in attributes.items()},
        )

    def part(self, name: str) -> str:
        return str(self.run(f"return element.shadowRoot.querySelector('[part={name}]').textContent"))

    def bar(self, attribute: str) -> Any:
        return self.run(f"return element.shadowRoot.querySelector('[part=bar]').getAttribute('{attribute}')")

    @property
    def complaints(self) -> list[str]:
        """What the console says of scripts and policies."""
        chrome: Any = self.chrome
        return [entry["message"] for entry in chrome.get_log("browser") if "status of" not in entry["message"]]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """One browser for all tests; where CI is set, it must be there."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver are missing: apt-get install chromium chromium-driver")
        pytest.skip("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = program
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=800,600"):
            options.add_argument(f"--{word}")
        for word in ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run"):
            options.add_argument(f"--{word}")
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        with Chrome(options, Service(driver)) as chrome:
            chrome.set_script_timeout(GUARD)
            yield chrome


@pytest.fixture
def site(real_url: str) -> Iterator[Site]:
    with Site(real_url).open() as site:
        yield site


@pytest.fixture
def browser(chrome: Chrome, site: Site) -> Iterator[Browser]:
    browser = Browser(chrome)
    assert browser.complaints is not None  # those of before are forgotten
    browser.open(site.url)
    yield browser
    assert browser.complaints == []
    assert browser.run("return window.hacked ?? null") is None
    chrome.get("about:blank")


@pytest.fixture
def jobs(real_url: str) -> Iterator[JobQueueService]:
    with JobQueueService(real_url) as service:
        yield service


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.go_on.set()
    stage.end.set()


@pytest.fixture
def working(real_url: str, stage: Stage) -> Callable[[], Any]:
    def start() -> Any:
        return Worker(["export", "broken"], real_url, registry=stage.registry, retries=0).in_thread()

    return start


@pytest.mark.parametrize("wait", [0, 20])
def test_a_job_is_followed_to_its_end(
    browser: Browser, site: Site, jobs: JobQueueService, stage: Stage, working: Callable[[], Any], wait: int
) -> None:
    job_id = jobs.add_job("export", "a quarter")
    browser.run("poll('export', ...arguments)", job_id, {"wait": wait})
    browser.until("seen.some((one) => one.status === 'pending')")
    while not wait and len(site.asked) < 4:
        time.sleep(0.005)
    with working():
        browser.until("seen.some((one) => one.progress === 0.25)")
        stage.go_on.set()
        browser.until("seen.some((one) => one.progress === 0.75)")
        assert browser.run("return outcome") is None
        stage.end.set()
        final = browser.until("outcome")["status"]
    assert (final["status"], final["result"], final["jobId"]) == ("completed", {"rows": 3}, job_id)
    seen = browser.run("return seen")
    assert seen[-1] == final
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(seen)
    asked = site.asked
    assert asked[0] == (None, 200)
    assert all(known is not None for known, _ in asked[1:])
    assert [status for _, status in asked].count(200) == len(seen)
    if wait:
        assert len(asked) <= len(seen) + 1
    else:
        assert [status for _, status in asked].count(304) > 1


def test_it_is_asked_every_five_seconds_unless_told_otherwise(browser: Browser, jobs: JobQueueService) -> None:
    job_id = jobs.add_job("export", "later")
    waits = browser.run(
        """const waits = [];
        const real = window.setTimeout;
        window.setTimeout = (run, ms) => { waits.push(ms); return real(() => {}, 0); };
        window.waits = waits;
        poll("export", arguments[0], { interval: undefined });""",
        job_id,
    )
    assert waits is None
    browser.until("waits.length === 1")
    assert browser.run("return waits") == [5000]
    browser.run("abort.abort()")
    browser.until("outcome")


def test_an_outage_is_waited_out(
    browser: Browser, site: Site, jobs: JobQueueService, stage: Stage, working: Callable[[], Any]
) -> None:
    stage.go_on.set()
    stage.end.set()
    site.failing = 2
    job_id = jobs.add_job("export", "x")
    browser.run(
        """let tries = 0;
        const flaky = (...asked) => tries++ === 1 ? Promise.reject(new TypeError("no network")) : fetch(...asked);
        poll("export", arguments[0], { fetch: flaky });""",
        job_id,
    )
    with working():
        assert browser.until("outcome")["status"]["status"] == "completed"
    assert [status for _, status in site.asked][:3] == [503, 503, 200]


def test_a_refusal_ends_the_polling(browser: Browser, jobs: JobQueueService) -> None:
    jobs.add_job("export", {"subAccountId": "other"}, job_id="theirs")
    for job_id in ("nobody", "theirs"):
        browser.run("poll('export', ...arguments)", job_id)
        assert browser.until("outcome") == {
            "error": "JobStatusError",
            "message": "never added, or finished and no longer kept",
            "code": 404,
        }
    browser.run("poll('-x/..', 'a b?c#d')")
    assert browser.until("outcome")["code"] in (404, 422)
    browser.run("poll('export', 'x', { baseUrl: '/nothing/' })")
    assert browser.until("outcome")["code"] == 404
    browser.run(
        """const page = () => new Response("<html>", { headers: [["Content-Type", "text/html"]] });
        poll("export", "x", { fetch: async () => page() });"""
    )
    assert browser.until("outcome")["code"] == 200


def test_the_polling_can_be_ended(browser: Browser, site: Site, jobs: JobQueueService) -> None:
    job_id = jobs.add_job("export", "x")
    browser.run("poll('export', ...arguments)", job_id, {"interval": 60_000})
    browser.until("seen.length")
    browser.run("abort.abort(new DOMException('enough', 'AbortError'))")
    assert browser.until("outcome")["message"] == "enough"
    browser.run("poll('export', ...arguments)", job_id, {"wait": 60})
    browser.until("seen.length")
    browser.run("abort.abort()")
    assert browser.until("outcome")["error"] == "AbortError"
    asked = len(site.asked)
    browser.run("poll('export', arguments[0], { signal: AbortSignal.abort() })", job_id)
    assert browser.until("outcome")["error"] == "AbortError"
    assert len(site.asked) == asked


def test_an_element_shows_how_a_job_goes_on(
    browser: Browser, jobs: JobQueueService, stage: Stage, working: Callable[[], Any], tmp_path: Path
) -> None:
    before = jobs.add_job("export", "x")
    job_id = jobs.add_job("export", "a quarter")
    browser.show(type="export", job_id=job_id, interval="20")
    browser.until("element.shadowRoot.querySelector('[part=state]').textContent === 'Waiting: 1 before this one'")
    assert (browser.bar("role"), browser.bar("aria-label"), browser.bar("aria-valuenow")) == (
        "progressbar",
        "export",
        None,
    )
    jobs.queue("export").cancel(before)
    with working():
        browser.until("element.job?.progress === 0.25")
        assert (browser.part("state"), browser.part("detail")) == ("Running", "a quarter")
        assert (browser.bar("aria-valuemin"), browser.bar("aria-valuenow"), browser.bar("aria-valuemax")) == (
            "0",
            "25",
            "100",
        )
        width = "element.shadowRoot.querySelector('[part=done]').getBoundingClientRect().width"
        whole = browser.run("return element.shadowRoot.querySelector('[part=bar]').getBoundingClientRect().width")
        assert whole > 300
        browser.until(f"Math.abs({width} - {whole} / 4) < 1")
        browser.chrome.save_screenshot(str(tmp_path / "running.png"))
        stage.go_on.set()
        browser.until("element.job.progress === 0.75")
        stage.end.set()
        browser.until("element.getAttribute('status') === 'completed'")
    browser.until("heard.at(-1)[0] === 'job-finished'")
    names = [name for name, _ in browser.run("return heard")]
    assert names[-1] == "job-finished"
    assert set(names[:-1]) == {"job-status-change"}
    assert (browser.part("state"), browser.run("return element.job.result.rows")) == ("Done", 3)
    assert browser.bar("aria-valuenow") == "100"
    browser.until(f"Math.abs({width} - {whole}) < 1")
    browser.chrome.save_screenshot(str(tmp_path / "done.png"))
    assert (tmp_path / "done.png").stat().st_size > 1000


def test_hostile_text_stays_text(
    browser: Browser, jobs: JobQueueService, stage: Stage, working: Callable[[], Any]
) -> None:
    labelled = jobs.execute_task(HOSTILE, "delay", [0])
    jobs.queue("generic-task").cancel(labelled, HOSTILE)
    browser.show(type="generic-task", job_id=labelled)
    browser.until("element.getAttribute('status') === 'cancelled'")
    assert (browser.part("label"), browser.part("detail"), browser.bar("aria-label")) == (HOSTILE, HOSTILE, HOSTILE)
    with working():
        running = jobs.add_job("export", HOSTILE)
        browser.show(type="export", job_id=running, interval="20")
        browser.until("element.job?.progress === 0.25")
        assert browser.part("detail") == HOSTILE
        failed = jobs.add_job("broken", HOSTILE)
        browser.show(type="broken", job_id=failed, interval="20")
        browser.until("element.getAttribute('status') === 'failed'")
        stage.go_on.set()
        stage.end.set()
    assert browser.part("detail") == f"ValueError: {HOSTILE}"
    browser.show(type=HOSTILE, job_id=HOSTILE)
    browser.until("element.getAttribute('status') === 'error'")
    assert browser.run("return element.shadowRoot.querySelectorAll('script, img').length") == 0


def test_an_element_follows_its_attributes(browser: Browser, site: Site, jobs: JobQueueService) -> None:
    first, second = jobs.add_job("export", 1), jobs.add_job("export", 2)
    browser.show(type="export", job_id="nobody", interval="20")
    browser.until("element.getAttribute('status') === 'error'")
    assert browser.part("detail") == "never added, or finished and no longer kept"
    assert browser.run("return heard") == [["job-status-error", 404]]
    browser.run("element.setAttribute('job-id', arguments[0])", first)
    browser.until(f"element.job?.jobId === '{first}'")
    browser.run("element.texts = { inLine: (n) => `Noch ${n}` }; element.setAttribute('job-id', arguments[0])", second)
    browser.until("element.shadowRoot.querySelector('[part=state]').textContent === 'Noch 1'")
    browser.run("element.remove()")
    time.sleep(0.1)
    asked = len(site.asked)
    time.sleep(0.2)
    assert len(site.asked) == asked
    browser.run("document.body.append(element)")
    browser.until("element.job !== null")
    browser.show()
    assert browser.part("state") == "Waiting"
