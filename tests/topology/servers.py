"""Clusters, sentinels and servers with TLS, each of processes that end with this one, even if it is killed."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import redis
from redis.crc import key_slot

from redqueue.core.keys import Keys
from redqueue.defaults import DEFAULT_PREFIX
from redqueue.embedded import PrivateServer, binary
from redqueue.errors import ConfigurationError

T = TypeVar("T")
GUARD: Final = 20.0
SLOTS: Final = 16384
BUS: Final = 10_000
"""What a cluster node adds to its port for the other nodes."""

PORTS: Final = range(10_000, 20_000)
"""Below those that systems give to outgoing connections, and so are the bus's."""

SYNC_AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")


def until(look: Callable[[], T], what: str, seconds: float = GUARD) -> T:
    """What another process makes true; there is no event to wait for across processes."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > ends:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.01)
    return found


def free_port() -> int:
    """A port of which nobody listens, nor on its cluster bus."""
    while True:
        port = random.choice(PORTS)
        with suppress(OSError), socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + BUS))
            return port


def start(make: Callable[[int], PrivateServer]) -> PrivateServer:
    """A server that runs on a free port; on another one when somebody was faster."""
    while True:
        server = make(free_port())
        try:
            return server.start()
        except ConfigurationError as error:
            server.close()
            if "already in use" not in str(error):
                raise


@contextmanager
def admin(server: PrivateServer) -> Iterator[Any]:
    """A client of the test's for what users don't do."""
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, protocol=2) as client:
        yield client


def asked(server: PrivateServer, section: str) -> Any:
    """What a server that runs says of itself."""
    with admin(server) as client:
        return client.info(section)


class Group:
    """Servers that belong together; a context manager that ends them."""

    def __init__(self) -> None:
        self.servers: list[PrivateServer] = []

    def start(self, *arguments: object, kind: type[PrivateServer] = PrivateServer) -> PrivateServer:
        words = [str(argument) for argument in arguments]
        server = start(lambda port: kind(port=port, arguments=words))
        self.servers.append(server)
        return server

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        try:
            self.form()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def form(self) -> None:
        """Start the servers, and return when they know each other."""
        raise NotImplementedError


class Cluster(Group):
    """Three primaries that share the slots, and a replica of each if asked.

    Attributes:
        url: names all nodes.
        primaries, replicas: a replica has the place of its primary.
    """

    def __init__(self, *, replicated: bool = False) -> None:
        super().__init__()
        self._replicated = replicated

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.servers)}"

    @property
    def primaries(self) -> list[PrivateServer]:
        return self.servers[:3]

    @property
    def replicas(self) -> list[PrivateServer]:
        return self.servers[3:]

    def form(self) -> None:
        for _ in range(6 if self._replicated else 3):
            self.start("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *SYNC_AT_ONCE)
        for n, node in enumerate(self.servers):
            self.on(node, "SET-CONFIG-EPOCH", n + 1)
            if n:
                self.on(node, "MEET", "127.0.0.1", self.servers[0].port)
        for n, node in enumerate(self.primaries):
            self.on(node, "ADDSLOTS", *_slots_of(n))
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            until(partial(self._follows, replica, primary), "a node to know its primary")
        until(self.is_whole, "the cluster")

    def on(self, node: PrivateServer, command: str, *arguments: object) -> Any:
        """What a node answers to a CLUSTER command."""
        with admin(node) as client:
            return client.cluster(command, *arguments)

    def is_whole(self, nodes: Iterable[PrivateServer] = ()) -> bool:
        """Whether all nodes, or those, see all of it."""
        for node in nodes or self.servers:
            info = self.on(node, "INFO")
            if info["cluster_state"] != "ok" or int(info["cluster_known_nodes"]) < len(self.servers):
                return False
        return all(asked(node, "replication").get("master_link_status", "up") == "up" for node in nodes or self.servers)

    def queue_on(self, place: int, but: Iterable[str] = ()) -> str:
        """The name of a queue that one of the primaries has, in a slot that no queue of those names has."""
        taken = {slot_of(name) for name in but}
        names = (f"q{n}" for n in range(SLOTS))
        return next(name for name in names if slot_of(name) in _slots_of(place) and slot_of(name) not in taken)

    def place_of(self, queue: str) -> int:
        return slot_of(queue) * 3 // SLOTS

    def empty(self) -> None:
        for node in self.primaries:
            with admin(node) as client:
                client.flushall()

    def forget_scripts(self) -> None:
        """On all nodes."""
        for node in self.servers:
            with admin(node) as client:
                client.script_flush()

    def begin_move(self, queue: str, source: PrivateServer, to: PrivateServer) -> Callable[[], None]:
        """Open a queue's slot for a move to another node; what is returned moves it."""
        slot = slot_of(queue)
        self.on(to, "SETSLOT", slot, "IMPORTING", self.on(source, "MYID"))
        self.on(source, "SETSLOT", slot, "MIGRATING", self.on(to, "MYID"))

        def end() -> None:
            self._move_keys(source, to, slot)
            for node in (to, source, *self.servers):
                self.on(node, "SETSLOT", slot, "NODE", self.on(to, "MYID"))

        return end

    def _move_keys(self, source: PrivateServer, to: PrivateServer, slot: int) -> None:
        with admin(source) as client:
            while keys := client.cluster("GETKEYSINSLOT", slot, 100):
                client.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)

    def _follows(self, replica: PrivateServer, primary: PrivateServer) -> bool:
        with suppress(redis.ResponseError):  # it doesn't know it yet
            self.on(replica, "REPLICATE", self.on(primary, "MYID"))
            return True
        return False


