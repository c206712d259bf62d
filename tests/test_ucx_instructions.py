# SPDX-License-Identifier: Apache-2.0
"""A put needs no more of our instructions than it did: counted by callgrind, so the load of the
machine does not matter, but the compiler does.

The figures are those of the compiler that bench/core_instructions.json names; with another one
the tests are skipped."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import benches
import pytest
from ucx import toolbox

BENCH = Path(__file__).parent.parent / "bench"
AN_IDLE_PORT = 165  # an 8-byte put over shared memory [162]
QUEUED = 3300  # a put that waits, in the shim and the library [3270]
MOST = 2000  # operations


def compiled_with() -> dict[str, object]:
    setting: dict[str, object] = benches.load("core").setting()
    return setting


@pytest.fixture(autouse=True)
def counts_hold() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    record = json.loads((BENCH / "core_instructions.json").read_text())
    for name, value in compiled_with().items():
        if record[name] != value:
            pytest.skip(f"recorded with {name} {record[name]}, here {value}")


def ours(output: Path) -> int:
    """Instructions inside our libraries, of a file of callgrind's with whole names."""
    library, count, called = "", 0, False
    for line in output.read_text().splitlines():
        if line.startswith("ob="):
            library = line.rpartition("/")[2]
        elif line.startswith("calls="):
            called = True  # the next line is of what was called
        elif line[:1].isdigit():
            count += int(line.split()[1]) if library.startswith("libmfs") and not called else 0
            called = False
    return count


def a_queued_put(folder: Path, program: Path) -> float:
    counts = []
    for operations in (MOST, 2 * MOST):
        output = folder / str(operations)
        command = [
            *("valgrind", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"),
            *(f"--callgrind-out-file={output}", str(program), str(operations)),
        ]
        env = toolbox.environment(
            MFS_ENABLE="1",
            MFS_WINDOW="64k",
            MFS_PORT_RATE="80gbit",
            MFS_TEST_WAITS_TIME="1000s",  # what is done by the clock is no part of a put
        )
        toolbox.run(command, env, 120)
        counts.append(ours(output))
    return (counts[1] - counts[0]) / MOST


def test_a_queued_put(tmp_path: Path) -> None:
    """Some work is done by the clock all the same, by 1 or 2 % on a busy machine: of three."""
    program = toolbox.program("queued", toolbox.fake_ucp())
    counts = [a_queued_put(tmp_path, program)]
    while counts[-1] > QUEUED and len(counts) < 3:
        counts.append(a_queued_put(tmp_path, program))
    assert 0 < min(counts) <= QUEUED, counts


def test_a_put_at_an_idle_port(tmp_path: Path) -> None:
    if toolbox.wheel("lib") is None:
        pytest.skip("no libucx")
    output = tmp_path / "put.json"
    command = [sys.executable, BENCH / "ucx.py", "--instructions", "--json", output]
    toolbox.run(command, toolbox.environment(preload=False), 120)
    (counted,) = json.loads(output.read_text())["results"]
    assert 0 < counted["mfs"] - counted["off"] <= AN_IDLE_PORT
