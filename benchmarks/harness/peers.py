"""Who is measured: the folders of benchmarks/peers, as their peer.toml describes them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
PEERS: Final = ROOT / "benchmarks" / "peers"
FIRST: Final = ("redqueue", "redqueue, uvloop", "floor")


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same peer under another name, with more variables in its environment; what it does not say stays."""

    name: str
    environment: Mapping[str, str]
    settings: str


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the table.

    Attributes:
        package, version: as its registry names them; the version is what its pins say.
        page: the documentation from which `settings` come.
        settings: which ones, and why they are the fastest that are documented.
        acknowledged: "late" when a job is done, "early" when it is taken.
        lost_on_crash: what becomes of running jobs when the worker is killed.
        flavours: what its worker runs: "async" (or its only kind), "plain" functions.
        figures: the only measurements that make sense; all by default.
        checkout: redqueue of this checkout is installed beside its pins.
    """

    name: str
    language: str
    package: str = msgspec.field(name="library")
    version: str
    page: str
    settings: str
    acknowledged: str
    results: str
    retries: str
    lost_on_crash: str
    flavours: tuple[str, ...]
    notes: str = ""
    figures: tuple[str, ...] = ()
    checkout: bool = False
    environment: Mapping[str, str] = {}
    variants: tuple[Variant, ...] = ()
    folder: str = ""

    @property
    def node(self) -> bool:
        """Whether it runs on Node."""
        return self.language == "Node"


def read_peer(folder: Path) -> Peer:
    """The peer of a folder, without its variants. Raises ValidationError when its peer.toml is not complete."""
    described = tomllib.loads((folder / "peer.toml").read_text(encoding="utf-8"))
    return msgspec.structs.replace(msgspec.convert(described, Peer), folder=folder.name)


def folders() -> list[Path]:
    """The folders of all peers, by name."""
    return sorted(path.parent for path in PEERS.glob("*/peer.toml"))


def entries(names: Iterable[str] = ()) -> list[Peer]:
    """All entries of the table, redqueue and the floor first, else by language and name; or those named.

    Raises:
        ValueError: a name is none of theirs.
    """
    known = {one.name: one for folder in folders() for one in _with_variants(read_peer(folder))}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"no such peers: {unknown}; there are {sorted(known)}")
    chosen = [known[name] for name in wanted] or list(known.values())
    return sorted(chosen, key=_place)


def _with_variants(peer: Peer) -> list[Peer]:
    plain = msgspec.structs.replace(peer, variants=())
    return [plain] + [
        msgspec.structs.replace(plain, name=one.name, settings=one.settings, environment=one.environment)
        for one in peer.variants
    ]


def _place(peer: Peer) -> tuple[int, str, str]:
    first = FIRST.index(peer.name) if peer.name in FIRST else len(FIRST)
    return first, "" if peer.language == "Python" else peer.language, peer.name