def slot_of(queue: str) -> int:
    return key_slot(Keys(queue, DEFAULT_PREFIX)["meta"].encode())


def _slots_of(place: int) -> range:
    """Each third, rounded so that a slot's third is the whole part of ``slot * 3 / 16384``."""
    return range(-(-SLOTS * place // 3), -(-SLOTS * (place + 1) // 3))


class _Sentinel(PrivateServer):
    """The server program as a sentinel: it keeps its state in its configuration file, and takes little else."""

    def _command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():
            lines = [f"port {self.port}", "bind 127.0.0.1", f"unixsocket {self.socket}", f"dir {self.folder}"]
            config.write_text("\n".join([*lines, *self._arguments, ""]))
        return [str(self._program), str(config), "--sentinel"]


class Sentinels(Group):
    """A primary, its replica and three sentinels that watch them as the service "main"."""

    primary: PrivateServer
    replica: PrivateServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'{host}:{port}' for host, port in self.hosts)}/main"

    @property
    def hosts(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    @property
    def sentinels(self) -> list[PrivateServer]:
        return self.servers[2:]

    def form(self) -> None:
        self.primary = self.start(*SYNC_AT_ONCE)
        self.replica = self.start("--replicaof", "127.0.0.1", self.primary.port, *SYNC_AT_ONCE)
        until(self.is_replicated, "the replica")
        for _ in range(3):
            sentinel = self.start(
                f"sentinel monitor main 127.0.0.1 {self.primary.port} 2",
                "sentinel down-after-milliseconds main 500",
                "sentinel failover-timeout main 2000",
                kind=_Sentinel,
            )
            with admin(sentinel) as client, suppress(redis.ResponseError):
                # They find each other at once instead of after seconds; before 7.0 there is no such command.
                client.execute_command("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 100, "INFO-PERIOD", 200)
        until(lambda: all(map(self._knows_all, self.sentinels)), "the sentinels to know each other")

    def empty(self) -> None:
        with admin(self.primary) as client:
            client.flushall()

    def is_replicated(self) -> bool:
        """Whether the replica has all and gets what comes."""
        return bool(asked(self.replica, "replication")["master_link_status"] == "up")

    def is_failed_over(self) -> bool:
        """Whether all sentinels name the former replica."""
        return all(self._named_by(sentinel) == self.replica.port for sentinel in self.sentinels)

    def _named_by(self, sentinel: PrivateServer) -> int:
        with admin(sentinel) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1])

    def _knows_all(self, sentinel: PrivateServer) -> bool:
        known = asked(sentinel, "sentinel")["master0"]
        return bool((known["status"], int(known["slaves"]), int(known["sentinels"])) == ("ok", 1, 3))


class Authority:
    """A certificate authority, and the keys and certificates that it signed, made by the openssl program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.crt"
        self._openssl("req", "-x509", *_NEW_KEY, "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=An authority")

    def sign(self, name: str, alternative: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        key, request, signed = f"{name}.key", f"{name}.csr", f"{name}.crt"
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={alternative}")
        self._openssl("req", *_NEW_KEY, key, "-out", request, "-subj", f"/CN={name}")
        authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        self._openssl("x509", "-req", "-in", request, *authority, "-out", signed, "-extfile", f"{name}.ext")
        return self.folder / signed, self.folder / key

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


class NoTls(Exception):
    """What is missing for a server with TLS."""


def start_tls(authority: Authority, *arguments: str) -> PrivateServer:
    """A server whose port takes TLS only, with a certificate for localhost.

    Raises:
        NoTls: none of the server programs of this machine was built with it.
    """
    certificate, key = authority.sign("server", "DNS:localhost")
    words = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    words += ["--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no", *arguments]
    tried = []
    for program in dict.fromkeys([str(binary.find()), *filter(None, map(shutil.which, _PROGRAMS))]):
        tried.append(program)
        with suppress(_NotBuilt):
            return start(partial(_TlsServer, words, program))
    raise NoTls(f"no server program with TLS: {', '.join(tried)} have none (Debian: apt-get install redis-server)")


_PROGRAMS: Final = ("redis-server", "valkey-server")


class _NotBuilt(Exception):
    """The program knows no TLS."""


class _TlsServer(PrivateServer):
    def __init__(self, words: list[str], program: str, port: int) -> None:
        super().__init__(port=port, arguments=["--port", "0", "--tls-port", str(port), *words], binary=program)

    def start(self) -> Self:
        try:
            return super().start()
        except ConfigurationError as error:
            if any(said in str(error) for said in _HAS_NO_TLS):
                self.close()
                raise _NotBuilt from error
            raise


_HAS_NO_TLS: Final = ("Bad directive", "Failed finding TLS support")
