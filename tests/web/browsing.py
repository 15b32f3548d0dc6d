"""A page of a server of its own, the real app, and Chromium as a test speaks to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from selenium.webdriver import Chrome
from selenium.webdriver.support.wait import WebDriverWait
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from redqueue import AsyncJobQueueService, JobContext, JobStatus, ServiceRegistry
from redqueue.web import Action, jobs_app

GUARD = 20.0

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
