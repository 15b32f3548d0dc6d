"""`pollJobStatus` in Chromium: a page of its own server, the real app and a real worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.web.browsing import Browser, Site, Stage

from redqueue import JobQueueService


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


@pytest.mark.parametrize("wait", [0, 20])
def test_a_job_that_was_seen_and_is_not_kept_was_not_never_added(
    browser: Browser, jobs: JobQueueService, wait: int
) -> None:
    job_id = jobs.add_job("export", "x")
    browser.run("poll('export', ...arguments)", job_id, {"wait": wait})
    browser.until("seen.length")
    jobs.queue("export").remove(job_id)
    gone = {"error": "JobStatusError", "message": "finished and no longer kept", "code": 404}
    assert browser.until("outcome") == gone


WITHOUT_TIME = """const real = window.setTimeout;
window.waits = [];
window.setTimeout = (run, ms) => { waits.push(ms); return real(run, 0); };
window.pending = (etag) => new Response('{"status": "pending"}', {
  headers: [["Content-Type", "application/json"], ...(etag ? [["ETag", etag]] : [])],
});
"""


def test_a_server_whose_etag_can_not_be_read_is_asked_at_the_interval(browser: Browser) -> None:
    browser.run(
        WITHOUT_TIME + "window.asked = []; const bare = async (url) => { asked.push(url.search); return pending(); };"
        "poll('export', 'x', { fetch: bare, wait: 20, interval: 7000 });"
    )
    browser.until("waits.length > 2")
    browser.run("abort.abort()")
    assert browser.run("return [...new Set(waits)]") == [7000]
    assert browser.run("return [...new Set(asked)]") == [""]
    assert browser.run("return seen.length") == 1


def test_an_interval_that_is_none_is_five_seconds(browser: Browser) -> None:
    browser.run(
        WITHOUT_TIME
        + """window.fetch = async () => pending('"x"');
        window.firsts = [];
        (async () => {
          for (const interval of [0, -1, NaN, "x", 1e10, Infinity]) {
            waits.length = 0;
            poll("export", "x", { interval });
            while (waits.length === 0) await new Promise((resolve) => real(resolve, 1));
            firsts.push(waits[0]);
            abort.abort();
          }
          window.done = true;
        })();"""
    )
    browser.until("window.done")
    assert browser.run("return firsts") == [5000, 5000, 5000, 5000, 2**31 - 1, 2**31 - 1]
    browser.run("waits.length = 0")
    browser.show(type="export", job_id="x", interval="-1")
    browser.until("waits.length")
    browser.run("element.setAttribute('interval', '1e10')")
    browser.until("waits.includes(2 ** 31 - 1)")
    browser.run("element.remove()")
    assert browser.run("return [...new Set(waits)]") == [5000, 2**31 - 1]


def test_an_outage_is_not_asked_away(browser: Browser) -> None:
    browser.run(
        WITHOUT_TIME
        + """const away = async () => { throw new TypeError("no network"); };
        poll("export", "x", { fetch: away, interval: 1 });"""
    )
    browser.until("waits.length > 5")
    browser.run("abort.abort()")
    assert browser.run("return waits.every((wait, n) => wait >= 125 * 2 ** Math.min(n, 5))")


def test_the_polling_can_be_ended(browser: Browser, jobs: JobQueueService) -> None:
    job_id = jobs.add_job("export", "x")
    browser.run("poll('export', ...arguments)", job_id, {"interval": 60_000})
    browser.until("seen.length")
    browser.run("abort.abort(new DOMException('enough', 'AbortError'))")
    assert browser.until("outcome")["message"] == "enough"
    browser.run("poll('export', ...arguments)", job_id, {"wait": 60})
    browser.until("seen.length")
    browser.run("abort.abort()")
    assert browser.until("outcome")["error"] == "AbortError"
    browser.run(
        """window.late = 0;
        const fetch = async () => { late++; throw new TypeError("no network"); };
        poll("export", arguments[0], { fetch, signal: AbortSignal.abort() });""",
        job_id,
    )
    assert browser.until("outcome")["error"] == "AbortError"
    assert browser.run("return late") == 0
