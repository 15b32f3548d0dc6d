"""Each peer's folder is complete, and its pins are what its peer.toml says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from benchmarks.harness.figures import MEASUREMENTS
from benchmarks.harness.peers import PEERS, ROOT, entries, folders, read_peer

FOLDERS: Final = sorted(path for path in PEERS.iterdir() if path.is_dir() and path.name != "__pycache__")
PIN: Final = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([\w.]+)")


def pins(folder: Path) -> dict[str, str]:
    """What the folder installs, by name; every line of it must be an exact pin."""
    if (folder / "package.json").exists():
        found: dict[str, str] = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
        assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in found.values()), found
        return found
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    matches = [PIN.fullmatch(line.partition("#")[0].strip()) for line in lines if line.partition("#")[0].strip()]
    assert all(matches), lines
    return {match[1]: match[2] for match in matches if match}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.name))
def test_a_peers_folder_is_complete_and_its_pins_match(folder: Path) -> None:
    peer = read_peer(folder)
    assert peer.language in ("Python", "Node")
    assert (folder / ("peer.mjs" if peer.node else "peer.py")).exists()
    assert peer.acknowledged in ("late", "early")
    assert peer.flavours
    assert set(peer.flavours) <= {"async", "plain"}
    assert set(peer.figures) <= set(MEASUREMENTS)
    for text in (peer.page, peer.settings, peer.results, peer.retries, peer.lost_on_crash):
        assert text.strip()
    if peer.package == "redqueue-jobs":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert peer.version == project["version"]
    else:
        assert pins(folder)[peer.package] == peer.version


def test_every_folder_describes_itself() -> None:
    assert folders() == FOLDERS


def test_names_are_unique_and_redqueue_and_the_floor_come_first() -> None:
    names = [entry.name for entry in entries()]
    assert len(set(names)) == len(names)
    assert names[:3] == ["redqueue", "redqueue, uvloop", "floor"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no such peers: \['nobody'\]; there are \['arq'"):
        entries(["nobody"])


def test_a_variant_is_the_same_peer_in_another_environment() -> None:
    plain, fast = entries(["redqueue", "redqueue, uvloop"])
    assert plain.folder == fast.folder
    assert plain.environment != fast.environment
