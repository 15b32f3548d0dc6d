"""The command that was denied is named, whatever the server says of it."""

from __future__ import annotations

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from redqueue.client.denied import commands_denied
from redqueue.client.faults import classify, to_error
from redqueue.core.script import load

RIGHTS = load("rights")
LINE = next(n for n, line in enumerate(RIGHTS.text.splitlines(), 1) if "'HINCRBY'" in line)
DENIED = "The user executing the script can't run this command or subcommand"
IN_6_2 = f"Error running script (call to f_{RIGHTS.sha}): @user_script:{LINE}: @user_script: {LINE}: {DENIED}"
IN_7_0 = f"{DENIED} script: {RIGHTS.sha}, on @user_script:{LINE}."
IN_8_2 = f"ACL failure in script: User bob has no permissions to run the 'hincrby' command script: {RIGHTS.sha}, on x"
IN_VALKEY = "ACL failure in script: User bob has no permissions to run the 'hincrby' command script: on @user_script:1."


@pytest.mark.parametrize("text", [IN_6_2, IN_7_0, IN_8_2, IN_VALKEY])
def test_the_command_is_named_by_each_server(text: str) -> None:
    assert commands_denied(text) == ["HINCRBY"]
    for error in (ResponseError(text), NoPermissionError(text)):
        assert "redqueue needs" in str(to_error(classify(error), error, "here", sent=False))
        assert ": HINCRBY is denied: " in str(to_error(classify(error), error, "here", sent=False))


@pytest.mark.parametrize(
    "text",
    [
        "",
        DENIED,
        IN_7_0.replace(RIGHTS.sha, "0" * 40),
        IN_7_0.replace(f":{LINE}.", ":0."),
        IN_7_0.replace(f":{LINE}.", ":99999."),
        IN_7_0.replace(f":{LINE}.", ":1."),
    ],
)
def test_what_is_not_known_is_not_guessed(text: str) -> None:
    assert commands_denied(text) == []
