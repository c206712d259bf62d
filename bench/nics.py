# SPDX-License-Identifier: Apache-2.0
"""Workers of one host, each with a NIC of its own: none waits for another.

A host with emulated NICs (veth, HTB-shaped, headers counted) and a process for each, that writes to
a host at the other end of all cables. NIXL over UCX's TCP, all processes in one segment. Systems:

    plain  no shim
    own    the shim; the port of each process is the NIC that it uses
    one    the shim, and one name for all ports (MFS_PORT)

A round measures each write alone, one after the other, and then all at once. `times alone` is the
median over the rounds, of the worker where it is the largest; `used` is what has left by the NICs
while all wrote, headers included, of what their shapers let through.

The rate of the NICs is low on purpose: eight of 50 Mbit/s, one receiver and eight senders that look
once in a millisecond are what two cores carry.

    mfs bench nics --rounds 5 --json out/nics.json
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from _main import begin
from _party import MIB
from _process import DESCRIPTOR, Process, environment

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.observe.segment import look
from mfs_transport.terminal import Column, Table, help_of, make_console, number, track
from mfs_transport.testbed import network, nics

SYSTEMS = ("plain", "own", "one")
PARTY = Path(__file__).with_name("_party.py")
PAUSE_S = 0.001  # between two looks of a process


def party(place: network.Place, system: str, segment: str) -> Process:
    """A worker with a NIC, or the peer with all of them."""
    command = [sys.executable, str(PARTY), system, place.name, DESCRIPTOR, "1", str(PAUSE_S)]
    env = environment(place.device, segment) | ({"MFS_PORT": "nic"} if system == "one" else {})
    with_mfs = system != "plain"
    return Process(place.name, place, command, env, enabled=with_mfs, shim=with_mfs)


class Scene:
    """One system: the workers of the host, and who receives."""

    def __init__(self, host: nics.Host, system: str) -> None:
        self.host, self.segment = host, f"{host.segment}-{system}"
        self.receiver = party(host.peer(), "plain", self.segment)
        target = self.receiver.ask("metadata")
        self.workers = [
            party(host.worker(number), system, self.segment) for number in range(len(host.devices))
        ]
        for worker in self.workers:
            worker.ask("connect", **target)

    def measure(self, size: int) -> dict[str, Any]:
        """Seconds of each write, alone and with all others; the bytes that left meanwhile."""
        alone = [float(worker.ask("urgent", bytes=size)["seconds"]) for worker in self.workers]
        sent, begun = self.host.sent_bytes(), time.monotonic()
        for worker in self.workers:
            worker.tell("urgent", bytes=size)
        together = [float(worker.hear()["seconds"]) for worker in self.workers]
        seconds = time.monotonic() - begun
        left = [now - then for now, then in zip(self.host.sent_bytes(), sent, strict=True)]
        return {"alone": alone, "together": together, "sent": left, "seconds": seconds}

    def senders(self) -> dict[str, int]:
        """Of each egress port: how many of the processes are in its order."""
        ports = [port for port in look(self.segment).ports if port.direction == "egress"]
        return {port.name: len(port.senders) for port in ports}

    def end(self) -> None:
        for process in (*self.workers, self.receiver):
            process.end()


def summary(
    system: str, runs: list[dict[str, Any]], senders: dict[str, int], link_Bps: float
) -> dict[str, Any]:
    count = len(runs[0]["alone"])
    times = [
        statistics.median(run["together"][number] / run["alone"][number] for run in runs)
        for number in range(count)
    ]

    def median_ms(case: str) -> float:
        return 1e3 * statistics.median(second for run in runs for second in run[case])

    return {
        "system": system,
        "rounds": len(runs),
        "alone_ms": median_ms("alone"),
        "together_ms": median_ms("together"),
        "times_alone": times,  # of each worker
        "worst_times_alone": max(times),
        "used": statistics.median(
            sum(run["sent"]) / (count * link_Bps * max(run["together"])) for run in runs
        ),
        "senders": senders,
    }


def inside(
    count: int, rate_Bps: float, rounds: int, systems: list[str], size: int, path: Path | None
) -> None:
    console = make_console()
    host = nics.Host(count, rate_Bps)
    records: list[dict[str, Any]] = []
    for system in systems:
        scene = Scene(host, system)
        scene.measure(size)  # until the speed of the ports is known
        runs = [scene.measure(size) for _ in track(range(rounds), f"{system}, round")]
        senders = scene.senders() if system != "plain" else {}
        scene.end()
        records.append(summary(system, runs, senders, rate_Bps))
    console.print(table(records))
    if path:
        more = {"nics": count, "link_Bps": rate_Bps, "size_bytes": size}
        json_report.write(path, records, **more)
    sys.stdout.flush()
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


def table(records: list[dict[str, Any]]) -> Table:
    columns = ("alone ms", "together ms", "times alone", "used %", "ports")
    view = Table(Column("system", left=True), *(Column(one) for one in columns))
    for one in records:
        view.add_row(
            one["system"],
            number(one["alone_ms"], ".0f"),
            number(one["together_ms"], ".0f"),
            number(one["worst_times_alone"], ".3f"),
            number(100 * one["used"], ".1f"),
            number(len(one["senders"]) or None, "d"),
        )
    return view


@click.command(help=help_of(__doc__))
@click.option(
    "--nics", "count", default=8, show_default=True, type=click.IntRange(2, 16), help="How many."
)
@click.option(
    "--mbit",
    default=50,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Mbit/s of each NIC.",
)
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(1), help="Of each system."
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    type=click.Choice(SYSTEMS),
    default=SYSTEMS,
    help="Which; all if not given.",
)
@click.option(
    "--size", default=4, show_default=True, type=click.IntRange(1, 64), help="MiB of a write."
)
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    count: int,
    mbit: int,
    rounds: int,
    systems: tuple[str, ...],
    size: int,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    if is_inside:
        inside(count, mbit * 1e6 / 8, rounds, list(systems), size * MIB, json_path)
    reason = network.why_not_namespaces()
    if reason:
        sys.exit(f"this bench needs network namespaces: {reason}")
    command = [sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run([*network.enter_command(), *command], check=False).returncode)


if __name__ == "__main__":
    begin(main)
