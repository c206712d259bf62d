# SPDX-License-Identifier: Apache-2.0
"""What the NCCL net plug-in carries: latency, bandwidth, patterns; beside UCX alone.

    mfs bench nccl                        # tcp and shm, beside ucx_perftest
    mfs bench nccl --pattern bandwidth --size 1m --pairs 9
    mfs bench nccl --inner /path/to/libnccl-net-x.so    # the gate, off and on
    mfs bench nccl --gate                 # what the gate costs a message
    mfs bench nccl --contend              # beside KV traffic on one port

Ranks are processes that drive the plug-in's table as NCCL does, without a GPU
(bench/nccl_loop.c). `off` is ucx_perftest on the same path for latency and bandwidth (an
active message of 8 bytes, puts of the same size, as many in flight), else the plug-in with
MFS_ENABLE=0; `mfs` is the plug-in. Runs follow each other in pairs; a ratio is the median over
the pairs of how much better `mfs` is: 1 is no difference, above 1 is better. Beside a latency
stand two more of ucx_perftest's: tag_lat, whose messages are matched with a posted receive, as
NCCL's are, and ucp_put_lat, which has no receiver but one that polls memory.

--contend: two hosts (network namespaces, 1 Gbit/s both ways). Rank 0 sends 1 MiB every 25 ms,
alone and beside 8 NIXL writes of another process that keep the port full; without MFS and
with it. p99 is of a message's time until the receiver has it; the KV traffic's share is of
what it has alone, less what the collective takes.
"""

from __future__ import annotations

import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from _main import begin
from rich.console import Console

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import NCCL_PLUGIN, InputError
from mfs_transport.terminal import Column, Table, help_of, make_console, number, status, track
from mfs_transport.testbed import network

ROOT = Path(__file__).resolve().parent.parent
TRANSPORTS = {
    "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
    "shm": {"UCX_TLS": "shm,self"},
}
LATENCY_TESTS = ("ucp_am_lat", "tag_lat", "ucp_put_lat")  # the first is `off`
PATTERNS = ("latency", "bandwidth", "ring", "alltoall")
SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20}
LINK_BPS = 125e6
KV_SYSTEMS = ("plain", "mfs")
WARM_UP = 4  # messages that open a connection's window: not timed


def size_of(text: str) -> int:
    digits = text.rstrip("kmKM")
    try:
        return int(digits) * SUFFIXES[text[len(digits) :].lower()]
    except (KeyError, ValueError):
        raise InputError(f"size {text!r}: bytes, with k or m behind") from None


def wheel() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("libucx")
    for place in (spec and spec.submodule_search_locations) or ():
        return Path(place)
    sys.exit("bench/nccl.py: no libucx; install it with: pip install libucx-cu12")


def compile_loop(place: Path, name: str = "nccl_loop") -> Path:
    program = place / name
    sources = [ROOT / "bench" / f"{name}.c", ROOT / "bench" / "nccl_world.c"]
    sources.append(ROOT / "csrc" / "nccl" / "inner.c")
    command = [*shlex.split(os.environ.get("CC", "gcc")), "-std=c11", "-D_GNU_SOURCE", "-O2"]
    command += [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'bench'}", "-pthread", "-o", str(program)]
    with status("compiling"):
        subprocess.run([*command, *map(str, sources), "-ldl"], check=True)
    return program


