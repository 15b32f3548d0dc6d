"""`<job-status>` in Chromium: a page of its own server, the real app and a real worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.browsing import Browser, Site, Stage

from redqueue import JobQueueService

HOSTILE = '<script>window.hacked=1</script><img src=x onerror="window.hacked=2">'


def test_an_aborted_polling_says_no_more(browser: Browser, jobs: JobQueueService) -> None:
    first, second = jobs.add_job("export", 1), jobs.add_job("export", 2)
    jobs.queue("export").cancel(first)
    browser.run(
        """document.addEventListener("job-status-change", (event) => {
          if (event.detail.jobId === arguments[0]) element.setAttribute("job-id", arguments[1]);
        });""",
        first,
        second,
    )
    browser.show(type="export", job_id=first)
    browser.until(f"element.job?.jobId === '{second}'")
    assert browser.run("return heard") == [["job-status-change", "cancelled"], ["job-status-change", "pending"]]
    browser.run(
        """const abort = new AbortController();
        window.late = [];
        const fetch = async () => { abort.abort(); return new Response('{"status": "completed"}', {
          headers: [["Content-Type", "application/json"]] }); };
        jobs.pollJobStatus("export", "x", { fetch, signal: abort.signal, onUpdate: () => late.push("update") })
          .then(() => late.push("done"), (error) => late.push(error.name));"""
    )
    browser.until("late.length")
    assert browser.run("return late") == ["AbortError"]


def test_an_element_that_was_removed_says_no_more(browser: Browser, jobs: JobQueueService) -> None:
    job_id = jobs.add_job("export", 1)
    jobs.queue("export").cancel(job_id)
    browser.run(
        """window.told = [];
        const element = document.createElement("job-status");
        element.setAttribute("type", "export");
        element.setAttribute("job-id", arguments[0]);
        element.addEventListener("job-status-change", () => { told.push("change"); element.remove(); });
        element.addEventListener("job-finished", () => told.push("finished"));
        document.body.append(element);""",
        job_id,
    )
    browser.until("told.length")
    assert browser.run("return new Promise((resolve) => setTimeout(() => resolve(told), 20))") == ["change"]


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
    """X24: in a browser."""
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
