"""The environment's settings: order, empties, passwords that stay hidden, errors that name the variable."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue import settings
from redqueue.errors import ConfigurationError, InvalidOption
from redqueue.rules import Keep
from redqueue.seals import described
from redqueue.settings import NUMBER_VARIABLES, PART_VARIABLES, URL_VARIABLES, Settings, masked
from redqueue.units import shown

SECRET = "s3cret"
PAIRS = [(setting, *names) for setting, (names, _, _) in NUMBER_VARIABLES.items()]


@pytest.fixture(autouse=True)
def fresh_warnings() -> Iterator[None]:
    settings._warn_of_host.cache_clear()
    yield
    settings._warn_of_host.cache_clear()


def refuse(environ: dict[str, str], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match) as caught:
        Settings.from_env(environ)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_without_variables_the_defaults_hold() -> None:
    assert Settings.from_env({}) == Settings() == Settings("redis://localhost:6379/0", 10, 50, 3, 10)


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*URL_VARIABLES, *PART_VARIABLES, *(name for pair in PAIRS for name in pair[1:])):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QUEUE_DEFAULT_RETRIES", "7")
    assert Settings.from_env() == Settings(retries=7)


@pytest.mark.parametrize(("setting", "own", "general"), PAIRS)
def test_the_own_variable_wins_over_the_general_one(setting: str, own: str, general: str) -> None:
    assert getattr(Settings.from_env({general: "7"}), setting) == 7
    assert getattr(Settings.from_env({general: "7", own: "8"}), setting) == 8
    assert getattr(Settings.from_env({general: "7", own: ""}), setting) == 7


def test_an_own_variable_hides_a_bad_general_one() -> None:
    assert Settings.from_env({"QUEUE_DEFAULT_RETRIES": "many", "REDQUEUE_RETRIES": "1"}).retries == 1


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_what_is_blank_counts_as_unset(blank: str) -> None:
    names = (*URL_VARIABLES, *PART_VARIABLES, *(name for pair in PAIRS for name in pair[1:]))
    assert Settings.from_env(dict.fromkeys(names, blank)) == Settings()


def test_blanks_around_a_value_are_forgiven() -> None:
    assert Settings.from_env({"REDIS_HOST": " redis ", "QUEUE_DEFAULT_RETRIES": "5\n"}).retries == 5


@pytest.mark.parametrize(("setting", "own", "general"), PAIRS)
@pytest.mark.parametrize("text", ["-1", "1.0", "1e3", "ten", "1_000", "٣", "+1", "0x10", "nan", "true", "9" * 5000])
def test_a_bad_number_names_its_variable_its_value_and_what_is_expected(
    setting: str, own: str, general: str, text: str
) -> None:
    for name in (own, general):
        refuse({name: text}, rf"^{name} must be a whole number from [01] to [\d,]+, not '")


def test_no_concurrency_is_refused() -> None:
    refuse({"QUEUE_MAX_CONCURRENCY": "0"}, r"^QUEUE_MAX_CONCURRENCY must be a whole number from 1 to 10,000, not '0'$")


def test_urls_win_in_their_order() -> None:
    environ = {"REDIS_URL": "redis://b/1", "REDIS_HOST": "b"}
    assert Settings.from_env(environ).url == "redis://b/1"
    assert Settings.from_env({**environ, "REDQUEUE_URL": "rediss://a:7/2"}).url == "rediss://a:7/2"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        ({"REDIS_PORT": "7000"}, "redis://localhost:7000/0"),
        ({"REDIS_DB": "3"}, "redis://localhost:6379/3"),
        ({"REDIS_PASSWORD": "p@ss/w:rd"}, "redis://:p%40ss%2Fw%3Ard@localhost:6379/0"),
        ({"REDIS_PASSWORD": " p "}, "redis://:%20p%20@localhost:6379/0"),
        ({"REDIS_USERNAME": "u@x", "REDIS_PASSWORD": "p"}, "redis://u%40x:p@localhost:6379/0"),
        ({"REDIS_USERNAME": "app"}, "redis://app@localhost:6379/0"),
        ({"REDIS_HOST": "::1", "REDIS_TLS": "1"}, "rediss://[::1]:6379/0"),
        ({"REDIS_HOST": "[fe80::1]"}, "redis://[fe80::1]:6379/0"),
        ({"REDIS_TLS": "no"}, "redis://localhost:6379/0"),
    ],
)
def test_a_url_is_joined_from_its_parts(environ: dict[str, str], url: str) -> None:
    assert Settings.from_env(environ).url == url


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_user_and_password_survive_the_url(user: str, password: str) -> None:
    if not user.strip() or not password.strip() or any("\ud800" <= c <= "\udfff" for c in user + password):
        return
    url = urlsplit(Settings.from_env({"REDIS_USERNAME": user, "REDIS_PASSWORD": password}).url)
    assert (url.hostname, url.port) == ("localhost", 6379)
    assert unquote(url.username or "") == user.strip()
    assert unquote(url.password or "") == password


@pytest.mark.parametrize(("text", "scheme"), [("1", "rediss"), ("TRUE", "rediss"), ("Yes", "rediss"), ("on", "rediss")])
def test_tls_may_be_said_in_several_words(text: str, scheme: str) -> None:
    assert urlsplit(Settings.from_env({"REDIS_TLS": text}).url).scheme == scheme
    for off in ("0", "False", "no", "OFF"):
        assert urlsplit(Settings.from_env({"REDIS_TLS": off}).url).scheme == "redis"


@pytest.mark.parametrize(
    ("environ", "match"),
    [
        ({"REDIS_TLS": "maybe"}, "^REDIS_TLS must be true or false .* not 'maybe'$"),
        ({"REDIS_PORT": "0"}, "^REDIS_PORT must be a whole number from 1 to 65,535, not '0'$"),
        ({"REDIS_PORT": "65536"}, "^REDIS_PORT must be"),
        ({"REDIS_PORT": "tcp://10.0.0.1:6379"}, "^REDIS_PORT must be"),
        ({"REDIS_DB": "-1"}, "^REDIS_DB must be"),
        ({"REDIS_HOST": "redis:6379"}, "^REDIS_HOST must be a host name .* not 'redis:6379'"),
        ({"REDIS_HOST": f"redis://u:{SECRET}@redis"}, r"^REDIS_HOST must be .*redis://\*\*\*@redis"),
        ({"REDIS_HOST": f"u:{SECRET}@redis"}, "^REDIS_HOST must be .*hidden"),
        ({"REDIS_HOST": "/run/redis.sock"}, "^REDIS_HOST must be a host name .*give a URL as REDIS_URL"),
        ({"REDIS_HOST": "a,b"}, "^REDIS_HOST must be"),
        ({"REDIS_URL": "localhost:6379"}, "^REDIS_URL must begin with one of redis://.* 'localhost:6379'$"),
        ({"REDIS_URL": "http://localhost"}, "^REDIS_URL must begin with one of"),
        ({"REDQUEUE_URL": f"amqp://u:{SECRET}@h"}, r"^REDQUEUE_URL must begin .*'amqp://\*\*\*@h'$"),
        ({"REDIS_URL": f"u:{SECRET}@h"}, "^REDIS_URL must begin .*hidden"),
        ({"REDIS_URL": f"redis://:{SECRET}/x@h:1"}, "^REDIS_URL must be redis://.*percent-encoded"),
        ({"REDIS_URL": f"redis://:{SECRET}@h:port/0"}, "^REDIS_URL must be redis://"),
        ({"REDIS_URL": f"redis://h:port/0?password={SECRET}"}, r"^REDIS_URL must be redis://.*password=\*\*\*"),
        ({"REDIS_URL": "redis://a b/0"}, "^REDIS_URL must be redis://"),
        ({"REDIS_PASSWORD": SECRET, "REDIS_PORT": "x"}, "^REDIS_PORT must be"),
    ],
    ids=repr,
)
def test_a_bad_place_names_its_variable_and_never_a_password(environ: dict[str, str], match: str) -> None:
    refuse(environ, match)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://localhost",
        "redis://u:p@localhost:6379/0?socket_timeout=5",
        "rediss://[::1]:6380/1",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://a:26379,b:26379/mymaster/0",
        "redis+cluster://a:7000,b:7001",
        "embedded://",
        "embedded://./data",
    ],
)
def test_every_kind_of_url_is_taken_as_it_is(url: str) -> None:
    assert Settings.from_env({"REDIS_URL": url}).url == url
    assert Settings(url).url == url


@pytest.mark.parametrize(
    ("url", "host", "warned"),
    [
        ("redis://a:1/0", "b", True),
        (f"redis://u:{SECRET}@a/0", f"u:{SECRET}@b", True),
        ("unix:///run/redis.sock", "b", True),
        ("redis://a:1/0", "A", False),
        ("redis://[::1]:1/0", "::1", False),
        ("redis+sentinel://a:1,b:2/m", "b", False),
        ("redis://a/0", " ", False),
    ],
)
def test_a_host_that_differs_from_the_url_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, url: str, host: str, warned: bool
) -> None:
    with caplog.at_level(logging.WARNING, "redqueue.settings"):
        for _ in range(2):
            assert Settings.from_env({"REDIS_URL": url, "REDIS_HOST": host}).url == url
    assert [record.name for record in caplog.records] == ["redqueue.settings"] * warned
    assert SECRET not in caplog.text
    assert ("wins over REDIS_HOST (b)" in caplog.text) is warned


def test_the_own_url_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    Settings.from_env({"REDQUEUE_URL": "redis://a", "REDIS_URL": "redis://b", "REDIS_HOST": "c"})
    assert not caplog.records


@pytest.mark.parametrize(
    "url",
    [
        f"redis://app:{SECRET}@h/0",
        f"redis://{SECRET}@h",
        f"redis://h/0?password={SECRET}&db=1",
        f"redis://:{SECRET}%40@h",
    ],
)
def test_a_repr_shows_no_password(url: str) -> None:
    text = repr(Settings(url))
    assert SECRET not in text
    assert "Settings(url='redis://" in text
    assert "@h" in text or "redis://h/0?" in text
    assert SECRET not in str(Settings(url))


@given(st.text())
def test_masking_a_url_hides_all_before_the_host_however_broken(noise: str) -> None:
    assert SECRET not in masked(f"redis://{noise}{SECRET}@{noise}")


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": True}, "retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": math.inf}, "concurrency"),
        ({"keep_completed": -1}, "keep_completed"),
        ({"keep_failed": "10"}, "keep_failed"),
        ({"keep_failed": Keep()}, "keep_failed"),
    ],
    ids=shown,
)
def test_settings_made_by_hand_are_checked_too(given: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Settings(**given)
    assert caught.value.option == option


def test_settings_made_by_hand_take_ages_and_keeps() -> None:
    made = Settings(keep_completed=timedelta(days=1), keep_failed=Keep(count=5, age=60))
    assert made.keep_failed == Keep(5, 60)
    with pytest.raises(ConfigurationError, match="url must be a URL, not NoneType"):
        Settings(None)  # type: ignore[arg-type]


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().retries = 5  # type: ignore[misc]


def test_every_variable_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    for name in (*URL_VARIABLES, *PART_VARIABLES, *(name for pair in PAIRS for name in pair[1:])):
        assert f"`{name}`" in page


SECRET = "YW4gb2xkIHNlY3JldCBvZiAzMiByYW5kb20gYnl0ZXM="
RING = f'{{"kind": "signed", "keys": {{"old": "{SECRET}", "new": "{SECRET}"}}, "current": "new"}}'


def test_a_key_ring_comes_from_a_variable_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "seal.json"
    file.write_text(RING.replace("signed", "encrypted") + "\n")
    from_text = Settings.from_env({"REDQUEUE_SEAL": RING}).seal
    from_file = Settings.from_env({"REDQUEUE_SEAL_FILE": str(file)}).seal
    assert repr(from_text) == "<Signed by 'new' of old, new>"
    assert repr(from_file) == "<Encrypted by 'new' of old, new>"
    assert Settings.from_env({"REDQUEUE_SEAL": " ", "REDQUEUE_SEAL_FILE": ""}).seal is None


@pytest.mark.parametrize(
    ("ring", "line"),
    [
        ("", "none"),
        (RING, "signed by key new"),
        (RING.replace("signed", "encrypted"), "encrypted by key new"),
        (RING[:-1] + ', "required": false}', "signed by key new; jobs without a seal run, too"),
    ],
    ids=["none", "signed", "encrypted", "changing over"],
)
def test_a_key_ring_is_told_in_a_line(ring: str, line: str) -> None:
    assert described(Settings.from_env({"REDQUEUE_SEAL": ring}).seal) == line


def test_settings_show_no_secret_of_a_key_ring() -> None:
    """X15: the key ring's repr names its keys only."""
    shown = repr(Settings.from_env({"REDQUEUE_SEAL": RING}))
    assert "seal=<Signed by 'new' of old, new>" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SECRET, "REDQUEUE_SEAL: it is not JSON"),
        (RING[:-1], "REDQUEUE_SEAL: it is not JSON"),
        (f'["{SECRET}"]', "REDQUEUE_SEAL: it is no JSON object"),
        (RING.replace("signed", SECRET), "REDQUEUE_SEAL: the value of kind is wrong"),
        (RING.replace(f'"{SECRET}"', "7", 1), "REDQUEUE_SEAL: the value of keys is wrong"),
        (f'{{"keys": {{"old": "{SECRET}"}}}}', "REDQUEUE_SEAL: the field kind is missing"),
        (RING.replace('"current"', f'"{SECRET}"'), "REDQUEUE_SEAL: it has a field that is none of kind, keys, current"),
        ('{"kind": "signed", "keys": {}}', "REDQUEUE_SEAL: keys must be .*, at least one, not an empty one"),
        (RING.replace(SECRET, SECRET[:-1]), "REDQUEUE_SEAL: a secret is not base64"),
        (RING.replace(SECRET, "ä" + SECRET[1:]), "REDQUEUE_SEAL: a secret is not base64"),
        (RING.replace(SECRET, "\udce4" + SECRET[1:]), "REDQUEUE_SEAL: it is not JSON"),
        (RING.replace(SECRET, SECRET[:20]), "REDQUEUE_SEAL: the secret of key 'old' must be at least 32"),
        (RING.replace('"new"}', '"other"}'), "REDQUEUE_SEAL: current must name one of the keys"),
        ("[" * 100_000, "REDQUEUE_SEAL: it is no JSON object"),
    ],
    ids=[
        "secret",
        "cut",
        "list",
        "kind",
        "keys",
        "missing",
        "field",
        "empty",
        "base64",
        "umlaut",
        "latin-1",
        "short",
        "current",
        "deep",
    ],
)
def test_a_key_ring_that_cannot_work_is_refused_without_showing_it(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Settings.from_env({"REDQUEUE_SEAL": text})
    assert SECRET[:20] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_two_key_rings_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        Settings.from_env({"REDQUEUE_SEAL": RING, "REDQUEUE_SEAL_FILE": "x"})
    with pytest.raises(ConfigurationError, match=r"REDQUEUE_SEAL_FILE=.*gone can't be read: No such file"):
        Settings.from_env({"REDQUEUE_SEAL_FILE": str(tmp_path / "gone")})
