"""Mutants that no test can kill, each with a reason. They are named by what they change, so that lines may move."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.mutate_lua.mutants import Mutant

LIST: Final = Path(__file__).with_name("equivalent.toml")


def read(path: Path = LIST) -> dict[tuple[str, str, str], str]:
    """Why, by file, line and what the line becomes.

    Raises:
        ValueError: one is there twice, or gives no reason.
    """
    reasons: dict[tuple[str, str, str], str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []):
        key = (entry["file"], entry["line"], entry["becomes"])
        if key in reasons or not entry["why"].strip():
            raise ValueError(f"{path.name}: {key} is there twice or has no reason")
        reasons[key] = entry["why"]
    return reasons


def key_of(mutant: Mutant) -> tuple[str, str, str]:
    return (mutant.file, mutant.before, mutant.after)


def unknown(reasons: Mapping[tuple[str, str, str], str], mutants: list[Mutant]) -> list[tuple[str, str, str]]:
    """Entries for which there is no such mutant any more."""
    return sorted(reasons.keys() - {key_of(one) for one in mutants})
