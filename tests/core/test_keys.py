"""The one maker of keys."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from redqueue.core.keys import FAMILIES, FIXED, Keys
from redqueue.core.script import load, names
from redqueue.errors import InvalidName

EVERY = [*FIXED, *(f"{family}:x" for family in FAMILIES)]


def test_all_keys_of_a_queue_share_a_slot() -> None:
    keys = Keys("sms", "redqueue")
    made = [*(keys[name] for name in FIXED), keys.job("a{b}"), keys.session("s"), keys.producer("p:0")]
    made += [keys.family(family) + "{x}" for family in FAMILIES]
    assert len({key_slot(key.encode()) for key in made}) == 1


def test_keys_are_prefix_queue_and_suffix() -> None:
    keys = Keys("sms.eu-1", "app_2")
    assert keys["waiting"] == "app_2:{sms.eu-1}:waiting"
    assert keys.job("a:b@c") == keys.family("job") + "a:b@c" == "app_2:{sms.eu-1}:job:a:b@c"
    assert keys.session("s") == "app_2:{sms.eu-1}:session:s"
    assert keys.producer("p:0") == "app_2:{sms.eu-1}:producer:p:0"


def test_no_two_queues_share_a_key() -> None:
    made = [
        Keys(queue, prefix).base + suffix for queue in ("a", "a-b", "b") for prefix in ("r", "r.r") for suffix in EVERY
    ]
    assert len(made) == len(set(made))


@pytest.mark.parametrize("name", ["", "a:b", "a{b", "a}", "a b", "-a", "a\n", "é", "a" * 65, None, 7])
def test_names_that_could_be_confused_are_refused(name: Any) -> None:
    with pytest.raises(InvalidName):
        Keys(name, "redqueue")
    with pytest.raises(InvalidName):
        Keys("sms", name)


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(KeyError):
        Keys("sms", "redqueue")["waitin"]


def test_each_fixed_key_is_used_by_a_script() -> None:
    used = {key for name in names() for key in load(name).header.keys}
    assert set(FIXED) <= used
    assert used - set(FIXED) == {"record", "session", "log"}
