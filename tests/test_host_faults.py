# SPDX-License-Identifier: Apache-2.0
"""Processes that share a port survive each other's death and stopping: bench/faults.py, short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench" / "faults.py"
NOTHING = (
    *("lost_bytes", "doubled_bytes", "misfits", "leaked_senders", "leaked_processes"),
    *("leaked_requests", "leaked_bytes", "wrapped", "count_off_bytes"),
)


@pytest.mark.parametrize(
    ("sanitizer", "faults"),
    [("none", 30), ("asan", 10), ("tsan", 10)],
    ids=["plain", "asan", "tsan"],
)
def test_faults(sanitizer: str, faults: int, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    done = subprocess.run(
        [
            *(sys.executable, str(BENCH), "--faults", str(faults), "--stop-ms", "120"),
            *("--sanitizer", sanitizer, "--json", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert path.exists(), done.stdout + done.stderr
    document = json.loads(path.read_text())
    for one in document["results"]:
        assert {name: one[name] for name in NOTHING} == dict.fromkeys(NOTHING, 0), one["fault"]
    assert done.returncode == 0, done.stdout + done.stderr
    # it was a test: all were hit, and had something to lose
    assert document["results"][-1]["fault"] == "all"
    assert document["results"][-1]["count"] == faults
    assert document["end"]["unfinished"] == 0
    assert document["end"]["operations"] > 10 * faults
