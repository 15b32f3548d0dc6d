"""Templates of messages: Jinja2 in a sandbox. A job names one and brings its data, never the source of one."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from redqueue.errors import ConfigurationError, Discard, MissingExtra
from redqueue.processors.email.plaintext import text_of
from redqueue.registry.names import quoted

try:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError as error:
    raise MissingExtra("email", "rendering e-mail") from error

MOST_RENDERED: Final = 1 << 20
"""Characters of one part of a message."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_MISSING: Final = re.compile(r"('\w+') is undefined")
_PARTS: Final = {"html": "html", "text": "txt"}
_FAULTS: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What data does to a template: the same in every run."""
_SHOWN: Final = 20


class Templates:
    """The messages that a worker can write, by name: ``welcome`` is `welcome.html`, `welcome.txt`, or both.

    What data brings into HTML is escaped, into text it is not, whatever the files are named that a template includes,
    imports or extends; a variable that the data lacks fails the job instead of leaving a gap. Where there is only HTML,
    the text part is made from it. Templates may extend and include each other; one whose name begins with ``_`` can't
    be named by a job.

    The sandbox keeps a template from reaching into Python, and `most` bounds what it writes. How long it runs is
    bounded by nothing: it runs in a thread, on data of at most 1 MiB, so keep loops within loops out of it.

    Args:
        source: a folder; the templates themselves, ``{"welcome": {"html": "<p>Hello {{ name }}</p>", "text": "..."}}``;
            or a loader of Jinja2's, whose names end in .html or .txt.
        filters: functions by the name under which templates use them. They run outside the sandbox.
        most: characters of one part.
    Raises:
        ConfigurationError: no such folder, or a template in the mapping isn't one.
    """

    def __init__(
        self,
        source: str | Path | Mapping[str, Mapping[str, str]] | jinja2.BaseLoader,
        *,
        filters: Mapping[str, Callable[..., Any]] | None = None,
        most: int = MOST_RENDERED,
    ) -> None:
        self._most = most
        self._loader = _loader(source)
        # One each: a file may be a part of both, and is escaped by where it is put.
        self._environments = {
            "html": _environment(self._loader, filters or {}, autoescape=True),
            "txt": _environment(self._loader, filters or {}, autoescape=False),
        }
        if isinstance(source, Mapping):
            for name in self._loader.list_templates():
                _compiled(self._environments[name.rpartition(".")[2]], name)

    def __repr__(self) -> str:
        return f"Templates({', '.join(self.names())})"

    def names(self) -> list[str]:
        """Those that a job can name, as far as the source can list them."""
        try:
            files = [file.rpartition(".") for file in self._loader.list_templates()]
        except TypeError:
            return []
        return sorted({name for name, _, ending in files if ending in self._environments and _NAME.fullmatch(name)})

    def check(self, name: str) -> None:
        """Raise Discard when there is no such template, naming those that there are."""
        if not _NAME.fullmatch(name):
            raise Discard(f"{quoted(name)} is no template's name: letters, digits, _ and -, no folder, no ending")
        if self._find(name, "html") is None and self._find(name, "txt") is None:
            known = self.names()
            shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            raise Discard(f"there is no template {quoted(name)} here; there are: {shown or 'none'}")

    def render(self, name: str, data: Mapping[str, Any]) -> tuple[str, str | None]:
        """Text, and HTML where there is a template of it.

        Raises:
            Discard: no such template; or it can't be rendered, for a variable that isn't in the data, say.
        """
        self.check(name)
        html_template, text_template = self._find(name, "html"), self._find(name, "txt")
        html = None if html_template is None else self._rendered(html_template, data)
        text = text_of(html or "") if text_template is None else self._rendered(text_template, data)
        return text, html

    def _find(self, name: str, ending: str) -> jinja2.Template | None:
        file = f"{name}.{ending}"
        try:
            return self._environments[ending].get_template(file)
        except jinja2.TemplateSyntaxError as error:
            raise Discard(f"template {file}, line {error.lineno}: {error.message}") from None
        except jinja2.TemplateNotFound as error:
            if error.name == file:
                return None
            raise Discard(f"template {file} needs {error.name}, which isn't there") from None

    def _rendered(self, template: jinja2.Template, data: Mapping[str, Any]) -> str:
        parts, size = [], 0
        try:
            for part in template.generate(data):
                size += len(part)
                if size > self._most:
                    raise Discard(f"template {template.name} makes more than {self._most:,} characters of this data")
                parts.append(part)
        except _FAULTS as error:
            raise Discard(f"{_place(error, template)}: {_reason(error)}") from None
        return "".join(parts)


def _place(error: Exception, template: jinja2.Template) -> str:
    """Which template, or which file that it uses, and the line there."""
    name = template.name or "<template>"
    for frame, line in traceback.walk_tb(error.__traceback__):
        if "__jinja_exception__" in frame.f_globals:  # how Jinja2 marks the frames that it writes
            file = Path(frame.f_code.co_filename).name
            name = f"{template.name if file == '<template>' else file}, line {line}"
    return f"template {name}"


def _reason(error: Exception) -> str:
    # Only what surely comes from the template: other texts may have the data's.
    if isinstance(error, jinja2.UndefinedError) and (found := _MISSING.fullmatch(error.message or "")):
        return f"{found[1]} isn't in the data"
    if isinstance(error, jinja2.UndefinedError):
        return "something that it takes from the data isn't there"
    return type(error).__name__


def _environment(
    loader: jinja2.BaseLoader, filters: Mapping[str, Callable[..., Any]], *, autoescape: bool
) -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(loader=loader, autoescape=autoescape, undefined=jinja2.StrictUndefined)
    environment.filters.update(filters)
    return environment


def _loader(source: str | Path | Mapping[str, Mapping[str, str]] | jinja2.BaseLoader) -> jinja2.BaseLoader:
    if isinstance(source, jinja2.BaseLoader):
        return source
    if isinstance(source, Mapping):
        return jinja2.DictLoader(dict(_files(source)))
    if not Path(source).is_dir():
        raise ConfigurationError(f"{str(source)!r} is no folder: give the one that holds the templates")
    return jinja2.FileSystemLoader(source)


def _files(source: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    files = []
    for name, parts in source.items():
        if not _NAME.fullmatch(name.removeprefix("_")):
            raise ConfigurationError(f"{name!r} is no template's name: letters, digits, _ and -")
        if not parts or not parts.keys() <= _PARTS.keys():
            raise ConfigurationError(f"template {name!r} has the parts {sorted(parts)}: give html, text, or both")
        files += [(f"{name}.{_PARTS[part]}", text) for part, text in parts.items()]
    return files


def _compiled(environment: jinja2.Environment, name: str) -> None:
    try:
        environment.get_template(name)
    except jinja2.TemplateSyntaxError as error:
        raise ConfigurationError(f"template {name}, line {error.lineno}: {error.message}") from None
