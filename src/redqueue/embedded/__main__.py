"""``python -m redqueue.embedded start|stop|status|url [FOLDER]``.

Exit codes: 0 done, 1 no server runs (stop, status), 2 wrong usage, or a server that can't be started or stopped.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from redqueue.embedded import server
from redqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOT_RUNNING = 1


def start(folder: str | None) -> int:
    """start the folder's server unless it runs, and print its URL"""
    return _say(server.ensure(folder))


def stop(folder: str | None) -> int:
    """end the folder's server; its data stay"""
    return _say("stopped") if server.stop(folder) else _say("not running", NOT_RUNNING)


def status(folder: str | None) -> int:
    """print what the folder's server is and where"""
    found = server.status(folder)
    if found is None:
        return _say("not running", NOT_RUNNING)
    return _say(
        f"running: {found.version}, process {found.pid}, up {found.uptime} s,"
        f" {found.used_memory / 1024 / 1024:.1f} MiB in use\nfolder:  {found.folder}\nurl:     {server.url(folder)}"
    )


def url(folder: str | None) -> int:
    """print the URL of the folder's server, whether it runs or not"""
    return _say(server.url(folder))


COMMANDS: dict[str, Callable[[str | None], int]] = {"start": start, "stop": stop, "status": status, "url": url}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m redqueue.embedded", description="The embedded server.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.add_argument("folder", nargs="?", help="the data folder; by default this user's own")
    given = parser.parse_args(words)
    try:
        return COMMANDS[given.command](given.folder)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
