from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from redqueue import Queue
from redqueue.client.urls import SCHEMES, parse
from redqueue.errors import ConfigurationError
from redqueue.settings import SCHEMES as SETTINGS_SCHEMES
from redqueue.settings import masked

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", {"kind": "tcp", "hosts": (("localhost", 6379),), "db": 0, "tls": False}),
        ("redis://", {"hosts": (("localhost", 6379),)}),
        ("REDIS://h:7000/3", {"hosts": (("h", 7000),), "db": 3}),
        ("redis://h/?db=4", {"db": 4}),
        ("redis://[::1]:7000/1", {"hosts": (("::1", 7000),), "db": 1}),
        ("redis://me:p%40ss@h", {"username": "me", "password": "p@ss"}),
        ("redis://:pw@h", {"username": None, "password": "pw"}),
        ("rediss://h", {"kind": "tcp", "tls": True}),
        ("unix:///tmp/a%20b.sock?db=2", {"kind": "unix", "path": "/tmp/a b.sock", "db": 2}),
        ("unix://me:pw@/tmp/s", {"path": "/tmp/s", "username": "me", "password": "pw"}),
        ("unix:///tmp/s?password=pw", {"password": "pw"}),
        (
            "redis+sentinel://me:pw@a,b:7/main/2",
            {"kind": "sentinel", "hosts": (("a", 26379), ("b", 7)), "service": "main", "db": 2, "password": "pw"},
        ),
        ("rediss+sentinel://a/main", {"kind": "sentinel", "tls": True, "db": 0}),
        ("redis+cluster://a:1,[::2]:3", {"kind": "cluster", "hosts": (("a", 1), ("::2", 3))}),
        ("rediss+cluster://a/0", {"kind": "cluster", "tls": True, "db": 0}),
        ("embedded://", {"kind": "embedded", "path": ""}),
        ("embedded:///var/jobs", {"kind": "embedded", "path": "/var/jobs"}),
        ("embedded://data/jobs", {"path": "data/jobs"}),
    ],
)
def test_what_a_url_says(url: str, expected: dict[str, Any]) -> None:
    location = parse(url)
    assert {name: getattr(location, name) for name in expected} == expected


def test_options_are_read_with_their_types() -> None:
    location = parse("rediss://h?socket_timeout=2.5&socket_keepalive=no&max_connections=7&ssl_cert_reqs=CERT_NONE")
    assert location.options == {
        "socket_timeout": 2.5,
        "socket_keepalive": False,
        "max_connections": 7,
        "ssl_cert_reqs": "none",
    }


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_cannot_be_read_is_named(option: str, tmp_path: Path) -> None:
    """Also when the URL is that of a queue: nothing is connected to."""
    missing = tmp_path / "nowhere.pem"
    with pytest.raises(ConfigurationError, match=f"option {option}: the file {missing} can't be read: No such file"):
        Queue("q", f"rediss://h?{option}={missing}")
    missing.write_text("")
    assert parse(f"rediss://h?{option}={missing}").options == {option: str(missing)}


def test_a_folder_of_authorities_must_be_there(tmp_path: Path) -> None:
    assert parse(f"rediss://h?ssl_ca_path={tmp_path}").options == {"ssl_ca_path": str(tmp_path)}
    with pytest.raises(ConfigurationError, match="option ssl_ca_path: there is no folder"):
        parse(f"rediss://h?ssl_ca_path={tmp_path / 'nowhere'}")


def test_sentinels_have_credentials_of_their_own() -> None:
    location = parse("redis+sentinel://:pw@a/main?sentinel_password=other&socket_timeout=3")
    assert location.sentinel_options == {"password": "other"}
    assert location.options == {"socket_timeout": 3.0}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", "redis+sentinel://"),
        ("localhost:6379", "begins with one of"),
        ("redis://a,b", "redis+cluster://"),
        ("redis://h:0", "port"),
        ("redis://h:99999", "port"),
        ("redis://h/x", "database"),
        ("redis://h y", "form"),
        ("redis+sentinel://a", "service"),
        ("redis+sentinel:///main", "form"),
        ("redis+cluster://", "form"),
        ("redis+cluster://a/1", "database 0"),
        ("unix://tmp/s", "three slashes"),
        ("unix://", "three slashes"),
        ("embedded://x?db=1", "no options"),
        ("redis://h?socket_timeout=0", "socket_timeout"),
        ("redis://h?socket_timeout=nan", "socket_timeout"),
        ("redis://h?socket_timeout=inf", "socket_timeout"),
        ("redis://h?max_connections=0", "max_connections"),
        ("redis://h?socket_keepalive=maybe", "true or false"),
        ("redis://h?decode_responses=true", "unknown option 'decode_responses'"),
        ("redis://h?ssl_cert_reqs=none", "unknown option 'ssl_cert_reqs'"),
        ("rediss://h?ssl_cert_reqs=never", "ssl_cert_reqs"),
    ],
)
def test_what_cannot_work_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)redis") as refused:
        parse(url)
    assert said in str(refused.value)


def test_an_unknown_scheme_is_told_all_known_ones() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse("amqp://h")
    assert all(f"{scheme}://" in str(refused.value) for scheme in SCHEMES)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{SECRET}@h:1/2",
        f"redis://:{SECRET}@h/nonsense",
        f"redis://me:{SECRET}/with?odd#marks@h:1",
        f"redis://me:a@{SECRET}@h:x",
        f"me:{SECRET}@h:1",
        f"http://me:{SECRET}@h",
        f"unix:///tmp/s?password={SECRET}",
        f"unix://me@/tmp/s?Password=a@{SECRET}&nope=1",
        f"redis+sentinel://a/main?sentinel_password={SECRET}&x=1",
        f"redis://h?socket_timeout=0&password={SECRET}",
    ],
)
def test_no_password_is_ever_shown(url: str) -> None:
    """X15: not in errors, not in repr."""
    assert SECRET not in masked(url)
    try:
        location = parse(url)
    except ConfigurationError as error:
        assert SECRET not in f"{error!r} {error.__cause__!r}"
    else:
        assert SECRET not in f"{location} {location!r}"


def test_masking_leaves_the_rest_as_it_is() -> None:
    assert masked("redis://h:1/2") == "redis://h:1/2"
    assert masked("redis://me:pw@h:1/2") == "redis://***@h:1/2"
    assert masked("unix:///tmp/s?password=pw&db=1") == "unix:///tmp/s?password=***&db=1"


def test_handles_of_one_url_are_equal() -> None:
    assert parse("redis://h?socket_timeout=3") == parse("redis://h?socket_timeout=3")
    assert parse("redis://h") != parse("redis://h/1")


def test_the_environment_may_name_every_scheme() -> None:
    assert set(SETTINGS_SCHEMES) == set(SCHEMES)


@pytest.mark.parametrize("url", ["redis://h:1", f"redis://me:{SECRET}@h:1/2?socket_timeout=3", "unix:///tmp/a#2s"])
def test_a_place_that_waits_less_is_shown_by_its_own_url(url: str) -> None:
    """It has a pool of its own, and nobody who reads a log needs to know by which name."""
    place = parse(url)
    shorter = place.with_timeout(2)
    assert str(shorter) == str(shorter.with_timeout(1)) == str(place)
    assert len({place.url, shorter.url, place.with_timeout(1).url}) == 3
    assert shorter.with_timeout(1).options["socket_timeout"] == 1
    assert SECRET not in f"{shorter} {shorter!r}"
