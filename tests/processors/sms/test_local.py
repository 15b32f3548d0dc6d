"""The providers for development: nothing is sent, and what would have been can be read."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from redqueue.processors.sms import ConsoleProvider, FileProvider, SmsMessage, SmsProcessor
from redqueue.testing.context import job_context

from .conftest import job_data, numbers


async def test_the_file_has_a_line_a_message(tmp_path: Path) -> None:
    path = tmp_path / "sms.jsonl"
    result = await SmsProcessor(FileProvider(path)).process(job_data(numbers(2), 'a\nb "é"'), job_context(job_id="j"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["to"], line["text"]) for line in lines] == [(number, 'a\nb "é"') for number in numbers(2)]
    assert [line["key"][-2:] for line in lines] == [":0", ":1"]
    assert [one.message_id for one in result.results] == [line["id"] for line in lines]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_same_message_has_the_same_id_in_every_run(tmp_path: Path) -> None:
    processor = SmsProcessor(FileProvider(tmp_path / "sms.jsonl"))
    context = job_context()
    first = await processor.process(job_data(numbers(1)), context)
    again = await processor.process(job_data(numbers(1)), context)
    assert first == again


def test_workers_share_the_file_without_tearing_lines(tmp_path: Path) -> None:
    path = tmp_path / "sms.jsonl"

    def work(job_id: str) -> None:
        data = job_data(numbers(100), "x" * 1_600)
        asyncio.run(SmsProcessor(FileProvider(path)).process(data, job_context(job_id=job_id)))

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({json.loads(line)["key"] for line in path.read_text().splitlines()}) == 400


async def test_a_folder_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await SmsProcessor(FileProvider(tmp_path / "none" / "sms")).process(job_data(numbers(1)), job_context())


async def test_a_text_cannot_forge_a_line_of_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\nsms to +1: \x1b[31mred\u202e\x07"
    result = await SmsProcessor(ConsoleProvider()).process(job_data(numbers(1), text), job_context())
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f'sms to {numbers(1)[0]}: "a\\nsms to +1: \\u001b[31mred\\u202e\\u0007"'
    assert result.successful == 1


def test_reprs_tell_where_and_no_text(tmp_path: Path) -> None:
    assert repr(FileProvider("a/b")) == f"FileProvider('a{os.sep}b')"
    message = SmsMessage("+1", "the text", "key", metadata={"x": "secret"})
    assert "text" not in repr(message).replace("redqueue", "") and "secret" not in repr(message)
