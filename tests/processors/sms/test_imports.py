"""What needs the packages of the extra, and what doesn't."""

from __future__ import annotations

import subprocess
import sys

import pytest

PACKAGES = ("httpx", "phonenumbers", "aiolimiter")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_names_the_extra(package: str) -> None:
    ran = run(f"import sys; sys.modules[{package!r}] = None; import redqueue.processors.sms")
    assert ran.stderr.splitlines()[-1].startswith("redqueue.errors.MissingExtra:"), ran.stderr
    assert "pip install 'redqueue-jobs[sms]'" in ran.stderr


def test_a_producer_needs_none_of_them() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({PACKAGES!r}))"
    assert run(f"{blocked}; import redqueue, redqueue.shapes, redqueue.processors").returncode == 0
