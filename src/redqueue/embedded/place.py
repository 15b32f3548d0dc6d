"""The data folder of an embedded server and the paths in it."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from redqueue.errors import ConfigurationError

VARIABLE = "REDQUEUE_EMBEDDED_DIR"

# 108 bytes with the closing zero on Linux, 104 on macOS.
LONGEST_SOCKET = 103

# Not $TMPDIR: two processes whose TMPDIR differ would look for one server in two places.
SHORT_FOLDERS = Path("/tmp")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server lives.

    Attributes:
        folder: the data folder, absolute and without symbolic links.
        socket: the unix socket, in the folder when its path is short enough.
    """

    folder: Path
    socket: Path

    @classmethod
    def of(cls, folder: str | Path | None) -> Place:
        """The place of that data folder; None is $REDQUEUE_EMBEDDED_DIR or this user's own. Creates nothing."""
        refuse_windows()
        try:
            real = (_default() if folder is None else Path(folder)).expanduser().resolve()
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(f"no folder for the embedded server ({error}): set ${VARIABLE}") from error
        inside = real / "server.sock"
        return cls(real, inside if fits(inside) else _short_folder() / f"{_digest(real)}.sock")

    @property
    def lock(self) -> Path:
        """Held while a server is started or stopped."""
        return self.folder / "starting.lock"

    @property
    def life(self) -> Path:
        """Held by the server itself, from its first moment to its last."""
        return self.folder / "running.lock"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "server.pid"

    @property
    def url(self) -> str:
        return url_of(self.socket)

    def create(self) -> None:
        """Make the folders that are missing, for this user only."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent != self.folder:
            self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        self.check()

    def check(self) -> None:
        """Refuse a folder of the temporary directory that somebody else could have made, to be asked in our place."""
        if self.socket.parent == self.folder:
            return
        try:
            facts = self.socket.parent.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise ConfigurationError(
                f"{self.socket.parent} is not a folder of this user's alone, and the path of {self.folder} is too long"
                " for a socket: remove that one, or choose a data folder of a shorter path"
            )


def fits(socket: Path) -> bool:
    """Whether the system takes it as the path of a unix socket."""
    return len(os.fsencode(socket)) <= LONGEST_SOCKET


def url_of(socket: Path) -> str:
    """The URL for a client, quoted: a path may hold spaces, as macOS's folder does."""
    return f"unix://{quote(os.fsencode(socket))}?db=0"


def refuse_windows() -> None:
    if sys.platform == "win32":
        raise ConfigurationError(
            "the embedded server runs on Linux and macOS: on Windows give the redis:// URL of a server"
        )


def _default() -> Path:
    if configured := os.environ.get(VARIABLE):
        return Path(configured)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "redqueue"
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(data) if data.startswith("/") else Path.home() / ".local" / "share") / "redqueue"


def _short_folder() -> Path:
    return SHORT_FOLDERS / f"redqueue-{os.geteuid()}"


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