def environment(transport: str, folder: Path, **more: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LD_")}
    return {
        **env,
        "UCX_LOG_LEVEL": "error",
        "NCCL_SOCKET_IFNAME": "lo",
        "MFS_SEGMENT": str(folder / "segment"),
        "MFS_NCCL_UCX": env.get("MFS_NCCL_UCX", str(wheel() / "lib" / "libucp.so.0")),
        **TRANSPORTS.get(transport, {}),
        **more,
    }


def loop(program: Path, env: Mapping[str, str], *arguments: object) -> list[float]:
    command = [str(program), str(NCCL_PLUGIN), *map(str, arguments)]
    done = subprocess.run(command, env=dict(env), check=True, text=True, stdout=subprocess.PIPE)
    return [float(line) for line in done.stdout.split()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def perftest(transport: str, folder: Path, test: str, size: int, depth: int) -> float:
    """Seconds of one message of ucx_perftest on the same path; of latencies, one way."""
    env = environment(transport, folder)
    env["LD_LIBRARY_PATH"] = str(wheel() / "lib")
    tool, port = str(wheel() / "bin" / "ucx_perftest"), free_port()
    count = 20000 if test in LATENCY_TESTS else max(200, min(20000, (2 << 30) // size))
    command = [tool, "-t", test, "-s", str(size), "-n", str(count), "-O", str(depth)]
    command += ["-p", str(port), "-f"]
    server = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while True:  # the server listens when it does
            client = subprocess.run(
                [*command, "127.0.0.1"], env=env, text=True, capture_output=True, check=False
            )
            lines = client.stdout.strip().splitlines()
            if client.returncode == 0 and lines:
                return float(lines[-1].split()[3]) * 1e-6  # overall average, microseconds
            if time.monotonic() > deadline:
                sys.exit(f"bench/nccl.py: ucx_perftest failed: {client.stderr.strip()}")
            time.sleep(0.1)
    finally:
        server.kill()
        server.wait()


def measure(
    program: Path,
    folder: Path,
    pattern: str,
    transport: str,
    size: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    pairs: list[tuple[float, float]] = []
    ranks = 2 if pattern in ("latency", "bandwidth") else options["ranks"]
    gate = {"MFS_NCCL_INNER": options["inner"]} if options["inner"] else {}
    arguments = (pattern, size, options["depth"], options["budget_ms"], ranks)
    against = "plug-in, MFS_ENABLE=0"
    if ranks == 2 and pattern in ("latency", "bandwidth") and not gate:
        against = "ucx_perftest"
    tests = LATENCY_TESTS if pattern == "latency" else ("ucp_put_bw",)
    others: dict[str, list[float]] = {}
    for _ in range(options["pairs"]):
        if against == "ucx_perftest":
            for test in tests[1:]:
                seconds = perftest(transport, folder, test, size, options["depth"])
                others.setdefault(test, []).append(seconds * 1e6)
            off = perftest(transport, folder, tests[0], size, options["depth"])
        else:
            off = loop(program, environment(transport, folder, MFS_ENABLE="0", **gate), *arguments)[
                0
            ]
        pairs.append((off, loop(program, environment(transport, folder, **gate), *arguments)[0]))
    ratios = [off / mfs for off, mfs in pairs]
    latency = pattern == "latency"
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3

    def value(side: int) -> float:
        return statistics.median(
            pair[side] * 1e6 if latency else size / pair[side] / 1e6 for pair in pairs
        )

    return {
        "operation": pattern,
        "size_bytes": size,
        "transport": transport,
        "ranks": ranks,
        "against": tests[0] if against == "ucx_perftest" else against,
        "others_us": {test: statistics.median(found) for test, found in others.items()},
        "off": value(0),
        "mfs": value(1),
        "unit": "us" if latency else "MB/s",
        "ratio": statistics.median(ratios),
        "pairs": len(ratios),
        "spread": [low, high],
    }


def gate_cost(folder: Path, pairs: int) -> list[dict[str, Any]]:
    """CPU time that the gate adds to a message in front of a plug-in that moves nothing."""
    program = compile_loop(folder, "nccl_gate")
    null = folder / "null.so"
    command = [*shlex.split(os.environ.get("CC", "gcc")), "-std=c11", "-O2", "-shared", "-fPIC"]
    source = ROOT / "bench" / "nccl_null.c"
    subprocess.run([*command, f"-I{ROOT / 'csrc'}", "-o", str(null), str(source)], check=True)
    rows = []
    for size in (8, 1 << 20):
        runs = []
        for _ in track(range(pairs), f"gate, {size} bytes"):
            times = []
            for plugin, more in ((null, {}), (NCCL_PLUGIN, {"MFS_NCCL_INNER": str(null)})):
                done = subprocess.run(
                    [str(program), str(plugin), str(size)],
                    env=environment("tcp", folder, **more),
                    check=True,
                    text=True,
                    stdout=subprocess.PIPE,
                )
                times.append(float(done.stdout) * 1e9)
            runs.append(times)
        off, mfs = (statistics.median(run[side] for run in runs) for side in (0, 1))
        added = [run[1] - run[0] for run in runs]
        rows.append(
            {
                "operation": "gate",
                "transport": "none",
                "size_bytes": size,
                "off": off,
                "mfs": mfs,
                "unit": "ns",
                "added_ns": statistics.median(added),
                "ratio": mfs / off,
                "against": "without it",
                "pairs": pairs,
            }
        )
    return rows


# --- beside KV traffic ---


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def kv_rate(sender: Any, meanwhile: Callable[[], None]) -> float:
    """Bytes per second of KV traffic while that runs."""
    sender.ask("background")
    time.sleep(0.5)  # the port is full
    sender.tell("mark")
    meanwhile()
    sender.tell("stop")
    return float(sender.hear()["rate_Bps"])


def timed(span_s: list[float], into: list[float], run: Callable[[], list[float]]) -> None:
    """What `run` gives, and how long it took: the KV traffic's rate is of just that time."""
    begun = time.monotonic()
    into.extend(run())
    span_s.append(time.monotonic() - begun)


def contend_inside(pairs: int, budget_ms: int) -> list[dict[str, Any]]:
    import contend

    hosts = network.Namespaces(LINK_BPS)
    places = [hosts.add("sender"), hosts.add("receiver")]
    folder = Path(hosts.folder)
    program = compile_loop(folder)
    times: dict[tuple[str, str], list[float]] = {}
    rates: dict[tuple[str, str], list[float]] = {}
    kv: dict[str, tuple[Any, Any]] = {}
    for system in track(KV_SYSTEMS, "starting agents"):
        receiver = contend.Process(f"receiver-{system}", places[1], system, hosts.folder)
        sender = contend.Process(f"sender-{system}", places[0], system, hosts.folder)
        sender.ask("connect", **receiver.ask("metadata"))
        kv[system] = (sender, receiver)
    for _ in track(range(pairs), "contend"):
        for system in KV_SYSTEMS:
            env = environment("", folder, UCX_TLS="tcp", UCX_NET_DEVICES="eth0")
            env |= {
                "NCCL_SOCKET_IFNAME": "eth0",
                "WORLD_NETNS": "sender,receiver",
                "WORLD_SEGMENTS": f"{folder}/sender-{system},{folder}/receiver-{system}",
                "MFS_ENABLE": "1" if system == "mfs" else "0",
            }
            arguments = ("paced", 1 << 20, 1, budget_ms, 2)
            alone = loop(program, env, *arguments)
            times.setdefault((system, "alone"), []).extend(alone[WARM_UP:])
            sender = kv[system][0]
            kv_alone = kv_rate(sender, lambda: time.sleep(3))
            beside: list[float] = []
            span_s: list[float] = []
            collect = partial(timed, span_s, beside, partial(loop, program, env, *arguments))
            rate = kv_rate(sender, collect)
            taken = len(beside) * (1 << 20) / span_s[0]
            times.setdefault((system, "beside KV"), []).extend(beside[WARM_UP:])
            rates.setdefault((system, "beside KV"), []).append(rate / (kv_alone - taken))
    return [
        {
            "operation": "contend",
            "scene": scene,
            "transport": "tcp",
            "system": system,
            "size_bytes": 1 << 20,
            "messages": len(found),
            "p50_ms": 1e3 * percentile(found, 0.5),
            "p99_ms": 1e3 * percentile(found, 0.99),
            "p99_over_alone": percentile(found, 0.99) / percentile(times[system, "alone"], 0.99),
            "kv_share_of_rest": statistics.median(rates.get((system, scene), [0.0])),
            "pairs": pairs,
        }
        for (system, scene), found in times.items()
    ]


def contend_run(json_path: Path | None) -> None:
    reason = network.why_not_namespaces()
    if reason:
        sys.exit(f"--contend needs network namespaces: {reason}")
    command = [*network.enter_command(), sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run(command, check=False).returncode)


# --- output ---


def table(rows: list[dict[str, Any]]) -> Table:
    contended = any(row["operation"] == "contend" for row in rows)
    names = (
        ("system", "scene", "p50_ms", "p99_ms", "p99_over_alone", "kv_share_of_rest")
        if contended
        else ("operation", "transport", "size_bytes", "off", "mfs", "unit", "ratio", "against")
    )
    worth = {"against": 0, "unit": 1}
    view = Table(
        *(
            Column(name.replace("_", " "), worth.get(name), left=name in ("system", "operation"))
            for name in names
        )
    )
    for row in rows:
        view.add_row(
            *(
                number(row[name], ".2f") if isinstance(row[name], float) else str(row[name])
                for name in names
            )
        )
    return view


def show(rows: list[dict[str, Any]], console: Console) -> None:
    console.print(table(rows))
    for row in rows:
        for test, latency_us in row.get("others_us", {}).items():
            said = f"{row['size_bytes']} bytes over {row['transport']}: {latency_us:.2f} us"
            console.print(f"ucx_perftest {test}, {said}")


@click.command(help=help_of(__doc__))
@click.option("--pattern", "patterns", multiple=True, type=click.Choice(PATTERNS))
@click.option("--transport", "transports", multiple=True, type=click.Choice(list(TRANSPORTS)))
@click.option("--size", "sizes", multiple=True, help="Of a message, as 8, 64k, 1m.")
@click.option("--depth", default=4, show_default=True, type=click.IntRange(1, 32))
@click.option("--ranks", default=3, show_default=True, type=click.IntRange(2, 8))
@click.option("--pairs", default=7, show_default=True, type=click.IntRange(1))
@click.option("--budget-ms", default=300, show_default=True, type=click.IntRange(10))
@click.option("--inner", default="", help="A net plug-in to put the gate in front of.")
@click.option("--gate", is_flag=True, help="Cost of the gate when nothing waits, CPU time.")
@click.option("--contend", is_flag=True, help="Beside KV traffic on a shaped port.")
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", is_flag=True, hidden=True)
def main(**options: Any) -> None:
    console = make_console()
    if not NCCL_PLUGIN.exists():
        sys.exit(f"bench/nccl.py: {NCCL_PLUGIN} is not built: pip install -e .")
    if options["contend"] and not options["inside"]:
        contend_run(options["json_path"])
    rows: list[dict[str, Any]] = []
    if options["contend"]:
        rows = contend_inside(options["pairs"], max(options["budget_ms"], 3000))
    else:
        try:
            wanted = [size_of(text) for text in options["sizes"]]
        except InputError as error:
            sys.exit(f"bench/nccl.py: {error}")
        with tempfile.TemporaryDirectory(prefix="mfs-bench-nccl-") as place:
            folder = Path(place)
            program = compile_loop(folder)
            if options["gate"]:
                rows = gate_cost(folder, options["pairs"])
            for pattern in () if options["gate"] else options["patterns"] or PATTERNS:
                for transport in options["transports"] or TRANSPORTS:
                    for size in wanted or ([8] if pattern == "latency" else [1 << 20]):
                        with status(f"{pattern} over {transport}, {size} bytes"):
                            rows.append(measure(program, folder, pattern, transport, size, options))
    show(rows, console)
    if options["json_path"]:
        json_report.write(options["json_path"], rows)
    if options["contend"]:
        sys.stdout.flush()
        os._exit(0)  # pid 1 of its namespace: everything else ends with it


if __name__ == "__main__":
    begin(main)
