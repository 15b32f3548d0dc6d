"""`redqueue acl` prints rules, `redqueue scripts` loads what those without EVAL need."""

from __future__ import annotations

import re

import pytest
import redis

from redqueue.core.script import names

from .test_doctor import run


def test_four_lines_make_four_users() -> None:
    ran = run("acl", "-q", "sms", "-q", "e-mail", "--prefix", "shop")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [re.match(r"ACL SETUSER (\S+) reset on >PASSWORD ", line)[1] for line in lines] == [  # type: ignore[index]
        "redqueue-reader",
        "redqueue-producer",
        "redqueue-worker",
        "redqueue-monitor",
    ]
    assert all("~shop:{sms}:* ~shop:{e-mail}:* +" in line for line in lines)
    assert all(" +eval " in line and "+@" not in line and "waitaof" not in line for line in lines)


def test_a_role_alone_and_what_its_options_add_and_take() -> None:
    (line,) = run("acl", "producer", "--no-eval", "--fsync", "--cluster").stdout.splitlines()
    assert {"+evalsha", "+waitaof", "+cluster|slots", "~redqueue:*"} <= set(line.split())
    assert "+eval" not in line.split()
    assert "+eval" in run("acl", "worker", "--no-eval").stdout.split()


@pytest.mark.parametrize("words", [["acl", "boss"], ["acl", "-q", "a*"], ["acl", "--prefix", "a b"]], ids=" ".join)
def test_what_would_be_another_rule_is_refused(words: list[str]) -> None:
    ran = run(*words)
    assert (ran.returncode, ran.stdout) == (64, "")


def test_scripts_are_loaded(redqueue_url: str) -> None:
    with redis.Redis.from_url(redqueue_url, protocol=2) as client:
        client.script_flush()
        ran = run("scripts", "--url", redqueue_url)
        assert ran.stdout.endswith(f": {len(names())} scripts\n")
        assert client.info("memory")["number_of_cached_scripts"] == len(names())


def test_scripts_that_nobody_took_are_none_of_the_codes_of_wrong_use() -> None:
    ran = run("scripts", "--url", "redis://user:secret@127.0.0.1:1")
    assert ran.returncode == 3
    assert "can't be connected to" in ran.stderr
    assert "secret" not in ran.stderr
    assert run("scripts", "--url", "http://x").returncode == 64
