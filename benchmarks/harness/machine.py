"""What the figures depend on: the processor, the system, the versions. No name of the machine and no path."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.harness.peers import ROOT


def describe(server_version: str) -> dict[str, str]:
    """The facts that are kept with a run."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "node": _said("node", "--version").lstrip("v") or "none",
        "server": server_version,
        "commit": _said("git", "rev-parse", "--short", "HEAD") or "unknown",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
