# SPDX-License-Identifier: Apache-2.0
"""What the queue costs: one enqueue and one dequeue, by how much is queued.

    mfs bench core --json core.json
    mfs bench core --record      # for tests/test_core_instructions.py

The loop is in C (bench/core.c). Times are the least of a few runs, since other
load on the machine only adds; instructions are counted by callgrind when
valgrind is there, and do not depend on the load. A table of them is kept in
bench/core_instructions.json, with the compiler that it holds for: a change that
needs more of them than the tests allow is made on purpose, and the table anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfs_transport import output_file

if TYPE_CHECKING:
    from mfs_transport.terminal import Table

ROOT = Path(__file__).parent.parent
SCHEMA_VERSION = 1
GRID = [
    *((operations, 10) for operations in (10**3, 10**4, 10**5, 10**6)),
    *((operations, 10**3) for operations in (10**3, 10**4, 10**5, 10**6)),
    *((operations, 10**5) for operations in (10**5, 10**6)),
]
RECORD = ROOT / "bench" / "core_instructions.json"
RECORDED = [
    *(("mfs", *size) for size in ((10**3, 10), (10**3, 10**3), (10**5, 10**3), (10**5, 10**5))),
    *((policy, 10**3, 10**3) for policy in ("fifo", "fair", "srpt", "karuna", "mfs_paper")),
]
COMPILE = [
    *("gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror"),
    "-Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc",
]


def build(folder: Path) -> Path:
    program = folder / "core"
    sources = [str(ROOT / "bench" / "core.c"), *map(str, sorted((ROOT / "csrc/core").glob("*.c")))]
    subprocess.run(
        [
            *(*COMPILE, f"-I{ROOT / 'csrc'}", "-o", str(program)),
            *(*sources, "-lm"),
        ],
        check=True,
    )
    return program


def measure(
    program: Path, policy: str, operations: int, flows: int, pairs: int, runs: int, count: bool
) -> dict[str, Any]:
    command = [str(program), policy, str(operations), str(flows)]
    rows = []
    for _ in range(runs):
        done = subprocess.run([*command, str(pairs)], capture_output=True, text=True, check=True)
        rows.append([float(word) for word in done.stdout.split()])
    return {
        "name": policy,
        "operations": operations,
        "flows": flows,
        "ns_per_pair": min(row[0] for row in rows),
        "instructions_per_pair": instructions(program, command[1:]) if count else None,
        "bytes_per_operation": int(rows[0][1]),
        "allocations": int(max(row[2] for row in rows)),
    }


def instructions(program: Path, arguments: list[str]) -> float | None:
    """By callgrind, of the loop alone; None without valgrind."""
    pairs = 20_000
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--toggle-collect=pairs_run"),
                *(f"--callgrind-out-file={folder}/out", str(program), *arguments, str(pairs)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    return int(found[1]) / pairs if found and done.returncode == 0 else None


def compiler() -> str:
    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    return gcc.stdout.splitlines()[0]


def setting() -> dict[str, Any]:
    """What the counts depend on besides the sources."""
    return {"compiler": compiler(), "machine": platform.machine(), "command": COMPILE}


def count_all(program: Path) -> dict[str, float]:
    """Instructions per pair of every recorded case, by "policy operations flows"."""
    counts = {}
    for policy, operations, flows in RECORDED:
        counted = instructions(program, [policy, str(operations), str(flows)])
        if counted is None:
            raise RuntimeError("valgrind did not count")
        counts[f"{policy} {operations} {flows}"] = round(counted, 1)
    return counts


def grown(recorded: dict[str, float], counted: dict[str, float], limit: float) -> list[str]:
    """The cases that need more instructions than `limit` allows, in words."""
    return [
        f"{case}: {counted[case]:.1f} instructions a pair, {before:.1f} recorded"
        for case, before in recorded.items()
        if counted[case] > before * (1 + limit)
    ]


def environment() -> dict[str, Any]:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpu": model[1] if model else platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "compiler": compiler(),
    }


def show(results: list[dict[str, Any]]) -> None:
    from mfs_transport.terminal import make_console

    make_console().print(table(results))


def table(results: list[dict[str, Any]]) -> Table:
    """Of one push and the chunk that it makes."""
    from mfs_transport.terminal import Table

    view = Table(
        *("policy", "operations", "flows", "ns", "instructions", "bytes/operation", "allocations")
    )
    for row in results:
        counted = row["instructions_per_pair"]
        view.add_row(
            row["name"],
            f"{row['operations']:,}",
            f"{row['flows']:,}",
            f"{row['ns_per_pair']:.0f}",
            "-" if counted is None else f"{counted:.0f}",
            str(row["bytes_per_operation"]),
            str(row["allocations"]),
        )
    return view


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", default="mfs")
    parser.add_argument("--pairs", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=3, help="the least time of so many")
    parser.add_argument("--no-instructions", action="store_true", help="do not use valgrind")
    parser.add_argument("--json", metavar="FILE", help="write the results there as well")
    parser.add_argument(
        "--record", action="store_true", help=f"only count instructions, into {RECORD.name}"
    )
    options = parser.parse_args(argv)
    if options.json:
        output_file.check(Path(options.json))
    if options.record:
        with tempfile.TemporaryDirectory() as folder:
            record = {**setting(), "instructions_per_pair": count_all(build(Path(folder)))}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        return 0
    from mfs_transport.terminal import status, track

    count = not options.no_instructions and shutil.which("valgrind") is not None
    with tempfile.TemporaryDirectory() as folder:
        with status("compiling"):
            program = build(Path(folder))
        results = [
            measure(program, options.policy, *size, options.pairs, options.runs, count)
            for size in track(GRID, "size of the queue")
        ]
    show(results)
    if options.json:
        report = {
            "schema_version": SCHEMA_VERSION,
            "environment": environment(),
            "argv": ["core.py", *argv],
            "results": results,
        }
        output_file.write(Path(options.json), json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
