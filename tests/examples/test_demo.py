"""examples/demo: what it shows, and that it would tell of a loss."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "examples" / "demo" / "run.py"


@pytest.fixture
def demo() -> Iterator[Any]:
    """run.py as a module."""
    spec = importlib.util.spec_from_file_location("redqueue_demo", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["redqueue_demo"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["redqueue_demo"]


def number(out: str, name: str) -> float:
    """The number of a row of the table."""
    found = re.search(rf"│ {name} +│ +([\d.,]+) │", out)
    assert found, out
    return float(found[1].replace(",", ""))


def test_the_demo_kills_a_worker_and_loses_nothing(
    program: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = program(str(RUN), "--contacts", "600")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, ""), out
    assert number(out, "added") == number(out, "completed") == 602
    assert number(out, "lost") == 0
    assert number(out, "retried") == 30
    assert 1 <= number(out, "sent twice") <= number(out, "recovered")
    assert re.search(r"SIGKILL     to worker 1 at [2-5]\d\d messages; it held \d+ jobs", out)
    assert "worker 2    stopped by SIGTERM, exit code 0" in out
    assert "Business Search: [" in out
    assert "Contacts by country: {" in out
    assert "\x1b" not in out
    assert list(tmp_path.iterdir()) == []


def test_the_demo_leaves_nothing_behind_when_it_is_stopped(
    program: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = program("-u", str(RUN), "--contacts", "400")
    assert process.stdout is not None
    worker = next(line for line in process.stdout if "worker 1" in line)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "nothing of the demo is left behind" in out
    assert list(tmp_path.iterdir()) == []
    pid = re.search(r"process (\d+)", worker)
    assert pid
    assert not Path(f"/proc/{pid[1]}").exists()


def test_a_message_that_never_reached_the_gateway_is_lost(demo: Any, tmp_path: Path) -> None:
    contacts = demo.read_contacts(RUN.parent / "contacts.csv")[:3]
    lines = [
        {"what": "sent", "contact": 1, "key": "sms:contact-1", "worker": 1},
        {"what": "sent", "contact": 2, "key": "sms:contact-2", "worker": 1},
        {"what": "sent", "contact": 2, "key": "sms:contact-2", "worker": 2},
        {"what": "refused", "contact": 3, "key": "sms:contact-3", "worker": 2},
    ]
    outbox = tmp_path / "outbox.jsonl"
    outbox.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done = SimpleNamespace(succeeded=3)
    service = SimpleNamespace(get_queue_stats=lambda queue: done, queue=lambda queue: SimpleNamespace(audit=list))
    added = demo.Added(contacts, "a", "b", 0.0)
    outcome = demo.count_up(service, added, {"contact-2"}, 1.0, outbox)
    assert (outcome.lost, outcome.sent_twice, outcome.retried, outcome.keys) == (1, 1, 0, 2)
    assert outcome.findings == ["contact 3 got no message"]
    assert outcome.unexplained == 0
    assert demo.count_up(service, added, set(), 1.0, outbox).unexplained == 1


def test_the_contacts_are_2000_that_nobody_has(demo: Any) -> None:
    contacts = demo.read_contacts(RUN.parent / "contacts.csv")
    assert [contact.id for contact in contacts] == list(range(1, 2001))
    assert len({contact.phone for contact in contacts}) == 2000
    # The area code 555, and what Germany's regulator keeps for films.
    fictional = re.compile(r"\+1-555-\d{3}-\d{4}|\+49-(30-23125|69-90009|40-66969|221-4710|89-99998)-\d{3}")
    assert all(fictional.fullmatch(contact.phone) for contact in contacts)
