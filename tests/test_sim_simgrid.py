# SPDX-License-Identifier: Apache-2.0
"""Finish times of one level against SimGrid, which is somebody else's simulator."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench" / "sim_simgrid.py"


@pytest.mark.long
@pytest.mark.skipif(
    not Path("/usr/include/simgrid/s4u.hpp").exists() or not shutil.which("g++"),
    reason="no SimGrid: apt-get install libsimgrid-dev g++",
)
def test_finish_times_are_simgrids(tmp_path: Path) -> None:
    report = tmp_path / "simgrid.json"
    subprocess.run(
        [sys.executable, str(BENCH), "--flows", "10000", "--runs", "1", "--json", str(report)],
        check=True,
        timeout=900,
    )
    rows = json.loads(report.read_text())["results"]
    assert {row["hosts"] for row in rows} == {16, 64, 256}
    assert all(row["apart_s"] < 1e-6 for row in rows)
