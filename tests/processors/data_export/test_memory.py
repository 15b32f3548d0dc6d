"""What an export of many rows needs: memory that doesn't grow with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

SLOW: Final = bool(os.environ.get("REDQUEUE_SLOW"))
MIB: Final = 2**20

PROGRAM: Final = """
import datetime, json, resource, sys, time
from pathlib import Path
from redqueue.processors.data_export import DataExportProcessor, ExportSource
from redqueue.processors.storage import Storage
from redqueue.shapes import DataExportJobData
from redqueue.testing import job_context

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with what the parent had
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

class Many(ExportSource):
    columns = ("id", "name", "phone", "amount", "created_at")
    def rows(self, columns, filters, asker):
        now = datetime.datetime.now(datetime.UTC)
        for n in range(int(sys.argv[2])):
            yield n, "Ada Lovelace, the first", "+49 30 1234567", 12.5, now
    def count(self, filters, asker):
        return int(sys.argv[2])

data = DataExportJobData(sub_account_id="s", export_type="many", format=sys.argv[1])
processor, context = DataExportProcessor({"many": Many()}, Storage(sys.argv[3])), job_context()
before, began = peak(), time.process_time()
result = processor.process(data, context)
print(json.dumps({
    "before": before, "peak": peak(), "seconds": time.process_time() - began,
    "rows": result.rows, "told": len(context.told), "last": context.told[-1][0],
}))
"""


def measured(format: str, rows: int, folder: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, format, str(rows), str(folder)], capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    print(format, found)
    return found


@pytest.mark.parametrize(
    ("format", "rows"),
    [("csv", 1_000_000), ("json", 1_000_000), ("excel", 1_000_000), ("pdf", 20_000)] if SLOW else [("csv", 50_000)],
)
def test_memory_does_not_grow_with_the_rows(format: str, rows: int, tmp_path: Path) -> None:
    found = measured(format, rows, tmp_path)
    assert (found["rows"], found["told"], found["last"]) == (rows, rows // 1_000 + 1, 1.0)
    assert found["peak"] < 200 * MIB
    assert found["peak"] - found["before"] < (60 if format == "pdf" else 16) * MIB
