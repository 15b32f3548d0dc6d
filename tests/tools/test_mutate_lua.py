"""The mutator of the Lua scripts: which changes it makes, where, and that each is a change."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from tools.mutate_lua import equivalent
from tools.mutate_lua.__main__ import LUA, files, users, wanted
from tools.mutate_lua.mutants import Mutant, mutants


def made(text: str, kind: str = "") -> list[tuple[int, str, str]]:
    """Line, what it was and what it becomes, of the mutants of one kind or of all."""
    return [(one.line, one.before, one.after) for one in mutants("x.lua", dedent(text)) if kind in one.kind]


def test_a_call_for_its_effect_is_dropped() -> None:
    text = "local a = f()\nredis.call('ZADD', key, 1, 'x')\nforget(a)\n"
    assert made(text, "drop a call") == [(2, "redis.call('ZADD', key, 1, 'x')", ""), (3, "forget(a)", "")]


def test_what_is_remembered_is_answered_and_not_kept() -> None:
    text = "return {word = remember('no')}"
    assert made(text) == [(1, text, "return {word = ('no')}")]


@pytest.mark.parametrize(
    ("operator", "becomes"), [("==", "~="), ("~=", "=="), ("<", "<="), ("<=", "<"), (">", ">="), (">=", ">")]
)
def test_a_comparison_is_flipped(operator: str, becomes: str) -> None:
    assert made(f"local a = b {operator} c", "flip") == [(1, f"local a = b {operator} c", f"local a = b {becomes} c")]


def test_a_condition_is_negated_unless_its_own_operator_has_an_opposite() -> None:
    text = """\
        if a then f() elseif b < c then g() end
        if a == b then f() end
        while not a do f() end
        """
    assert [after for _, _, after in made(text, "negate")] == [
        "if not (a) then f() elseif b < c then g() end",
        "if a then f() elseif not (b < c) then g() end",
    ]
    assert made(text, "drop a not") == [(3, "while not a do f() end", "while a do f() end")]


def test_one_side_of_and_and_or_is_dropped() -> None:
    assert [after for _, _, after in made("local a = b and c or d")] == [
        "local a = b and c",
        "local a = d",
        "local a = b or d",
        "local a = c or d",
    ]


def test_a_bound_moves_by_one_both_ways_and_a_place_in_a_table_does_not() -> None:
    text = "local a = b > 10\nlist[#list + 1] = f(list[2], 999)\n"
    assert [after for _, _, after in made(text, "one ")] == [
        "local a = b > 11",
        "local a = b > 9",
        "list[#list + 1] = f(list[2], 1000)",
    ]


def test_the_first_write_changes_places_with_what_follows() -> None:
    text = """\
        local a = redis.call('HGET', key, 'x')
        redis.call('HDEL', key, 'x')
        local b = f(a)
        redis.call('SET', other, b)
        """
    (swapped,) = [one for one in mutants("x.lua", dedent(text)) if "swap" in one.kind]
    assert swapped.text.split("\n")[1:3] == ["local b = f(a)", "redis.call('HDEL', key, 'x')"]
    assert swapped.line == 2


def test_an_exit_in_the_middle_is_dropped_and_the_last_return_is_not() -> None:
    text = """\
        local function f(a)
          if a then return 1 end
          for _ in g() do
            break
          end
          return 2
        end
        """
    assert [(line, after) for line, _, after in made(text, "exit")] == [(2, "if a then  end"), (4, "")]


def test_an_assignment_is_dropped_and_a_declaration_is_not() -> None:
    assert made("local a = {}\na.b = 3\n", "drop an assignment") == [(2, "a.b = 3", "")]


def test_what_is_no_lua_is_refused() -> None:
    with pytest.raises(SyntaxError, match=r"x\.lua"):
        list(mutants("x.lua", "if then"))


@pytest.mark.parametrize("file", files())
def test_every_script_has_mutants_and_each_differs_in_the_line_that_it_names(file: str) -> None:
    text = (LUA / file).read_text(encoding="utf-8")
    lines, found = text.split("\n"), list(mutants(file, text))
    assert found or file == "lib/sentinels.lua"
    assert len({one.text for one in found} | {text}) == len(found) + 1
    for one in found:
        changed = one.text.split("\n")
        assert lines[: one.line - 1] == changed[: one.line - 1]
        assert lines[one.line - 1].strip() == one.before
        assert changed[one.line - 1] != lines[one.line - 1]


def test_mutants_are_chosen_by_file_and_line() -> None:
    whole, line = wanted(["lib/lease.lua"]), wanted(["lib/lease.lua:12"])
    assert {one.file for one in whole} == {"lib/lease.lua"}
    assert line == [one for one in whole if one.line == 12] != []
    assert wanted(["lib/l*"]) == whole
    assert len(wanted([])) > 1000


def test_a_piece_is_shown_to_all_scripts_that_use_it_and_a_script_to_itself() -> None:
    assert users()["lib/touch.lua"] == {"enter", "recover", "renew"}
    assert users()["lib/lease.lua"] == {"pump", "renew", "leave", "recover"}
    assert users()["pump.lua"] == {"pump"}
    assert users().keys() == set(files())


def test_each_equivalent_mutant_is_one_that_is_made() -> None:
    found = [one for file in files() for one in mutants(file, (LUA / file).read_text(encoding="utf-8"))]
    assert equivalent.unknown(equivalent.read(), found) == []


def test_an_equivalent_mutant_needs_a_reason(tmp_path: Path) -> None:
    entry = '[[mutant]]\nfile = "a.lua"\nline = "f()"\nbecomes = ""\nwhy = "{}"\n'
    listed = tmp_path / "equivalent.toml"
    listed.write_text(entry.format("f does nothing") + entry.format("f does nothing").replace("f()", "g()"))
    assert equivalent.key_of(Mutant("a.lua", "drop a call", 3, "f()", "", "")) in equivalent.read(listed)
    for wrong in (entry.format(" "), entry.format("x") * 2):
        listed.write_text(wrong)
        with pytest.raises(ValueError, match="twice or has no reason"):
            equivalent.read(listed)
