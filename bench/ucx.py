# SPDX-License-Identifier: Apache-2.0
"""What the shim costs on an idle port, and what it is worth on a full one: UCX alone and with MFS.

    mfs bench ucx                           # tcp and shm, 8 B to 64 MiB
    mfs bench ucx --operation put --min 64k --max 4m --pairs 9 --json out.json
    mfs bench ucx --contend 8 --size 16m    # an urgent put beside 8 flows
    mfs bench ucx --many 120000 --size 45k  # one transfer of so many puts
    mfs bench ucx --instructions            # added to one small operation
    mfs bench ucx --trace                   # with MFS_TRACE on and off
    UCX_TLS=rc mfs bench ucx --libucp /usr/lib/libucp.so.0 --transport as-set

With --libucp it is another UCX than that of the libucx wheel, which has no RDMA; `as-set` leaves
UCX_TLS and UCX_NET_DEVICES as they are in the environment.

On two hosts: `mfs bench ucx --listen 7777` on the one, `--connect ADDRESS:7777` on the other.

Client and server are two processes, timed by the wall clock, or with `--place one` one
thread, timed by its CPU clock: the cost, whoever else uses the machine (bench/ucx_loop.c).
One pair is a run without and a run with the shim, one after the other; a size's ratio is
the median over the pairs of how much faster it is with MFS, its spread the middle half of
them. 1 is no difference, above 1 is better.

--contend N: N flows of the same process keep a put of 8 MiB posted each; an urgent put of
--size is posted beside them and flushed. Two emulated hosts (network namespaces) whose ports are
shaped to --rate; with --connect the network that is there. Reported are the urgent put's time,
alone and contended, the background's rate before it and from its post on (half a second more),
and the rate of both together.

--trace: puts of --size, each a flow of its own, with a window of 16, so that the other 16 wait
in the queue: three events for each of these. A pair is a run with MFS and one with MFS and
MFS_TRACE, in turn one or the other first.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from _main import begin
from rich.console import Console

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.control import HostCopy
from mfs_transport.native import UCX_SHIM, lib
from mfs_transport.terminal import Column, Table, help_of, make_console, status, track
from mfs_transport.testbed import network

ROOT = Path(__file__).resolve().parent.parent
TRANSPORTS = {
    "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
    "shm": {"UCX_TLS": "shm,self"},
}
AS_SET = "as-set"
OPERATIONS = ("put", "get", "tag", "put_lat", "get_lat")
SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
BACKGROUND_BYTES = 8 << 20
BACKGROUND_MS = 500


class Size(click.ParamType):
    """Bytes, with k, m or g behind."""

    name = "bytes"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        digits = value.rstrip("kmgKMG")
        try:
            found = int(digits) * SUFFIXES[value[len(digits) :].lower()]
        except (KeyError, ValueError):
            found = 0
        if found < 1:
            self.fail(f"{value!r}: a number of bytes, 1 or more, with k, m or g behind", param, ctx)
        return found


def wheel(part: str) -> Path:
    spec = importlib.util.find_spec("libucx")
    for place in (spec and spec.submodule_search_locations) or ():
        return Path(place) / part
    sys.exit("bench/ucx.py: no libucx; install it with: pip install libucx-cu12")


@contextmanager
def built(libucp: Path | None) -> Iterator[Path]:
    """The measuring program over that UCX, in a folder of its own."""
    libucp = libucp.resolve() if libucp else wheel("lib") / "libucp.so.0"
    with tempfile.TemporaryDirectory(prefix="mfs-bench-") as folder:
        program = Path(folder) / "ucx_loop"
        parts = ("loop", "side", "contend", "tag")
        sources = [str(ROOT / "bench" / f"ucx_{part}.c") for part in parts]
        command = [
            *(*shlex.split(os.environ.get("CC", "gcc")), "-std=c11", "-D_GNU_SOURCE", "-O2"),
            *("-isystem", str(wheel("include")), f"-I{ROOT / 'csrc'}", "-o", str(program)),
            *(*sources, str(libucp), f"-Wl,-rpath,{libucp.parent}", "-ldl"),
        ]
        with status("compiling"):
            subprocess.run(command, check=True)
        yield program


@dataclass(frozen=True)
class Where:
    """Where the client runs, and the server that it uses."""

    place: str  # as ucx_loop.c takes it
    command: tuple[str, ...] = ()  # goes in front of the client's
    variables: tuple[tuple[str, str], ...] = ()


def environment(variables: dict[str, str], segment: Path, *, mfs: bool) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if mfs or not k.startswith("MFS_")}
    env |= {"UCX_LOG_LEVEL": "error", **variables}
    if mfs:
        env |= {"MFS_ENABLE": "1", "LD_PRELOAD": str(UCX_SHIM), "MFS_SEGMENT": str(segment)}
    return env


def run(program: Path, env: dict[str, str], where: Where, *arguments: object) -> list[list[str]]:
    """Words of the lines that the client prints."""
    command = [*where.command, str(program), where.place, *map(str, arguments)]
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"bench/ucx.py: the client ended with {done.returncode}: {shlex.join(command)}")
    return [line.split() for line in done.stdout.splitlines()]


def quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return low, high


def measure(
    program: Path,
    where: Where,
    operation: str,
    transport: str,
    sizes: tuple[int, int],
    pairs: int,
    budget_ms: int,
) -> list[dict[str, Any]]:
    """One operation over one transport, all sizes."""
    segment = program.parent / "segment"
    latency = operation.endswith("_lat")
    largest = min(sizes[1], 65536) if latency else sizes[1]
    variables = TRANSPORTS.get(transport, {})
    runs: list[tuple[dict[int, float], ...]] = []
    for _ in range(pairs):
        one = []
        for mfs in (False, True):
            env = environment(variables, segment, mfs=mfs)
            lines = run(program, env, where, operation, sizes[0], largest, 8, budget_ms)
            one.append({int(words[0]): float(words[1]) for words in lines})
        runs.append(tuple(one))
    records = []
    for bytes_ in runs[0][0]:
        ratios = [plain[bytes_] / mfs[bytes_] for plain, mfs in runs]
        off, on = (
            statistics.median(
                run[side][bytes_] * 1e6 if latency else bytes_ / run[side][bytes_] / 1e6
                for run in runs
            )
            for side in (0, 1)
        )
        records.append(
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
    return records


def contend(
    program: Path, where: Where, transport: str, size: int, flows: int, pairs: int
) -> dict[str, Any]:
    """The urgent put, alone and beside the background, off and with MFS."""
    segment = program.parent / "segment"
    names = ("alone_s", "contended_s", "before_Bps", "during_Bps", "together_Bps")
    rounds: list[tuple[dict[str, float], ...]] = []
    for _ in track(range(pairs), "pairs"):
        one = []
        for mfs in (False, True):
            env = environment(dict(where.variables), segment, mfs=mfs)
            arguments = ("contend", size, BACKGROUND_BYTES, flows, BACKGROUND_MS)
            lines = run(program, env, where, *arguments)
            numbers = [float(word) for words in lines for word in words]
            one.append(dict(zip(names, numbers, strict=True)))
        rounds.append(tuple(one))

    def middle(name: str, side: int, scale: float) -> float:
        return statistics.median(one[side][name] for one in rounds) * scale

    ratios = [plain["contended_s"] / mfs["contended_s"] for plain, mfs in rounds]
    return {
        "operation": "contend",
        "size_bytes": size,
        "transport": transport,
        "off": middle("contended_s", 0, 1e3),
        "mfs": middle("contended_s", 1, 1e3),
        "unit": "ms",
        "ratio": statistics.median(ratios),
        "pairs": pairs,
        "spread": quartiles(ratios),
        "background_flows": flows,
        **{
            f"{name}_{system}": middle(key, side, scale)
            for side, system in enumerate(("off", "mfs"))
            for name, key, scale in (
                ("alone_ms", "alone_s", 1e3),
                ("background_before_MBps", "before_Bps", 1e-6),
                ("background_during_MBps", "during_Bps", 1e-6),
                ("together_MBps", "together_Bps", 1e-6),
            )
        },
        "together_ratio": statistics.median(
            mfs["together_Bps"] / plain["together_Bps"] for plain, mfs in rounds
        ),
    }


def many(
    program: Path, where: Where, transport: str, size: int, count: int, pairs: int
) -> dict[str, Any]:
    """One transfer of `count` puts of `size` bytes."""
    segment = program.parent / "segment"
    variables = TRANSPORTS.get(transport, {})
    rounds: list[list[tuple[float, float]]] = []
    for _ in track(range(pairs), transport):
        one = []
        for mfs in (False, True):
            env = environment(variables, segment, mfs=mfs)
            ((seconds, peak),) = run(program, env, where, "many", size, size, count, 1)
            one.append((float(seconds), float(peak)))
        rounds.append(one)
    ratios = [plain[0] / mfs[0] for plain, mfs in rounds]
    return {
        "operation": f"{count} puts",
        "size_bytes": size,
        "transport": transport,
        "off": statistics.median(one[0][0] for one in rounds) * 1e3,
        "mfs": statistics.median(one[1][0] for one in rounds) * 1e3,
        "unit": "ms",
        "ratio": statistics.median(ratios),
        "pairs": pairs,
        "spread": quartiles(ratios),
        "operations": count,
        "memory_more_bytes": statistics.median(mfs[1] - plain[1] for plain, mfs in rounds),
    }


def traced(
    program: Path, where: Where, transport: str, size: int, pairs: int, budget_ms: int
) -> dict[str, Any]:
    """Puts that wait, each a flow of its own: without and with the trace."""
    segment = program.parent / "segment"
    queued = {"MFS_WINDOW": str(16 * size), "MFS_TEST_CHUNK": str(size)}
    rounds: list[dict[str, float]] = []
    events = 0
    for number in track(range(pairs), f"trace over {transport}"):
        one = {}
        for on in ("0", "1") if number % 2 == 0 else ("1", "0"):
            variables = {**TRANSPORTS.get(transport, {}), **queued, "MFS_TRACE": on}
            env = environment(variables, segment, mfs=True)
            ((_, seconds),) = run(program, env, where, "flows", size, size, 2, budget_ms)
            one[on] = float(seconds)
            if on == "1":
                with HostCopy(str(segment)) as copy:
                    events = int(lib.mfs_event_count(copy.handle))
        rounds.append(one)
    ratios = [one["0"] / one["1"] for one in rounds]
    off, on_ = (statistics.median(size / one[side] / 1e6 for one in rounds) for side in ("0", "1"))
    return {
        "operation": "put, traced",
        "size_bytes": size,
        "transport": transport,
        "off": off,
        "mfs": on_,
        "unit": "MB/s",
        "ratio": statistics.median(ratios),
        "pairs": pairs,
        "spread": quartiles(ratios),
        "events": events,  # of a run, its warming up included
    }


def instructions(program: Path) -> dict[str, Any]:
    """Instructions of the client for one put of 8 bytes over shared memory, off and with MFS,
    by callgrind: the difference of two runs that differ in their number of operations, in the loop
    alone (how long UCX looks at the clock when it starts is not the same in two runs)."""
    found = {}
    for name, mfs in (("off", False), ("mfs", True)):
        counts = []
        for number in (2048, 12288):  # of the 64 that the loop makes at a time
            env = environment(TRANSPORTS["shm"], program.parent / "segment", mfs=mfs)
            env["UCX_MEM_EVENTS"] = "n"
            output = program.parent / "callgrind.out"
            command = [
                *("valgrind", "--tool=callgrind", "--toggle-collect=operations_run*"),
                f"--callgrind-out-file={output}",
            ]
            done = subprocess.run(
                [*command, str(program), "one", "put", "8", "8", "8", f"-{number}"],
                env=env,
                text=True,
                capture_output=True,
                check=True,
            )
            collected = [line for line in done.stderr.splitlines() if "Collected" in line]
            counts.append(int(collected[-1].split()[-1]))
        found[name] = (counts[1] - counts[0]) / 10240
    return {
        "operation": "put",
        "size_bytes": 8,
        "transport": "shm",
        **found,
        "unit": "instructions",
        "ratio": found["mfs"] / found["off"],
        "pairs": 1,
        "spread": [0, 0],
    }


def table(records: list[dict[str, Any]]) -> Table:
    """UCX alone and with MFS."""
    view = Table(
        Column("operation", left=True),
        Column("transport", left=True),
        *(Column(one) for one in ("bytes", "off", "mfs", "unit", "ratio")),
        Column("middle half", 0),
    )
    for row in records:
        view.add_row(
            *(row["operation"], row["transport"], str(row["size_bytes"])),
            *(f"{row['off']:.1f}", f"{row['mfs']:.1f}", row["unit"], f"{row['ratio']:.3f}"),
            "{:.2f}-{:.2f}".format(*row["spread"]),
        )
    return view


def show(records: list[dict[str, Any]], console: Console) -> None:
    console.print(table(records))
    for row in records:
        if "events" in row:
            console.print(
                f"{row['transport']}: off without the trace, mfs with it; "
                f"{row['events']:,} events in a run"
            )
        if "memory_more_bytes" in row:
            more = row["memory_more_bytes"] / 1e6
            console.print(f"{row['transport']}: {more:+.1f} MB at its peak with MFS")
        if row["operation"] != "contend":
            continue
        for system in ("off", "mfs"):
            alone = row[f"alone_ms_{system}"]
            console.print(
                f"{system:4} urgent {row[system]:.0f} ms ({row[system] / alone:.2f} times alone); "
                f"background {row[f'background_before_MBps_{system}']:.1f} MB/s before it, "
                f"{row[f'background_during_MBps_{system}']:.1f} beside it; "
                f"together {row[f'together_MBps_{system}']:.1f}"
            )


def inside(program: Path, link_Bps: float, size: int, flows: int, pairs: int) -> dict[str, Any]:
    """In namespaces of our own: two hosts with shaped ports."""
    hosts = network.Namespaces(link_Bps)
    ours, theirs = hosts.add("client"), hosts.add("server")
    variables = {"UCX_TLS": "tcp", "UCX_NET_DEVICES": ours.device}
    memory = max(size, BACKGROUND_BYTES)
    server = subprocess.Popen(
        [*theirs.command, str(program), "serve:7777", "put", "8", str(memory), "8", "8"],
        env=environment(variables, Path(hosts.folder, "server"), mfs=False),
        stdout=subprocess.PIPE,
    )
    if server.stdout is None or not server.stdout.readline():
        sys.exit("bench/ucx.py: the server did not start")
    where = Where(f"{theirs.address}:7777", ours.command, tuple(variables.items()))
    return contend(program, where, "tcp", size, flows, pairs)


@click.command(help=help_of(__doc__))
@click.option(
    "--operation", "operations", multiple=True, type=click.Choice(OPERATIONS), help="All if none."
)
@click.option(
    "--transport",
    "transports",
    multiple=True,
    type=click.Choice([*TRANSPORTS, AS_SET]),
    help="tcp and shm, if none.",
)
@click.option(
    "--libucp", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another UCX."
)
@click.option("--place", type=click.Choice(["two", "one"]), default="two", help="Processes.")
@click.option("--listen", type=click.IntRange(1, 65535), help="Be the server on this port.")
@click.option("--connect", metavar="ADDRESS:PORT", help="Use that server; UCX_* as they are set.")
@click.option("--min", "least", type=Size(), default="8", show_default=True, help="Smallest.")
@click.option("--max", "largest", type=Size(), default="64m", show_default=True, help="Largest.")
@click.option("--pairs", type=click.IntRange(1), default=7, show_default=True, help="Runs of each.")
@click.option("--budget-ms", type=click.IntRange(1), default=100, show_default=True, help="A size.")
@click.option("--contend", "flows", type=click.IntRange(1, 64), help="Background flows.")
@click.option("--many", "count_many", type=click.IntRange(1), help="Puts of one transfer.")
@click.option("--trace", "trace", is_flag=True, help="What the trace costs.")
@click.option(
    "--size", type=Size(), help="Of the urgent put [16m], of the many [45k], of the traced [64k]."
)
@click.option("--rate", default=1000.0, show_default=True, help="Mbit/s of an emulated port.")
@click.option("--instructions", "count", is_flag=True, help="Count them (valgrind).")
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    operations: tuple[str, ...],
    transports: tuple[str, ...],
    libucp: Path | None,
    place: str,
    listen: int | None,
    connect: str | None,
    least: int,
    largest: int,
    pairs: int,
    budget_ms: int,
    flows: int | None,
    count_many: int | None,
    trace: bool,
    size: int | None,
    rate: float,
    count: bool,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    if not UCX_SHIM.exists():
        sys.exit(f"bench/ucx.py: {UCX_SHIM} is not built: pip install -e .")
    if largest < least:
        raise click.UsageError("--max is below --min")
    if connect and ":" not in connect:
        raise click.UsageError("--connect takes ADDRESS:PORT")
    if flows and not connect and not is_inside:
        link_Bps = network.check_link(rate)
        if reason := network.why_not_namespaces():
            sys.exit(f"bench/ucx.py: --contend needs network namespaces: {reason}")
        command = [*network.enter_command(), sys.executable, *sys.argv, "--inside"]
        sys.exit(subprocess.run(command, check=False).returncode)
    console = make_console()
    records: list[dict[str, Any]] = []
    size = size or (45 << 10 if count_many else 64 << 10 if trace else 16 << 20)
    with built(libucp) as program:
        if listen:
            memory = max(largest, size, BACKGROUND_BYTES)
            server = [str(program), f"serve:{listen}", "put", "8", str(memory), "8", "8"]
            env = environment({}, program.parent / "segment", mfs=False)
            sys.exit(subprocess.run(server, env=env, check=False).returncode)
        if count:
            records.append(instructions(program))
            added = records[0]["mfs"] - records[0]["off"]
            console.print(f"8-byte put: {added:.0f} instructions added")
        elif trace:
            for transport in [AS_SET] if connect else transports or TRANSPORTS:
                place_ = Where(connect or place)
                records.append(traced(program, place_, transport, size, pairs, budget_ms))
        elif count_many:
            where = Where(connect or place)
            for transport in [AS_SET] if connect else transports or TRANSPORTS:
                records.append(many(program, where, transport, size, count_many, pairs))
        elif flows and is_inside:
            link_Bps = network.check_link(rate)
            records.append(inside(program, link_Bps, size, flows, pairs))
        elif flows:
            where = Where(str(connect))
            records.append(contend(program, where, AS_SET, size, flows, pairs))
        else:
            where = Where(connect or place)
            for operation in operations or OPERATIONS:
                for transport in [AS_SET] if connect else transports or TRANSPORTS:
                    with status(f"{operation} over {transport}"):
                        records += measure(
                            program, where, operation, transport, (least, largest), pairs, budget_ms
                        )
        if not count:
            show(records, console)
    if json_path:
        variables = {k: v for k, v in os.environ.items() if k.startswith(("MFS_", "UCX_"))}
        json_report.write(json_path, records, load=os.getloadavg(), variables=variables)
    if is_inside:
        sys.stdout.flush()
        os._exit(0)  # pid 1 of its namespace: everything else ends with it


if __name__ == "__main__":
    begin(main)
