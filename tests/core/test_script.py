"""Lua scripts and their headers: the contract, and what every script keeps to."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import script as scripts
from redqueue.core.keys import FAMILIES, FIXED, Keys
from redqueue.core.script import Header, Script, load, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.core.conftest import World

KEYS = Keys("q", "redqueue")
EVERY = names()
PIECES = sorted(path.name.removesuffix(".lua") for path in (scripts._LUA / "lib").iterdir())

FORBIDDEN = frozenset(("KEYS", "SMEMBERS", "HGETALL", "HKEYS", "HVALS", "LRANGE", "SORT", "RANDOMKEY"))
"""What walks something that grows."""

KEYLESS = frozenset(("TIME", "SCAN", "PTTL"))
"""Without a key, or asked of the keys that SCAN found."""

ALL_KEYS = frozenset(("EXISTS", "UNLINK", "DEL", "MGET"))

MOST_LINES = 80
MOST_COLUMNS = 125


# The header


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write lua files that `compose` finds instead of ours."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(scripts, "_LUA", tmp_path)
    return lambda name, *lines: (tmp_path / f"{name}.lua").write_text("\n".join(lines))


def compose(name: str) -> Script:
    return load.__wrapped__(name)


@pytest.mark.parametrize(
    "line", ["--- @kye waiting", "--- @key", "--- @arg n", "--- @arg n float", "--- @", "--- @returns word"]
)
def test_a_declaration_that_is_unknown_or_incomplete_is_an_error(line: str) -> None:
    with pytest.raises((SyntaxError, IndexError)):
        Header.read("one", line)


def test_a_header_is_read_in_its_order() -> None:
    header = Header.read(
        "one",
        "--- What it does.\n--- @key waiting zset\n--- @key meta\n--- @family job\n--- @arg n int: how many\n"
        "--- @arg id text\n--- @list ids\n--- @keys jobs\n--- @use clock wake\n--- @reply word\n-- @key no\nlocal x",
    )
    assert (header.keys, header.families, header.args) == (["waiting", "meta"], ["job"], [("n", "int"), ("id", "text")])
    assert (header.lists, header.rest, header.uses, header.reply) == (["ids"], "jobs", ["clock", "wake"], ["word"])


@pytest.mark.parametrize(
    "lines",
    [
        ("--- @key waiting", "--- @arg waiting int"),
        ("--- @list ids", "--- @keys ids"),
        ("--- @arg n int", "--- @arg n text"),
        ("--- @family nobody",),
    ],
)
def test_a_name_means_one_thing(write: Any, lines: tuple[str, ...]) -> None:
    write("one", *lines)
    with pytest.raises(SyntaxError, match=r"lua/one\.lua"):
        compose("one")


def test_a_circle_of_pieces_is_an_error(write: Any) -> None:
    write("one", "--- @use a")
    write("lib/a", "--- @use b")
    write("lib/b", "--- @use a")
    with pytest.raises(SyntaxError, match="a -> b -> a is a circle"):
        compose("one")


def test_a_piece_comes_once_and_after_what_it_needs(write: Any) -> None:
    write("one", "--- @use a b", "return {}")
    write("lib/a", "--- @use c", "local a = 1")
    write("lib/b", "--- @use c a", "local b = 1")
    write("lib/c", "local c = 1")
    text = compose("one").text
    found = [text.index(f"local {piece} = 1") for piece in "cab"]
    assert found == sorted(found)
    assert text.count("local c = 1") == 1


def test_an_argument_left_out_or_unknown_is_an_error(write: Any) -> None:
    write("one", "--- @key session", "--- @key waiting", "--- @arg n int", "--- @list ids", "--- @keys jobs")
    script, named = compose("one"), {"session": "s", "n": 1, "ids": ["a"], "jobs": ["j"]}
    assert script.call(len, KEYS, **named).keys == ["s", "redqueue:{q}:waiting", "j"]
    for missing in named:
        with pytest.raises(TypeError, match=missing):
            script.call(len, KEYS, **{name: named[name] for name in named if name != missing})
    with pytest.raises(TypeError, match="more"):
        script.call(len, KEYS, **named, more=1)
    with pytest.raises(TypeError, match="waiting"):
        script.call(len, KEYS, **named, waiting="w")


def test_a_numbered_call_begins_with_its_record_and_number(write: Any) -> None:
    write("one", "--- @key waiting", "--- @arg n int", "--- @use record", "--- @reply word")
    write("lib/record", "--- @key record", "--- @arg number int")
    call = compose("one").call(len, KEYS, n=7)
    assert (call.keys, call.args) == (["", "redqueue:{q}:waiting"], [0, 7])
    sent = call.on("redqueue:{q}:producer:p:0", 5)
    assert (sent.keys, sent.args) == (["redqueue:{q}:producer:p:0", "redqueue:{q}:waiting"], [5, 7])
    assert (call.keys[0], call.args[0]) == ("", 0)
    with pytest.raises(TypeError, match="number"):
        compose("one").call(len, KEYS, n=7, number=1)


def test_names_reach_lua_and_come_back(world: World, write: Any) -> None:
    write(
        "one",
        "--- @key waiting",
        "--- @family job",
        "--- @arg n int",
        "--- @arg id text",
        "--- @list ids",
        "--- @list none",
        "--- @keys jobs",
        "--- @reply nothing",
        "--- @reply sum",
        "--- @reply all",
        "return {sum = n + 1, all = {waiting, job .. id, #none, ids[2], jobs[1]}}",
    )
    script = compose("one")
    call = script.call(script.reply, world.keys, n=6, id="x", ids=["a", "b"], none=[], jobs=[world.keys.job("j")])
    reply = world(call)
    assert (reply.nothing, reply.sum) == (None, 7)
    assert reply.all == [b"redqueue:{q}:waiting", b"redqueue:{q}:job:x", 0, b"b", b"redqueue:{q}:job:j"]


# Every script


@pytest.mark.parametrize("name", EVERY)
def test_each_script_loads_on_each_server(world: World, name: str) -> None:
    script = load(name)
    loaded = world.client.script_load(script.text)
    assert (loaded.decode() if isinstance(loaded, bytes) else loaded) == script.sha


@pytest.mark.parametrize("name", EVERY)
def test_each_header_says_what_is_there(name: str) -> None:
    header = load(name).header
    assert set(header.keys) <= {*FIXED, "record", "session", "log"}
    assert set(header.families) <= set(FAMILIES)
    assert header.reply
    assert len(header.reply) == len(set(header.reply))


@pytest.fixture
def luacheck(tmp_path: Path) -> Callable[[str], list[str]]:
    """What luacheck says of a script's text, but that it leaves out some of what its pieces bring."""
    program = shutil.which("luacheck") or pytest.skip("luacheck is not installed")
    options = shlex.split(
        "--std lua51 --globals redis KEYS ARGV --no-max-line-length --formatter plain --codes one.lua"
    )

    def check(text: str) -> list[str]:
        (tmp_path / "one.lua").write_text(text)
        said = subprocess.run([program, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not said.stderr
        body = 1 + text[: text.index("\nlocal function run()")].count("\n")
        return [line for line in said.stdout.splitlines() if line and not _unused_piece(line, body)]

    return check


def _unused_piece(warning: str, body: int) -> bool:
    """Whether it is about a name of the outermost level, before the script's own lines."""
    found = re.fullmatch(r"one\.lua:(\d+):(\d+): \(W211\) unused (variable|function) .*", warning)
    column = {"variable": "7", "function": "16"}  # behind 'local ' and 'local function '
    return found is not None and int(found[1]) <= body and found[2] == column[found[3]]


@pytest.mark.parametrize("name", EVERY)
def test_each_script_is_clean(name: str, luacheck: Callable[[str], list[str]]) -> None:
    assert luacheck(load(name).text) == []


def test_a_leaked_global_and_a_name_never_used_would_be_found(write: Any, luacheck: Callable[[str], list[str]]) -> None:
    write("one", "--- @use a", "local unused = 1", "leaked = unknown", "return {}", "--- @reply word")
    write("lib/a", "local spare = 1", "local function piece()", "  local unused = 1", "end")
    found = [re.sub(r".*\((\w+)\)[^']*'(\w+)'.*", r"\1 \2", line) for line in luacheck(compose("one").text)]
    assert found == ["W211 unused", "W211 unused", "W111 leaked", "W113 unknown"]


@pytest.mark.parametrize("file", [*EVERY, *(f"lib/{piece}" for piece in PIECES)])
def test_each_file_is_short_and_begins_with_what_it_does(file: str) -> None:
    lines = _source(file).splitlines()
    assert re.match(r"--- [A-Z].*", lines[0])
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("--")]
    assert len(code) <= MOST_LINES or file == "lib/settle"
    assert max(map(len, lines)) <= MOST_COLUMNS


@pytest.mark.parametrize("file", [*EVERY, *(f"lib/{piece}" for piece in PIECES)])
def test_each_piece_is_used_and_each_command_is_allowed(file: str) -> None:
    """X06: no loadstring, no cjson, no error replies; and X20: no command that reaches beyond the queue.

    Faults: R07.
    """
    text = _source(file)
    assert not re.search(r"redis\.(?!call\()|loadstring|cjson|cmsgpack|struct\.|bit\.|\bos\.|math\.random", text)
    commands = re.findall(r"redis\.call\(([^,)]*)", text)
    assert all(re.fullmatch(r"'[A-Z]+'", command) for command in commands)
    # A page of one job's lines is bounded.
    assert FORBIDDEN.isdisjoint(command.strip("'") for command in commands if file != "logs")
    if file.startswith("lib/"):
        piece = file.removeprefix("lib/")
        assert any(piece in Header.read(one, _source(one)).uses for one in [*EVERY, *(f"lib/{p}" for p in PIECES)])


@pytest.mark.parametrize("name", EVERY)
def test_each_script_names_a_key_by_which_a_client_finds_the_node_of_a_cluster(name: str) -> None:
    """A call without one is sent to any node."""
    assert load(name).header.keys


def test_numbers_are_put_into_text_by_format_only() -> None:
    for name in EVERY:
        assert not re.search(r"\btostring\(", load(name).text), name


@pytest.mark.parametrize("name", EVERY)
def test_each_key_is_a_declared_one(name: str) -> None:
    """Faults: R06."""
    script = load(name)
    assert list(_undeclared(script)) == []


@pytest.mark.parametrize(
    "line",
    [
        "redis.call('GET', id)",
        "redis.call('GET', waiting .. id)",
        "redis.call('GET', 'redqueue:{q}:waiting')",
        "redis.call('EXISTS', waiting, id)",
        "local key = id redis.call('GET', key)",
        "local gone = {waiting, id}\nredis.call('UNLINK', unpack(gone))",
        "local gone = {}\ngone[#gone + 1] = job .. id\ngone[#gone + 1] = id\nredis.call('UNLINK', unpack(gone))",
        "for _, key in ipairs({waiting, id}) do redis.call('GET', key) end",
        "local function get(key) return redis.call('GET', key) end\nget(waiting)\nget(id)",
        "redis.call('GET', id == '' and waiting or id)",
        "redis.call('GET', unknown)",
    ],
)
def test_a_key_that_is_not_declared_would_be_found(write: Any, line: str) -> None:
    write("one", "--- @key waiting", "--- @family job", "--- @arg id text", line)
    assert len(list(_undeclared(compose("one")))) == 1


def _undeclared(script: Script) -> Iterator[str]:
    for found in re.finditer(r"redis\.call\(", script.text):
        command, *given = _arguments(script.text, found.end() - 1)
        command = command.strip("'")
        if command not in KEYLESS:
            for expression in given if command in ALL_KEYS else given[:1]:
                if not _is_key(script, expression, found.start(), step=2 if command == "MSET" else 1):
                    yield f"{command} {expression}"


def _is_key(script: Script, expression: str, at: int, step: int = 1) -> bool:
    """Whether an expression, at that place in the text, can only be a declared key, or a list with one at each step."""
    header = script.header
    if expression in (*header.keys, header.rest):
        return True
    if begun := re.match(r"(\w+) \.\. ", expression):
        return begun[1] in header.families
    if listed := re.fullmatch(r"unpack\((\w+)\)", expression):
        return _is_key(script, listed[1], at, step)
    if either := re.fullmatch(r".+ and (.+) or (.+)", expression):
        return all(_is_key(script, one, at) for one in either.groups())
    if member := re.fullmatch(r"(\w+)\[.+\]", expression):
        return _is_key(script, member[1], at)
    return bool(re.fullmatch(r"\w+", expression)) and _holds_keys(script, expression, script.text[:at], step)


def _holds_keys(script: Script, name: str, before: str, step: int) -> bool:
    """The same of a name, by what binds it last before: a parameter, a loop over keys, or a local."""
    binding = (
        rf"local function (\w+)\(([^)]*\b{name}\b[^)]*)\)"
        rf"|for _, {name} in ipairs\(\{{([^}}]*)\}}\)"
        rf"|local [^\n=]*\b{name}\b[^\n=]*= (\{{[^}}]*\}}|[^\n]*)"
    )
    found = list(re.finditer(binding, before))
    if not found:
        return False
    last = found[-1]
    function, parameters, loop, value = last.groups()
    if function:
        position = [one.strip() for one in parameters.split(",")].index(name)
        calls = re.finditer(rf"(?<!function )\b{function}\(", script.text)
        return all(_is_key(script, _arguments(script.text, one.end() - 1)[position], one.start()) for one in calls)
    if added := re.findall(rf"\b{name}\[#{name} \+ 1\] = ([^\n]+)", before[last.end() :])[::step]:
        return all(_is_key(script, one, len(before)) for one in added)
    listed = loop or (value.strip("{}") if value.startswith("{") else None)
    members = [value] if listed is None else [one.split("=")[-1].strip() for one in listed.split(",")]
    return all(_is_key(script, one, last.start()) for one in members)


def _arguments(text: str, opening: int) -> list[str]:
    """What stands between the bracket at `opening` and its counterpart, taken apart at its commas."""
    parts, depth, start = [], 0, opening + 1
    for token in re.compile(r"'[^']*'|[(\[{]|[)\]}]|,").finditer(text, opening):
        depth += (token[0] in "([{") - (token[0] in ")]}")
        if depth == 0 or (depth == 1 and token[0] == ","):
            parts.append(text[start : token.start()].strip())
            start = token.end()
        if depth == 0:
            return parts
    raise AssertionError("a bracket is not closed")


def _source(file: str) -> str:
    return (scripts._LUA / f"{file}.lua").read_text(encoding="utf-8")
