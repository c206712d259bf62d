# SPDX-License-Identifier: Apache-2.0
"""The simulator's flows beside SimGrid's: finish times of one level, and flows per second.

Poisson arrivals of flows between random hosts, each with a link up and a link down; max-min
fair, no latency. SimGrid (network/model:CM02, no TCP gamma, no cross traffic) solves the same
model on its own. Both run on one core; only the simulation is timed, not reading or set-up.

    mfs bench sim_simgrid --flows 10000 --json out/simgrid.json

SimGrid comes from Debian (libsimgrid-dev); run by root it is installed, otherwise the bench says
what is missing and ends with status 77.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.sim import engine
from mfs_transport.terminal import Table, help_of, make_console, status, track
from mfs_transport.testbed import system

SOURCE = Path(__file__).with_suffix(".cpp")
BANDWIDTH_BPS = 25e9
SKIPPED = 77
OPTIONS = [
    "--cfg=network/model:CM02",
    "--cfg=network/TCP-gamma:0",
    "--cfg=network/crosstraffic:0",
    "--cfg=maxmin/precision:1e-9",
    "--log=root.threshold:error",
]


class Missing(Exception):
    """SimGrid cannot be had here; says why."""


def simgrid_version() -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "libsimgrid-dev"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def build(folder: Path) -> Path:
    """The program, after installing what it needs if that is allowed."""
    if not Path("/usr/include/simgrid/s4u.hpp").exists() or not shutil.which("g++"):
        if not system.may_install():
            raise Missing("no SimGrid: apt-get install libsimgrid-dev g++ (as root)")
        packages = ["libsimgrid-dev", "g++"]
        system.install(packages, "this comparison", lambda line: click.echo(line, err=True))
    if not Path("/usr/include/simgrid/s4u.hpp").exists():
        raise Missing("no SimGrid: apt-get install libsimgrid-dev did not work here")
    program = folder / "simgrid"
    done = subprocess.run(
        ["g++", "-O2", "-std=c++17", str(SOURCE), "-o", str(program), "-lsimgrid"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Missing(f"SimGrid's headers do not fit: {done.stderr.strip().splitlines()[0]}")
    return program


def draw(hosts: int, count: int, load: float, seed: int) -> dict[str, Any]:
    """`load`: bytes that arrive at a port on average, as a share of its bandwidth."""
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(np.log(50e6), 1.0, count)
    rate = load * hosts * BANDWIDTH_BPS / sizes.mean()
    source = rng.integers(0, hosts, count)
    return {
        "start": np.cumsum(rng.exponential(1 / rate, count)),
        "from": source,
        "to": (source + rng.integers(1, hosts, count)) % hosts,
        "bytes": sizes,
    }


def ours(hosts: int, flows: dict[str, Any]) -> tuple[Any, float]:
    routes = [[int(a), hosts + int(b)] for a, b in zip(flows["from"], flows["to"], strict=True)]
    found = engine.flows(
        np.full(2 * hosts, BANDWIDTH_BPS), routes, flows["bytes"], start_s=flows["start"]
    )
    return found.finish_s, found.seconds


def theirs(program: Path, hosts: int, flows: dict[str, Any]) -> tuple[Any, float]:
    rows = zip(flows["start"], flows["from"], flows["to"], flows["bytes"], strict=True)
    text = f"{hosts} {BANDWIDTH_BPS!r} {len(flows['start'])}\n" + "".join(
        f"{float(start)!r} {a} {b} {float(size)!r}\n" for start, a, b, size in rows
    )
    done = subprocess.run(
        [str(program), *OPTIONS], input=text, capture_output=True, text=True, check=True
    )
    numbers = [float(line) for line in done.stdout.split()]
    return np.array(numbers[1:]), numbers[0]


def compare(program: Path, hosts: int, load: float, count: int, runs: int) -> dict[str, Any]:
    flows = draw(hosts, count, load, seed=1)
    mine, other = [], []
    for _ in range(runs):  # in turn; the least of each, since other load only adds
        finish, seconds = ours(hosts, flows)
        mine.append(seconds)
        finish_theirs, seconds = theirs(program, hosts, flows)
        other.append(seconds)
    apart = np.abs(finish - finish_theirs) / np.maximum(finish_theirs - flows["start"], 1e-12)
    return {
        "hosts": hosts,
        "load": load,
        "flows": count,
        "apart_s": float(np.max(np.abs(finish - finish_theirs))),
        "apart_relative": float(np.max(apart)),
        "seconds": min(mine),
        "simgrid_seconds": min(other),
        "flows_per_s": count / min(mine),
        "simgrid_flows_per_s": count / min(other),
        "times": min(other) / min(mine),
    }


@click.command(help=help_of(__doc__))
@click.option("--flows", default=10_000, show_default=True)
@click.option("--runs", default=3, show_default=True, help="the least time of so many")
@click.option("--json", "json_path", type=ResultFile(), help="write the results")
def main(flows: int, runs: int, json_path: Path | None) -> None:
    console = make_console()
    with tempfile.TemporaryDirectory() as folder:
        try:
            with status("compiling"):
                program = build(Path(folder))
        except Missing as missing:
            console.print(f"skipped: {missing}", highlight=False)
            sys.exit(SKIPPED)
        grid = [(hosts, load) for hosts in (16, 64, 256) for load in (0.5, 0.8)]
        rows = [compare(program, *point, flows, runs) for point in track(grid, "flows")]
    console.print(f"{flows:,} flows, one level: ours and SimGrid {simgrid_version()}")
    console.print(table(rows))
    if json_path:
        json_report.write(json_path, rows, simgrid=simgrid_version())


def table(rows: list[dict[str, Any]]) -> Table:
    view = Table("hosts", "load", "apart", "flows/s", "SimGrid's", "times")
    for row in rows:
        view.add_row(
            str(row["hosts"]),
            f"{row['load']}",
            f"{row['apart_s']:.1e} s",
            f"{row['flows_per_s']:,.0f}",
            f"{row['simgrid_flows_per_s']:,.0f}",
            f"{row['times']:.0f}",
        )
    return view


if __name__ == "__main__":
    begin(main)
