"""`redqueue doctor`, as a shell and a monitoring see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from redqueue import Queue
from redqueue.cli.__main__ import WRONG_USE

HIDE_CLICK = """
import sys
sys.modules["click"] = None
from redqueue.cli.__main__ import main
sys.exit(main())
"""


def run(*words: str, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    start = ["-m", "redqueue.cli"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, "-W", "error", *start, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def test_what_is_wrong_comes_last_and_the_exit_code_says_how_bad_it_is(redqueue_url: str) -> None:
    with Queue("sms", redqueue_url) as queue:
        queue.add("t")
        ran = run("doctor", "--url", redqueue_url, "--all")
        assert ran.returncode == 1, ran.stdout + ran.stderr
        lines = ran.stdout.splitlines()
        order = [line.split()[0] for line in lines if not line.startswith(" ")][:-1]
        assert order == sorted(order, key=["ok", "hint", "warning", "error"].index)
        assert any("no worker was seen" in line for line in lines)
        assert "-> start a worker for this queue" in ran.stdout
        short = run("doctor", REDQUEUE_URL=redqueue_url)
        assert not any(line.startswith("ok") for line in short.stdout.splitlines())
        queue.drain()


def test_json_is_one_object(redqueue_url: str) -> None:
    ran = run("doctor", "--json", "--no-audit", "--url", redqueue_url)
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["exit_code"] == ran.returncode
    assert set(told) == {"level", "reached", "exit_code", "findings"}
    assert set(told["findings"][0]) == {"level", "check", "where", "says", "do", "denied"}


def test_a_server_that_is_not_there_is_3_and_shows_no_password() -> None:
    ran = run("doctor", "--url", "redis://user:secret@127.0.0.1:1")
    assert ran.returncode == 3
    assert "can't be connected to" in ran.stdout
    assert "secret" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["doctor", "--nope"], "No such option"),
        (["doctor", "-q", "a b"], "a queue name is"),
        (["doctor", "--url", "http://x"], "a Redis URL begins with"),
        (["nurse"], "No such command"),
    ],
    ids=["option", "queue", "url", "command"],
)
def test_wrong_use_is_none_of_the_codes_that_tell_of_a_server(words: list[str], says: str) -> None:
    ran = run(*words)
    assert ran.returncode == WRONG_USE
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    ran = run("doctor", code=HIDE_CLICK)
    assert (ran.returncode, ran.stdout) == (WRONG_USE, "")
    assert ran.stderr == "the command redqueue needs the extra 'cli': pip install 'redqueue-jobs[cli]'\n"
