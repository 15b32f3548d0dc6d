"""The house, checked: imports point down, never in a circle, and nothing grows out of its room."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

SRC: Final = Path(__file__).parents[1] / "src" / "redqueue"

FLOORS: Final = (
    ("errors",),
    ("units", "defaults", "records", "embedded"),
    ("backoff", "rules", "seals", "settings", "context"),
    ("options", "shapes"),
    ("core",),
    ("registry",),
    ("client", "processors"),
    ("worker", "tasks", "service", "doctor"),
    ("web", "testing", "cli"),
    ("__init__",),
)
"""From the ground up. A module imports its own floor and those below; docs/design/0001 says why."""

REACHES_REDIS: Final = frozenset({"client"})
IMPURE: Final = frozenset(
    {"asyncio", "os", "random", "redis", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
)
"""What core never imports: it builds calls and reads replies, and neither waits, draws nor looks at a clock."""

RUNS_FOREIGN_CODE: Final = frozenset(
    {"pickle", "marshal", "shelve", "dill", "cloudpickle", "eval", "exec", "__import__", "import_module", "run_path"}
    | {"run_module", "exec_module", "load_module"}
)
FOREIGN_CODE_ALLOWED: Final = {
    ("redqueue.__init__", "import_module"): "loads the public names at first use, from a table of its own",
    ("redqueue.worker.__main__", "import_module"): "imports the modules that the operator names on the command line",
}
"""Neither takes a name from Redis. An entry that nothing needs any more is an error."""

MEANS_NOTHING: Final = frozenset({"util", "utils", "helper", "helpers", "manager", "handler", "common", "misc"})
MOST_FILE_LINES: Final = 450
MOST_FUNCTION_LINES: Final = 60
MOST_LUA_LINES: Final = 110


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.split(".")[1]


def read_modules() -> list[Module]:
    modules = []
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC.parent).with_suffix("").parts
        inner = parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts
        modules.append(Module(".".join(inner), path, ast.parse(path.read_text(encoding="utf-8"))))
    return modules


MODULES: Final = read_modules()
NAMES: Final = frozenset(module.name for module in MODULES)
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def imports_of(module: Module) -> Iterator[str]:
    """Dotted names of all imports, lazy and TYPE_CHECKING ones too; of ours, the module that holds the name."""
    package = module.name.split(".") if module.path.name == "__init__.py" else module.name.split(".")[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in NAMES else source


def ours(name: str) -> bool:
    return name.split(".")[0] == "redqueue"


def floor_of(room: str) -> int:
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


def named(name: str) -> str:
    """The bare package is its __init__."""
    return "redqueue.__init__" if name == "redqueue" else name


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_every_room_stands_on_a_floor() -> None:
    assert {module.room for module in MODULES} <= {room for rooms in FLOORS for room in rooms}


@each_module
def test_imports_point_down(module: Module) -> None:
    for name in imports_of(module):
        if ours(name):
            below = named(name).split(".")[1]
            assert floor_of(below) <= floor_of(module.room), f"{module.name} imports {name}, which stands above it"


def test_no_imports_form_a_circle() -> None:
    graph = {m.name: {named(name) for name in imports_of(m) if ours(name)} - {m.name} for m in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@each_module
def test_only_the_client_imports_redis(module: Module) -> None:
    if module.room not in REACHES_REDIS:
        assert "redis" not in {name.split(".")[0] for name in imports_of(module)}


@pytest.mark.parametrize("module", [m for m in MODULES if m.room == "core"], ids=lambda module: module.name)
def test_core_waits_for_nothing_and_reads_no_clock(module: Module) -> None:
    assert not IMPURE & {name.split(".")[0] for name in imports_of(module)}
    read = {ast.unparse(node) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
    assert not read & {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


@each_module
def test_nothing_runs_code_by_name(module: Module) -> None:
    """X01: no pickle, no marshal, no eval, no exec, no import by name, but where it is listed with its reason."""
    used = {word for name in imports_of(module) for word in name.split(".") if not ours(name)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used.update(alias.name for alias in node.names)
    allowed = {word for name, word in FOREIGN_CODE_ALLOWED if name == module.name}
    assert (used & RUNS_FOREIGN_CODE) - allowed == set()
    assert allowed <= used, "remove what nothing needs any more from FOREIGN_CODE_ALLOWED"


@each_module
def test_names_say_what_they_are(module: Module) -> None:
    classes = [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    for name in (*module.name.split("."), *classes):
        assert not words_of(name) & MEANS_NOTHING, name


@each_module
def test_files_and_functions_can_be_read_at_once(module: Module) -> None:
    assert len(module.path.read_text(encoding="utf-8").splitlines()) <= MOST_FILE_LINES
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MOST_FUNCTION_LINES, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", sorted(SRC.glob("lua/**/*.lua")), ids=lambda path: str(path.relative_to(SRC)))
def test_scripts_can_be_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LUA_LINES


def test_the_design_page_draws_the_same_floors() -> None:
    page = (SRC.parents[1] / "docs" / "design" / "0001-layout-and-floors.md").read_text(encoding="utf-8")
    drawn = re.search(r"```floors\n(.*?)```", page, re.DOTALL)
    assert drawn
    assert [tuple(line.split()) for line in drawn[1].splitlines()] == list(reversed(FLOORS))
