"""Change the Python that carries tokens, leases and states, one small change at a time, and see which a test notices.

Called by `make mutate-py`, which brings mutmut. It works in a copy under the system's temporary folder; the checkout
is only read. Each mutant is first shown to mypy, then to a few quick tests of its file, until one fails.

    make mutate-py                                      # every mutant: some hours
    make mutate-py ARGS='lease.py lifecycle.py'         # of these files
    make mutate-py ARGS='--sample 40 --seed 7 pump.py'  # 40 of each file, by chance
    make mutate-py ARGS='--keep /tmp/it judge.py'       # the copy stays there, to go on or for `mutmut show NAME`
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parents[1]
MUTMUT: Final = Path(sys.executable).with_name("mutmut")

# A test that takes a server or a worker costs a survivor seconds; those of children would cost it a start of Python.
CORE: Final = ("core/test_lease.py", "core/test_lifecycle.py")
TESTS: Final = {
    "src/redqueue/core/lease.py": CORE,
    "src/redqueue/core/lifecycle.py": CORE,
    "src/redqueue/worker/verdict.py": ("worker/test_judge.py", "worker/test_retries.py"),
    "src/redqueue/worker/judge.py": ("worker/test_judge.py", "worker/test_retries.py"),
    "src/redqueue/worker/heartbeat.py": ("worker/test_heartbeat.py",),
    "src/redqueue/worker/pump.py": ("worker/test_pump.py", "worker/test_cancelling.py"),
}

# What mypy finds in the copies of a method and not in the method itself says nothing about a mutant.
SILENT: Final = ("unused-ignore", "no-redef", "has-type", "no-any-return", "misc", "var-annotated", "unreachable")

SETTINGS: Final = """\
[mutmut]
source_paths=src
only_mutate={file}
do_not_mutate_patterns=
    logger\\.\\w+
    extra=facts
    assert_never
process_isolation=forkserver
debug=true
use_git_change_detection=false
timeout_multiplier=3.0
timeout_constant=5.0
pytest_add_cli_args=
    -p
    no:cacheprovider
    -k
    not fakeredis
pytest_add_cli_args_test_selection=
{tests}
"""
"""No words of the log, nothing that only mypy reads; tests on the genuine server; debug puts their output in a file."""

ENDS: Final = {0: "survived", 1: "killed", 3: "killed", 37: "types", 33: "untested", None: "not run"}
TIMED_OUT: Final = {-24, 24, 36, 152, 255}


@dataclass(frozen=True)
class Mutated:
    """What became of one file's mutants: by name, in the order of the file."""

    file: str
    made: int
    ends: dict[str, str]

    def count(self, *ends: str) -> int:
        return sum(end in ends for end in self.ends.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="all, if none is named: " + ", ".join(TESTS))
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants of each file, by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the chance; the same one takes the same mutants")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work here, and leave it; mutants in it stand")
    options = parser.parse_args()
    chosen = [file for file in TESTS if not options.files or any(file.endswith("/" + one) for one in options.files)]
    if not chosen:
        parser.error(f"no such file: {' '.join(options.files)}; there are {', '.join(TESTS)}")
    with tempfile.TemporaryDirectory(prefix="redqueue-mutants-") as folder:
        work = Path(options.keep or folder)
        results = [mutate(file, work / Path(file).stem, options.sample, options.seed) for file in chosen]
    print(*table(results), sep="\n")
    return 0


def mutate(file: str, work: Path, sample: int | None, seed: int) -> Mutated:
    copy(work)
    set_up(work, file, [])
    run(work, ["none.*"])  # makes the mutants, and measures which test reaches which function
    set_up(work, file, mypy(file))
    names = list(facts(work, file))
    if sample is not None and sample < len(names):
        taken = set(random.Random(seed).sample(sorted(names), sample))  # the order of names has no chance in it
        names = [name for name in names if name in taken]
    if left := [name for name in names if facts(work, file)[name] is None]:
        run(work, left)
    ends = {name: end_of(code) for name, code in facts(work, file).items() if name in set(names)}
    for name, end in ends.items():
        if end not in ("killed", "types"):
            print(f"\n== {end}: {shown(work, name)}", flush=True)
    return Mutated(file, len(facts(work, file)), ends)


def copy(work: Path) -> None:
    for name in ("src", "tests"):
        shutil.copytree(
            HERE / name, work / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".*cache")
        )
    shutil.copy(HERE / "pyproject.toml", work)
    (work / "mutants" / "src").mkdir(parents=True, exist_ok=True)  # Python forgets a path that isn't there


def mypy(file: str) -> list[str]:
    silent = [word for code in SILENT for word in ("--disable-error-code", code)]
    return [sys.executable, "-m", "mypy", file, "--output", "json", *silent]


def set_up(work: Path, file: str, checker: list[str]) -> None:
    tests = [f"tests/{name}" for name in TESTS[file] if (HERE / "tests" / name).exists()]
    settings = SETTINGS.format(file=file, tests=lines(tests))
    if checker:
        settings += f"type_check_command=\n{lines(checker)}\n"
    (work / "setup.cfg").write_text(settings)


def lines(words: list[str]) -> str:
    return "\n".join("    " + word for word in words)


def run(work: Path, names: list[str]) -> None:
    """One process at a time: a time limit on a busy machine would count as a kill."""
    path = os.pathsep.join([str(work / "mutants" / "src"), os.environ.get("PYTHONPATH", "")])
    with (work / "mutmut.log").open("ab") as log:
        command = [str(MUTMUT), "run", "--max-children", "1", *names]
        subprocess.run(command, cwd=work, env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=log, check=False)


def facts(work: Path, file: str) -> dict[str, int | None]:
    """What mutmut wrote down: each mutant's name and how its tests ended."""
    try:
        found: dict[str, int | None] = json.loads((work / "mutants" / f"{file}.meta").read_text())["exit_code_by_key"]
    except OSError as error:
        raise SystemExit(f"mutmut made no mutants of {file}; see {work / 'mutmut.log'}, with --keep") from error
    return found


def end_of(code: int | None) -> str:
    return "timed out" if code in TIMED_OUT else ENDS.get(code, f"ended by {code}")


def shown(work: Path, name: str) -> str:
    told = subprocess.run([MUTMUT, "show", name], cwd=work, capture_output=True, text=True, check=False)
    return told.stdout.strip().removeprefix("# ")


def table(results: list[Mutated]) -> Iterator[str]:
    yield "| file | mutants | run | refused by mypy | killed by a test | by the time limit | survived | score |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in results:
        tried = len(one.ends) - one.count("types")
        left = tried - one.count("killed", "timed out")
        score = 100 * (tried - left) / max(tried, 1)
        counts = (one.count("types"), one.count("killed"), one.count("timed out"), left)
        cells = (Path(one.file).name, one.made, len(one.ends), *counts, f"{score:.0f} %")
        yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
