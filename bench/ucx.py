# SPDX-License-Identifier: Apache-2.0
"""What the shim costs on an idle port: UCX alone and UCX with MFS, interleaved.

    python bench/ucx.py                                   # tcp and shm, 8 B to 64 MiB
    python bench/ucx.py --operation put --min 64k --max 4m --pairs 9 --json out.json
    python bench/ucx.py --instructions                    # added to one small operation

Client and server are two processes, timed by the wall clock, or with `--place one` one
thread, timed by its CPU clock: the cost, whoever else uses the machine (bench/ucx_loop.c).
One pair is a run without and a run with the shim, one after the other; a size's ratio is
the median over the pairs of how much faster it is with MFS, its spread the middle half of
them. 1 is no difference, above 1 is better.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
SHIM = ROOT / "mfs_transport" / "libmfs_ucx.so"
TRANSPORTS = {
    "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
    "shm": {"UCX_TLS": "shm,self"},
}
OPERATIONS = ("put", "get", "tag", "put_lat", "get_lat")
SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size(text: str) -> int:
    digits = text.rstrip("kmgKMG")
    try:
        return int(digits) * SUFFIXES[text[len(digits) :].lower()]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r}: bytes, with k, m or g behind") from None


def wheel(part: str) -> Path:
    spec = importlib.util.find_spec("libucx")
    for place in (spec and spec.submodule_search_locations) or ():
        return Path(place) / part
    sys.exit("bench/ucx.py: no libucx; install it with: pip install libucx-cu12")


def compile_program(place: Path) -> Path:
    program = place / "ucx_loop"
    command = [
        *(*shlex.split(os.environ.get("CC", "gcc")), "-std=c11", "-D_GNU_SOURCE", "-O2"),
        *("-isystem", str(wheel("include")), "-o", str(program)),
        *(str(ROOT / "bench" / "ucx_loop.c"), str(wheel("lib") / "libucp.so.0")),
        f"-Wl,-rpath,{wheel('lib')}",
    ]
    subprocess.run(command, check=True)
    return program


def environment(transport: str, segment: Path, *, mfs: bool) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if mfs or not k.startswith("MFS_")}
    env |= {"UCX_LOG_LEVEL": "error", **TRANSPORTS[transport]}
    if mfs:
        env |= {"MFS_ENABLE": "1", "LD_PRELOAD": str(SHIM), "MFS_SEGMENT": str(segment)}
    return env


def once(program: Path, env: dict[str, str], arguments: list[str]) -> dict[int, float]:
    """size -> seconds per operation"""
    done = subprocess.run(
        [str(program), *arguments], env=env, check=True, text=True, stdout=subprocess.PIPE
    )
    return {int(a): float(b) for a, b in (line.split() for line in done.stdout.splitlines())}


def quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return low, high


def measure(
    program: Path, options: argparse.Namespace, operation: str, transport: str
) -> list[Any]:
    segment = program.parent / "segment"
    latency = operation.endswith("_lat")
    factor = 8
    largest = min(options.max, 65536) if latency else options.max
    arguments = [
        options.place,
        operation,
        *map(str, (options.min, largest, factor, options.budget_ms)),
    ]
    runs: list[tuple[dict[int, float], dict[int, float]]] = []
    for _ in range(options.pairs):
        plain, with_mfs = (
            once(program, environment(transport, segment, mfs=mfs), arguments)
            for mfs in (False, True)
        )
        runs.append((plain, with_mfs))
    results = []
    for bytes_ in runs[0][0]:
        ratios = [plain[bytes_] / mfs[bytes_] for plain, mfs in runs]
        scale = 1e6 if latency else 0
        off, on = (
            statistics.median(
                run[side][bytes_] * scale if latency else bytes_ / run[side][bytes_] / 1e6
                for run in runs
            )
            for side in (0, 1)
        )
        results.append(
            {
                "operation": operation,
                "size_bytes": bytes_,
                "transport": transport,
                "off": off,
                "mfs": on,
                "unit": "us" if latency else "MB/s",
                "ratio": statistics.median(ratios),
                "pairs": len(ratios),
                "spread": quartiles(ratios),
            }
        )
    return results


def instructions(program: Path) -> dict[str, float]:
    """Instructions of the client for one put of 8 bytes over shared memory, off and with MFS,
    by callgrind: the difference of two runs that differ in their number of operations."""
    found = {}
    for name, mfs in (("off", False), ("mfs", True)):
        counts = []
        for number in (2000, 12000):
            env = environment("shm", program.parent / "segment", mfs=mfs)
            env["UCX_MEM_EVENTS"] = "n"
            output = program.parent / "callgrind.out"
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"]
            done = subprocess.run(
                [*command, str(program), "one", "put", "8", "8", "8", f"-{number}"],
                env=env,
                text=True,
                capture_output=True,
                check=True,
            )
            collected = [line for line in done.stderr.splitlines() if "Collected" in line]
            counts.append(int(collected[-1].split()[-1]))
        found[name] = (counts[1] - counts[0]) / 10000
    return found


def show(results: list[Any], console: Console) -> None:
    table = Table(title="UCX alone and with MFS on an idle port")
    for column in ("operation", "transport", "bytes", "off", "mfs", "unit", "ratio", "middle half"):
        table.add_column(
            column, justify="left" if column in ("operation", "transport") else "right"
        )
    for row in results:
        table.add_row(
            *(row["operation"], row["transport"], str(row["size_bytes"])),
            *(f"{row['off']:.1f}", f"{row['mfs']:.1f}", row["unit"], f"{row['ratio']:.3f}"),
            "{:.2f}-{:.2f}".format(*row["spread"]),
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--operation", action="append", choices=OPERATIONS)
    parser.add_argument("--transport", action="append", choices=TRANSPORTS)
    parser.add_argument("--place", choices=("two", "one"), default="two", help="processes [two]")
    parser.add_argument("--min", type=size, default=8, help="smallest operation [8]")
    parser.add_argument("--max", type=size, default=64 << 20, help="largest operation [64m]")
    parser.add_argument("--pairs", type=int, default=7, help="runs off and on [7]")
    parser.add_argument("--budget-ms", type=int, default=100, help="time for a size [100]")
    parser.add_argument("--instructions", action="store_true", help="count them (valgrind)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    if not SHIM.exists():
        sys.exit(f"bench/ucx.py: {SHIM} is not built: pip install -e .")
    if options.pairs < 1 or options.min < 1 or options.max < options.min:
        sys.exit("bench/ucx.py: --pairs and --min are 1 or more, --max is not below --min")
    console = Console()
    results: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="mfs-bench-") as folder:
        program = compile_program(Path(folder))
        if options.instructions:
            found = instructions(program)
            results.append(
                {
                    "operation": "put",
                    "size_bytes": 8,
                    "transport": "shm",
                    **found,
                    "unit": "instructions",
                    "ratio": found["mfs"] / found["off"],
                    "pairs": 1,
                    "spread": [0, 0],
                }
            )
            console.print(f"8-byte put: {found['mfs'] - found['off']:.0f} instructions added")
        else:
            for operation in options.operation or OPERATIONS:
                for transport in options.transport or TRANSPORTS:
                    with console.status(f"{operation} over {transport}"):
                        results += measure(program, options, operation, transport)
            show(results, console)
    if options.json:
        about = {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg(),
            "variables": {k: v for k, v in os.environ.items() if k.startswith(("MFS_", "UCX_"))},
        }
        document = {"schema_version": 1, "environment": about, "argv": sys.argv, "results": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
