"""Templates: named by jobs, written by the application."""

from __future__ import annotations

import time
from pathlib import Path

import jinja2
import pytest

from redqueue import ConfigurationError, Discard
from redqueue.processors.email import Templates
from redqueue.processors.email.plaintext import text_of

WELCOME = {"html": "<p>Hello {{ name }}</p>", "text": "Hello {{ name }}"}


def test_html_is_escaped_and_text_is_not() -> None:
    text, html = Templates({"welcome": WELCOME}).render("welcome", {"name": "<b>Ada & Co</b>"})
    assert (text, html) == ("Hello <b>Ada & Co</b>", "<p>Hello &lt;b&gt;Ada &amp; Co&lt;/b&gt;</p>")


def test_what_a_template_includes_is_escaped_by_where_it_is_put(tmp_path: Path) -> None:
    (tmp_path / "_macros.txt").write_text("{% macro hello(name) %}Hello {{ name }}{% endmacro %}")
    (tmp_path / "_sign.txt").write_text(" by {{ name }}")
    (tmp_path / "_sign.html").write_text(" from {{ name }}")
    source = '{% import "_macros.txt" as m %}{{ m.hello(name) }}{% include "_sign.txt" %}{% include "_sign.html" %}'
    (tmp_path / "a.html").write_text(source)
    (tmp_path / "a.txt").write_text(source)
    (tmp_path / "child.html").write_text('{% extends "_sign.txt" %}')
    templates = Templates(tmp_path)
    for _ in range(2):  # whichever is compiled first
        assert templates.render("a", {"name": "<i>"}) == (
            "Hello <i> by <i> from <i>",
            "Hello &lt;i&gt; by &lt;i&gt; from &lt;i&gt;",
        )
    assert templates.render("child", {"name": "<i>"})[1] == " by &lt;i&gt;"


def test_html_alone_is_given_a_text_and_text_alone_no_html() -> None:
    templates = Templates({"h": {"html": WELCOME["html"]}, "t": {"text": WELCOME["text"]}})
    assert templates.render("h", {"name": "A & B"}) == ("Hello A & B\n", "<p>Hello A &amp; B</p>")
    assert templates.render("t", {"name": "A & B"}) == ("Hello A & B", None)


def test_a_folder_with_a_layout(tmp_path: Path) -> None:
    (tmp_path / "_layout.html").write_text("<body>{% block inner %}{% endblock %}</body>")
    (tmp_path / "bill.html").write_text('{% extends "_layout.html" %}{% block inner %}{{ sum }}{% endblock %}')
    (tmp_path / "bill.txt").write_text("{{ sum }}")
    (tmp_path / "notes.md").write_text("no template")
    templates = Templates(tmp_path)
    assert templates.names() == ["bill"] and repr(templates) == "Templates(bill)"
    assert templates.render("bill", {"sum": "<5"}) == ("<5", "<body>&lt;5</body>")
    with pytest.raises(Discard, match="no template's name"):
        templates.check("_layout")


def test_any_loader_of_jinja() -> None:
    loader = jinja2.FunctionLoader(lambda name: "Hi" if name == "hi.txt" else None)
    templates = Templates(loader)
    assert templates.render("hi", {}) == ("Hi", None)
    with pytest.raises(Discard, match="there are: none"):
        templates.check("other")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "a\\b", "welcome.html", "..", "", "a\n", "é"])
def test_a_job_names_no_path(name: str) -> None:
    with pytest.raises(Discard, match="no template's name"):
        Templates({"welcome": WELCOME}).render(name, {})


def test_an_unknown_template_names_those_that_there_are() -> None:
    with pytest.raises(Discard, match="no template 'goodbye' here; there are: bill, welcome"):
        Templates({"welcome": WELCOME, "bill": WELCOME}).check("goodbye")


def test_data_that_is_missing_fails_the_job_and_says_where() -> None:
    templates = Templates({"a": {"text": "one\n{{ name }}"}, "b": {"text": "{{ people[who].age }}"}})
    with pytest.raises(Discard, match=r"template a.txt, line 2: 'name' isn't in the data"):
        templates.render("a", {})
    with pytest.raises(Discard, match=r"template b.txt, line 1: something that") as told:
        templates.render("b", {"people": {}, "who": "Ada"})
    assert "Ada" not in str(told.value)


