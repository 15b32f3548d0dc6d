"""A server of one's own for tests, that never outlives the process that started it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from redqueue.embedded import binary, locks, wire
from redqueue.embedded.place import SHORT_FOLDERS, fits, refuse_windows, url_of
from redqueue.embedded.server import tail
from redqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

# Each reads a pipe whose other end only this process holds, so that a kill -9 of it is noticed as well. The parent
# death signal of Linux would not do: it comes when the starting *thread* ends. The server's shell waits for its
# go-ahead until the watch is there.
GATE = 'read -r go && exec "$@" </dev/null'
WATCH = 'read -r nothing; kill -9 "$1"; rm -rf -- "$2"'


class PrivateServer:
    """A server in a fresh temporary folder; a context manager that starts it and removes it with all it wrote.

    ``with PrivateServer() as server: Redis.from_url(server.url)``. It ends with this process, even if that is killed.
    Use one from one thread at a time.

    Args:
        port: a TCP port on 127.0.0.1 to listen on besides the unix socket; 0 for none.
        appendonly: keep an append-only file, so that `start` after `kill` finds the data again.
        arguments: more of the server's own, as in ``["--maxmemory", "10mb"]``; they win over those given here.
        binary: the server program; by default the one that `redqueue.embedded.ensure` takes.
    Attributes:
        folder: its data, socket and log.
        socket: the path of its unix socket, which is there with a port, too.
        port: as given.
        log: the path of its log, of all its starts.
        url: for a client; TCP when there is a port.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        appendonly: bool = False,
        arguments: Sequence[str] = (),
        binary: str | Path | None = None,
    ) -> None:
        refuse_windows()
        self._program = _program(binary)
        self._arguments = tuple(arguments)
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: _Watch | None = None
        self.folder = _fresh_folder()
        self.socket = self.folder / "server.sock"
        self.log = self.folder / "server.log"
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0" if port else url_of(self.socket)

    @property
    def pid(self) -> int:
        """Its process. Raises ConfigurationError when it was not started or was ended."""
        return self._running().pid

    def start(self) -> Self:
        """Start it, or start it again after `stop` or `kill`, at the same folder, socket and port.

        Nothing happens when it runs. Returns when it answers, at most 10 s later (60 s while it reads its data).

        Raises:
            ConfigurationError: it did not start; the message has the last lines of its log.
        """
        if self._process is not None and self._process.poll() is None:
            return self
        self._forget()
        start = self.log.stat().st_size if self.log.exists() else 0
        try:
            self._launch()
            self._await_answer()
        except OSError as error:
            self.kill()
            raise ConfigurationError(
                f"the private server did not start: {error}\n{tail(self.log, start=start)}"
            ) from error
        return self

    def stop(self) -> None:
        """End it as an administrator would: what it wrote is on disk. SIGKILL when that takes more than 10 s."""
        if self._process is None:
            return
        self.resume()
        reply = "-"
        with suppress(OSError):
            reply = wire.ask(self.socket, "SHUTDOWN", "NOSAVE", timeout=wire.START_TIMEOUT)
        if reply.startswith("-"):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wire.START_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone. Nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget()

    def pause(self) -> None:
        """Stop its clockwork with SIGSTOP: connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`; changes nothing when it was not paused."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder. It can't be started again."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", GATE, "redqueue-private-server", *self._command()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=binary.environment(),
                umask=0o077,
                start_new_session=True,  # a Ctrl-C in the terminal is the tests' to handle, not the server's
            )
        self._watch = _Watch(self._process.pid, self.folder)
        assert self._process.stdin is not None
        with self._process.stdin as gate:
            gate.write(b"go\n")

    def _command(self) -> list[str]:
        words = [str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        words += ["--unixsocket", str(self.socket), "--unixsocketperm", "700", "--save", "", "--daemonize", "no"]
        words += ["--appendonly", "yes" if self._appendonly else "no"]
        if binary.version(self._program) >= (7, 0):
            words += ["--enable-debug-command", "yes"]
        return [*words, *self._arguments]

    def _await_answer(self) -> None:
        process = self._running()
        for _ in wire.until_up(self.socket):
            if (code := process.poll()) is not None:
                raise ChildProcessError(f"it ended with exit code {code}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ConfigurationError("the private server does not run: call start()")
        return self._process

    def _forget(self) -> None:
        # The watch goes after its server was waited for: until then no other process can have got that number.
        if self._watch is not None:
            self._watch.end()
        self._process = self._watch = None


class _Watch:
    """A shell that kills the server and removes its folder as soon as this process is gone."""

    def __init__(self, pid: int, folder: Path) -> None:
        ours = os.pipe()
        self._end = locks.keep(ours[1])
        try:
            self._shell = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", WATCH, "redqueue-watch", str(pid), str(folder)],
                stdin=ours[0],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(ours[0])

    def end(self) -> None:
        self._shell.kill()
        self._shell.wait()
        locks.drop(self._end)


def _program(given: str | Path | None) -> Path:
    return binary.find() if given is None else binary.named(given, source="binary")


def _fresh_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="redqueue-"))
    if fits(folder / "server.sock"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="redqueue-", dir=SHORT_FOLDERS))
