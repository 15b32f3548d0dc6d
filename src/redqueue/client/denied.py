"""Which command a script was refused for. Redis before 7.2 doesn't say it: it names the script and the line."""

from __future__ import annotations

import re
from typing import Final

from redqueue.core.script import load, names

_PLACE: Final = re.compile(r"(?:script: |f_)([0-9a-f]{40})\b.*?@user_script: ?(\d+)", re.DOTALL)
_NAMED: Final = re.compile(r"permissions to run the '([a-z|]+)' command")
_CALLED: Final = re.compile(r"redis\.call\('([A-Z]+)'")


def commands_denied(text: str) -> list[str]:
    """The command that an error's text names, or those of the line that it names; none when the script isn't ours."""
    if named := _NAMED.search(text):
        return [named[1].upper()]
    place = _PLACE.search(text)
    if place is None:
        return []
    sha, line = place[1], int(place[2])
    ours = next((script for script in map(load, names()) if script.sha == sha), None)
    lines = [] if ours is None else ours.text.splitlines()
    return _CALLED.findall(lines[line - 1]) if 0 < line <= len(lines) else []
