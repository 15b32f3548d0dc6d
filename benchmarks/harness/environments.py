"""Each peer's environment under .bench: a venv by uv, or node_modules. Made once, and again when its pins change."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.harness.peers import PEERS, ROOT, Peer

BENCH: Final = ROOT / ".bench"
SECONDS: Final = 600


class NotInstalled(Exception):
    """A peer's environment can't be made: its registry is out of reach, or its pins don't fit."""


def prepare(peer: Peer) -> None:
    """Install what the peer needs, unless it is there. Raises NotInstalled with what the installer said."""
    home, source = BENCH / peer.folder, PEERS / peer.folder
    pins = source / ("package.json" if peer.node else "requirements.txt")
    wanted = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    ready = home / ".ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    if peer.node:
        shutil.copy(pins, home)
        _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], home)
    else:
        make_venv(home, pins, checkout=peer.checkout)
    ready.write_text(wanted, encoding="utf-8")


def make_venv(home: Path, pins: Path, *, checkout: bool = False) -> None:
    """A virtual environment with just those pins, and redqueue of this checkout when asked for."""
    uv = [sys.executable, "-m", "uv"]
    install = [*uv, "pip", "install", "--quiet", "--python", str(python_of(home))]
    _run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], ROOT)
    _run([*install, "--requirement", str(pins)], ROOT)
    if checkout:
        _run([*install, "--no-deps", "--editable", str(ROOT)], ROOT)


def command(peer: Peer) -> list[str]:
    """What starts its processes, without their arguments."""
    if not peer.node:
        return [str(python_of(BENCH / peer.folder)), str(PEERS / peer.folder / "peer.py")]
    # Node looks for packages beside the file, so its files run from a copy beside node_modules.
    copies = BENCH / peer.folder / "peers"
    shutil.copytree(PEERS / peer.folder, copies / peer.folder, dirs_exist_ok=True)
    shutil.copy(PEERS / "measured.mjs", copies)
    return ["node", str(copies / peer.folder / "peer.mjs")]


def python_of(home: Path) -> Path:
    """The interpreter of a virtual environment."""
    return home / "bin" / "python"


def versions(peer: Peer) -> dict[str, str]:
    """All that is installed in its environment, by name."""
    if peer.node:
        said = _run(["npm", "ls", "--all", "--json", "--package-lock-only"], BENCH / peer.folder)
        return _node_versions(json.loads(said).get("dependencies", {}))
    python = str(python_of(BENCH / peer.folder))
    said = _run([sys.executable, "-m", "uv", "pip", "list", "--format", "json", "--python", python], ROOT)
    return {row["name"]: row["version"] for row in json.loads(said)}


def _node_versions(dependencies: dict[str, dict[str, object]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, facts in dependencies.items():
        found[name] = str(facts.get("version", "?"))
        inner = facts.get("dependencies")
        found.update(_node_versions(inner) if isinstance(inner, dict) else {})
    return found


def _run(arguments: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{arguments[0]}: {error}") from error
    if done.returncode:
        raise NotInstalled(f"{Path(arguments[0]).name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
