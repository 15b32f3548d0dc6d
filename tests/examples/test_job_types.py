"""examples/job_types, run as a user runs them. Numbers are small; what they are by default is in each file."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "job_types"
EXAMPLES = sorted(FOLDER.glob("*.py"))

Run = Callable[..., list[str]]


@pytest.fixture
def run(program: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> Run:
    """Run an example; the lines that it printed. It ended well, and left nothing behind."""

    def run(name: str, *words: str) -> list[str]:
        process = program(f"examples/job_types/{name}.py", *words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        assert list(tmp_path.iterdir()) == []
        return out.splitlines()

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_begins_with_how_to_run_it_and_what_it_needs(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    module = f"examples.job_types.{path.stem}"
    assert f"`python examples/job_types/{path.name}`" in text or f"`python -m {module}`" in text
    assert "pip install 'redqueue-jobs[embedded" in text


def test_a_campaign_tells_its_progress_and_has_bad_numbers_as_failed_entries(run: Run) -> None:
    lines = run("sms_campaign", "--contacts", "240")
    assert lines[0] == "campaign of 240 contacts, 1000 messages a second at most"
    told = [int(found[1]) for line in lines if (found := re.fullmatch(r" +\d+%  (\d+) of 240", line))]
    assert told == sorted(told)
    assert told[-1] == 240
    assert lines[-3:] == [
        "sent 234, failed 6, segments a message 1",
        "first failed: 'ask at the desk': not a phone number",
        "in the outbox 234, with 234 idempotency keys",
    ]


def test_an_email_has_its_attachment_and_reaches_all_but_an_unknown_recipient(run: Run) -> None:
    assert run("email_with_attachment") == [
        "sent to 2 of 3 recipients",
        "  ada@example.com       sent",
        "  gone@example.com      failed: 550 5.1.1 no such mailbox",
        "  archive@example.com   sent",
        "the server has 'Your bill for June' for ada@example.com, archive@example.com",
        "  text  Dear Ada & Co,",
        "  html  <p>Dear Ada &amp; Co,</p>",
        "  file  Bill.csv, text/csv, 25 characters",
    ]


def test_an_export_is_downloaded_by_its_link_and_told_of(run: Run) -> None:
    lines = run("million_row_export", "--rows", "20000")
    assert lines[0] == "exporting 20,000 rows"
    assert "  100%  20,000 of 20,000 rows" in lines
    found = re.fullmatch(r"20,000 rows, 0\.8 MB: (http://127\.0\.0\.1:\d+/exports/sub_123/leads/.+\.csv)", lines[-3])
    assert found
    assert lines[-2:] == [
        "downloaded 20,000 rows; the checksum is the result's",
        f"ada is told: Your export of leads is ready: 20,000 rows. {found[1]}",
    ]


def test_uploads_get_thumbnails_and_a_broken_one_fails_with_the_reason(run: Run) -> None:
    lines = run("image_thumbnails")
    assert lines[0].startswith("uploaded 3 files, ")
    assert lines[1:3] == [
        "  wide.jpg      thumbnails/sub_123/wide.webp, WEBP 200x112, 0 EXIF tags",
        "  tall.jpg      thumbnails/sub_123/tall.webp, WEBP 150x200, 0 EXIF tags",
    ]
    assert lines[3].startswith("  cut-off.jpg   failed: the image can't be decoded")


def test_a_report_and_a_cleanup_run_when_they_are_due(run: Run) -> None:
    lines = run("report_and_cleanup", "--delay", "0.5")
    file = lines.pop(-2)
    assert lines == [
        "report: delayed, due in 0.5 s",
        "cleanup: delayed, due in 0.5 s",
        "a dry run: 435 of 800 logins are older than 365 days",
        "260 orders, 294970 cents",
        "  2026-01    90 orders, 94158 cents",
        "  2026-02    80 orders, 90760 cents",
        "  2026-03    90 orders, 110052 cents",
        "  paid      234 orders, 265446 cents",
        "  returned   26 orders, 29524 cents",
        "435 logins are gone, 365 are left",
    ]
    assert re.fullmatch(r"  file      reports/sub_123/monthly/.+\.pdf, [\d,]+ bytes", file)


def test_a_streamed_text_is_printed_as_it_comes_and_no_finished_section_is_asked_for_again(run: Run) -> None:
    text = "\n".join(run("streamed_text", "--pace", "0.005"))
    assert text.count("You said: Write the section 'why' of a text on queues.") == 1
    assert "This is what a stand-in says, word by word, to all that it is told." in text
    # An event has no error when its traceback is long, as in a folder with a long name.
    assert re.search(r"\[(the model's server broke off|failed); again in 0\.1 s\]", text)
    assert "[the model is busy; again in 1.0 s]" in text
    assert text.endswith(
        "7 lines in the job's log\n"
        "377 characters, 28 + 76 tokens\n"
        "the model was asked 1, 2, 2 times for the three sections"
    )