def test_what_a_template_does_to_the_data_shows_none_of_it() -> None:
    templates = Templates({"a": {"text": "{{ x + 1 }}"}}, filters={"number": int})
    with pytest.raises(Discard, match=r"line 1: TypeError$"):
        templates.render("a", {"x": "secret"})
    with pytest.raises(Discard, match=r"line 1: AttributeError$"):
        Templates({"a": {"text": "{{ x|dictsort }}"}}).render("a", {"x": 5})
    numbers = Templates({"a": {"text": "{{ x|number }}"}}, filters={"number": int})
    assert numbers.render("a", {"x": "7"}) == ("7", None)
    with pytest.raises(Discard, match=r"line 1: ValueError$"):
        numbers.render("a", {"x": "secret"})


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{% for n in range(1000000) %}{% endfor %}",
        "{{ rows.append(1) }}",
    ],
)
def test_a_template_stays_in_the_sandbox(source: str) -> None:
    with pytest.raises(Discard):
        Templates({"a": {"text": source}}).render("a", {"x": "y", "rows": []})


def test_data_is_never_the_source_of_a_template() -> None:
    assert Templates({"welcome": WELCOME}).render("welcome", {"name": "{{ 7 * 7 }}"})[0] == "Hello {{ 7 * 7 }}"


def test_what_a_template_makes_is_bounded() -> None:
    loops = Templates({"a": {"text": "{% for a in rows %}{% for b in rows %}{{ b }}{% endfor %}{% endfor %}"}})
    started = time.monotonic()
    with pytest.raises(Discard, match="more than 1,048,576 characters"):
        loops.render("a", {"rows": ["x" * 100] * 5000})
    assert time.monotonic() - started < 5
    with pytest.raises(Discard, match="more than 4 characters"):
        Templates({"a": {"text": "{{ x }}"}}, most=4).render("a", {"x": "12345"})


def test_broken_templates() -> None:
    with pytest.raises(ConfigurationError, match=r"template a.txt, line 2: "):
        Templates({"a": {"text": "\n{% if %}"}})
    with pytest.raises(ConfigurationError, match="give html, text, or both"):
        Templates({"a": {"htm": "x"}})
    with pytest.raises(ConfigurationError, match="no template's name"):
        Templates({"../a": {"text": "x"}})
    with pytest.raises(ConfigurationError, match="no folder"):
        Templates("/nowhere/at/all")


def test_a_broken_file_fails_its_jobs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("{% if %}")
    (tmp_path / "b.txt").write_text('{% include "c.txt" %}')
    with pytest.raises(Discard, match=r"template a.txt, line 1"):
        Templates(tmp_path).check("a")
    with pytest.raises(Discard, match=r"template b.txt, line 1: TemplateNotFound"):
        Templates(tmp_path).render("b", {})


def test_the_text_of_a_page() -> None:
    page = """<html><head><title>no</title><style>p { color: red }</style></head><body>
      <h1>Your   bill</h1><p>Dear <b>Ada</b>,<br>thank you &amp; bye.</p>
      <ul><li>one</li><li>two</li></ul>
      <table><tr><td>a</td><td>1</td></tr><tr><td>b</td><td>2</td></tr></table>
      <p><a href="https://example.com/x">Pay now</a> or <a href="https://example.com">https://example.com</a></p>
      <script>alert(1)</script><img src="x" alt="a logo"></body></html>"""
    assert text_of(page) == (
        "Your bill\n\nDear Ada,\nthank you & bye.\n\n- one\n- two\n\na 1\nb 2\n\n"
        "Pay now (https://example.com/x) or https://example.com\n\na logo\n"
    )


def test_a_page_that_is_none_has_a_text() -> None:
    for page in ("", "plain", "<p", "</p></a></style>", "<a>x</a>", "<style>", "&#0; &bogus;"):
        assert text_of(page).endswith("\n")
