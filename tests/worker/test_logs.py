"""One line an event, whatever is in it."""

import json
import logging
from collections.abc import Iterator

import pytest

from redqueue.worker.logs import set_up_logging

HOSTILE = "id\nERROR forged\x1b[31m\u202eright to left\u2028\x9b"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_text_can_forge_no_line_and_no_terminal_code(capsys: pytest.CaptureFixture[str]) -> None:
    """X14: one line an event."""
    set_up_logging("text")
    logging.getLogger("x").error("job %s", HOSTILE)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not set(err) & set("\x1b\u202e\u2028\x9b")
    assert "job id\\nERROR forged\\x1b[31m\\u202eright" in err


def test_json_is_one_object_a_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("json")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("x").exception("job %s", HOSTILE)
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    facts = json.loads(line)
    assert facts["message"] == f"job {HOSTILE}" and facts["level"] == "ERROR" and facts["logger"] == "x"
    assert "ValueError" in facts["traceback"]
