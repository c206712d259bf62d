# SPDX-License-Identifier: Apache-2.0
"""An enqueue and a dequeue need no more instructions than recorded: bench/core_instructions.json.

Counts by callgrind do not depend on the load of the machine, but they do on the compiler.
`python bench/core.py --record` makes the table anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import benches
import pytest

LIMIT = 0.03


def test_a_pair_needs_no_more_instructions(tmp_path: Path) -> None:
    core = benches.load("core")
    record = json.loads(core.RECORD.read_text())
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    for name, value in core.setting().items():
        if record[name] != value:
            pytest.skip(f"recorded with {name} {record[name]}, here {value}")
    counted = core.count_all(core.build(tmp_path))
    assert counted.keys() == record["instructions_per_pair"].keys()
    assert core.grown(record["instructions_per_pair"], counted, LIMIT) == []


def test_growth_is_named() -> None:
    recorded = {"mfs 1000 10": 100.0, "fifo 1000 10": 100.0}
    counted = {"mfs 1000 10": 103.1, "fifo 1000 10": 102.9}
    assert benches.load("core").grown(recorded, counted, LIMIT) == [
        "mfs 1000 10: 103.1 instructions a pair, 100.0 recorded"
    ]
