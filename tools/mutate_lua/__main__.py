"""Change the Lua scripts in small ways, one at a time, and count the changes that no test notices.

    make mutate-lua                                     all of them
    make mutate-lua ARGS='pump.lua lib/*'               those of some files, or of all that match a pattern
    make mutate-lua ARGS='recover.lua:31'               those of a line

The exit code is 1 when one survived that `equivalent.toml` does not explain.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest
import redis
from tools.mutate_lua import equivalent
from tools.mutate_lua.mutants import Mutant, mutants
from tools.mutate_lua.suite import FOLDERS, Suite, Trial

from redqueue.core import script
from redqueue.embedded import PrivateServer

LUA: Final = Path(script.__file__).parents[1] / "lua"
COLUMNS: Final = ("mutants", "killed", "timed out", "equivalent", "survived")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    found = compiling(wanted(options.files))
    if options.list:
        print(*found, sep="\n")
        return 0
    ended: list[Trial] = []

    def play(suite: Suite) -> None:
        suite.learn(options.learned)
        print(f"{len(suite.tests)} tests, {sum(test.seconds for test in suite.tests):.0f} s", flush=True)
        print(*(f"  left out, it did not pass: {name}" for name in suite.left_out), sep="\n", flush=True)
        ended.extend(try_all(suite, found, options))

    quiet = ["-p", "no:cacheprovider", "--capture=no", "--no-header", "--no-summary", "-W", "ignore"]
    code = pytest.main([*quiet, *FOLDERS], plugins=[Suite(play, options.most)])
    if code != pytest.ExitCode.OK or not ended:
        print(f"the tests could not be collected: {code!r}", file=sys.stderr)
        return 2
    return report(ended, whole=not options.files)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutate-lua", description=__doc__)
    parser.add_argument("files", nargs="*", help="of src/redqueue/lua, or file:line, or patterns; all by default")
    parser.add_argument("--processes", type=int, default=2, help="mutants at a time")
    parser.add_argument("--learned", type=Path, help="a file to keep what is known of the tests, or with it")
    parser.add_argument("--most", type=int, help="show a mutant to so many tests only, for a first look")
    parser.add_argument("--all", action="store_true", help="print those that are killed, too")
    parser.add_argument("--list", action="store_true", help="print the mutants, and play none")
    return parser.parse_args(arguments)


def files() -> list[str]:
    return sorted(str(path.relative_to(LUA)) for path in LUA.rglob("*.lua"))


def wanted(patterns: list[str]) -> list[Mutant]:
    """Mutants of the files, or of the lines as in `recover.lua:31`, that match one of the patterns; of all for none."""

    def matches(mutant: Mutant) -> bool:
        places = (mutant.file, f"{mutant.file}:{mutant.line}")
        return not patterns or any(fnmatch(place, one) for place in places for one in patterns)

    return [one for file in files() for one in mutants(file, script._read(file)) if matches(one)]


def users() -> dict[str, frozenset[str]]:
    """By file, the scripts that it is a part of."""
    parts: dict[str, set[str]] = defaultdict(set)
    for name in script.names():
        parts[f"{name}.lua"].add(name)
        for piece in script._pieces(script.Header.read(name, script._read(f"{name}.lua")).uses, [], {}):
            parts[f"lib/{piece}.lua"].add(name)
    return {file: frozenset(found) for file, found in parts.items()}


def compiling(found: list[Mutant]) -> list[Mutant]:
    """Those that a server accepts as a script."""
    with PrivateServer() as server, redis.Redis.from_url(server.url) as client:
        return [one for one in found if compiles(client, one)]


def compiles(client: redis.Redis, mutant: Mutant) -> bool:
    try:
        client.script_load(f"local function run()\n{mutant.text}\nend")
    except redis.ResponseError:
        return False
    return True


def try_all(suite: Suite, found: list[Mutant], options: argparse.Namespace) -> list[Trial]:
    parts, waiting, running, ended = users(), found[::-1], list[Trial](), list[Trial]()
    began = time.monotonic()
    while waiting or running:
        while waiting and len(running) < options.processes:
            running.append(suite.try_out(waiting[-1], parts[waiting.pop().file]))
        over = [one for one in running if suite.look_after(one)]
        running = [one for one in running if not one.ended]
        ended += over
        for trial in over:
            if options.all or trial.ended != "killed":
                print(f"{trial.ended} ({trial.seconds:.0f} s) {trial.mutant} {trial.by}", flush=True)
            if len(ended) % 100 == 0:
                print(f"{len(ended)} of {len(found)} after {time.monotonic() - began:.0f} s", flush=True)
        if not over:
            time.sleep(0.01)
    return ended


def report(ended: list[Trial], *, whole: bool) -> int:
    """The table by file, and all that survived."""
    reasons = equivalent.read()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for trial in ended:
        explained = trial.ended == "survived" and equivalent.key_of(trial.mutant) in reasons
        counts[trial.mutant.file].update(["mutants", "equivalent" if explained else trial.ended])
        if trial.ended == "survived" and not explained:
            survivors.append(trial.mutant)
    rows = [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]
    print("", f"| file | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}", sep="\n")
    print(*(f"| {file} | {' | '.join(str(row[one]) for one in COLUMNS)} |" for file, row in rows), sep="\n")
    print("", *(f"survived: {one}" for one in survivors), sep="\n")
    killed_anyway = [
        str(one.mutant) for one in ended if one.ended != "survived" and equivalent.key_of(one.mutant) in reasons
    ]
    print(*(f"not equivalent, a test kills it: {one}" for one in killed_anyway), sep="\n")
    stale = equivalent.unknown(reasons, [one.mutant for one in ended]) if whole else []
    print(*(f"equivalent.toml: there is no such mutant: {one}" for one in stale), sep="\n")
    print(f"{sum(one.seconds for one in ended) / len(ended):.1f} s a mutant")
    return 1 if survivors or stale or killed_anyway else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
