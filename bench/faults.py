# SPDX-License-Identifier: Apache-2.0
"""Processes that share a port are killed and stopped: what it costs the others.

Four processes send operations of random sizes for ever, each through its own queue, over one
port in one segment; the wire is emulated. Every fault hits a random one at a random moment:

    none         nothing: what is measured without a fault
    kill         SIGKILL
    stop         SIGSTOP, and SIGCONT after 5 to --stop-ms milliseconds
    kill_locked, stop_locked
                 the same while the victim has the segment's lock
    kill_idle    one is killed that has nothing queued and nothing in flight
    kill_young   a fifth process is killed while it opens the segment,
                 or just after
    both         one is stopped with the lock, then another is killed

stall is the longest time for which a process that was not hit could have sent and was kept
from it; silence the longest for which nobody sent, whatever the reason; away the longest for
which such a process did not look at its queue: it had no CPU. Given back is when the last
trace of the dead was gone. Everything else must be 0, else the exit status is 1: bytes lost
or sent twice (per operation, by an account of its own), senders, process slots, requests and
bytes in flight that nobody living has, bytes in flight below zero, counters that are off.

    mfs bench faults --faults 200 --json out/faults.json
"""

from __future__ import annotations

import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.terminal import Table, help_of, make_console, number, status, track

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = {
    "none": ["-O2"],
    "asan": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    # TSan does not see fences; the words they order are atomic, which is what it checks here
    # (-Wno-tsan is gcc's alone)
    "tsan": ["-O1", "-fsanitize=thread", "-Wno-unknown-warning-option", "-Wno-tsan"],
}
# what must be 0 of every fault, and of the end in which all finish and leave
ZERO = (
    *("lost_bytes", "doubled_bytes", "misfits", "leaked_senders", "leaked_processes"),
    *("leaked_requests", "leaked_bytes", "wrapped", "count_off_bytes"),
)
TARGET_MS = 100


def compile_program(folder: Path, sanitizer: str) -> Path:
    program = folder / "faults_loop"
    sources = [
        *sorted((ROOT / "bench").glob("faults_*.c")),
        *sorted((ROOT / "csrc" / "core").glob("*.c")),
        *sorted((ROOT / "csrc" / "host").glob("*.c")),
    ]
    command = [
        *(*shlex.split(os.environ.get("CC", "gcc")), *FLAGS, *SANITIZERS[sanitizer]),
        *("-Wl,--wrap=mfs_segment_unlock", f"-I{ROOT / 'csrc'}", "-o", str(program)),
        *(*map(str, sources), "-lm"),
    ]
    subprocess.run(command, check=True)
    return program


def run(program: Path, folder: Path, options: list[str], faults: int) -> list[dict[str, Any]]:
    """The outcomes, one for each fault and one of the end, and behind them the totals."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
    with subprocess.Popen(
        [str(program), str(folder), *options], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        total = faults + math.ceil(faults / 4) + 2
        lines = track(process.stdout, "faults", total)
        outcomes = [json.loads(line) for line in lines]
    if process.returncode or not outcomes:
        sys.exit(f"bench/faults.py: {program.name} has failed: status {process.returncode}")
    return outcomes


def summary(fault: str, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    hits = [one for one in outcomes if one["fault"] != "end"]
    stalls = sorted(one["stall_ns"] / 1e6 for one in hits)
    return {
        "fault": fault,
        "count": len(hits),
        "stall_median_ms": statistics.median(stalls),
        "stall_p99_ms": stalls[math.ceil(0.99 * len(stalls)) - 1],
        "stall_max_ms": stalls[-1],
        "silence_max_ms": max(one["silence_ns"] for one in hits) / 1e6,
        "away_max_ms": max(one["away_ns"] for one in hits) / 1e6,
        "given_back_max_ms": max(one["given_back_ns"] for one in hits) / 1e6,
        **{name: sum(abs(one[name]) for one in outcomes) for name in ZERO},
    }


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        *("fault", "count", "stall ms", "p99", "max", "silence max", "away max", "given back max")
    )
    for one in records:
        view.add_row(
            one["fault"],
            str(one["count"]),
            *(number(one[f"stall_{which}_ms"], ".1f") for which in ("median", "p99", "max")),
            *(number(one[f"{which}_max_ms"], ".1f") for which in ("silence", "away", "given_back")),
        )
    return view


@click.command(help=help_of(__doc__))
@click.option("--faults", default=200, show_default=True, type=click.IntRange(1, 100000))
@click.option("--seed", default=1, show_default=True, help="Of kinds, victims and moments.")
@click.option("--stop-ms", default=300, show_default=True, type=click.IntRange(5, 10000))
@click.option("--wire", default=125_000_000, show_default=True, help="Bytes/s of the wire.")
@click.option(
    "--sanitizer", type=click.Choice(list(SANITIZERS)), default="none", help="To compile with."
)
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
def main(
    faults: int, seed: int, stop_ms: int, wire: int, sanitizer: str, json_path: Path | None
) -> None:
    # memory, as the default place of a segment is: pages of a disk make their writers wait
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="mfs-faults-", dir=place) as name:
        folder = Path(name)
        with status("compiling"):
            program = compile_program(folder, sanitizer)
        options = [str(faults), str(seed), str(stop_ms), str(wire)]
        outcomes = run(program, folder, options, faults)
    end = outcomes.pop()
    kinds = dict.fromkeys(one["fault"] for one in outcomes if one["fault"] != "end")
    records = [summary(kind, [one for one in outcomes if one["fault"] == kind]) for kind in kinds]
    records.append(summary("all", [one for one in outcomes if one["fault"] != "none"]))
    wrong = [f"{one['fault']}: {name} {one[name]}" for one in records for name in ZERO if one[name]]
    if end["unfinished"]:
        wrong.append(f"end: {end['unfinished']} operations unfinished")
    console = make_console()
    console.print(table(records))
    console.print(f"stall {records[-1]['stall_max_ms']:.1f} ms at most; target {TARGET_MS} ms")
    console.print(
        f"{end['processes']} processes finished {end['operations']} operations of "
        f"{end['bytes'] / 1e6:.0f} MB in {end['seconds']:.1f} s"
    )
    console.print("\n".join(wrong) or "nothing lost, doubled or left behind")
    if json_path:
        json_report.write(json_path, records, end=end, seed=seed, wire_Bps=wire, stop_ms=stop_ms)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    begin(main)
