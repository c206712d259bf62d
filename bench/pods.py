# SPDX-License-Identifier: Apache-2.0
"""Pods that share one port: an urgent write in one beside others that keep the port full.

Each pod has its own user, process, mount, IPC, UTS and network namespace; four users take turns.
Their traffic leaves by one port of the node, HTB-shaped to 1 Gbit/s (headers counted), to one host.
NIXL over UCX's TCP. Systems:

    plain    no shim
    own      the shim, and a segment for each pod: no folder is shared
    shared   the shim, one segment of the pods' group (`mfs segment create`)

What is measured, in turn: the urgent write alone; beside the other pods, which keep 8 writes posted
each; and, in `shared`, while one of those goes wrong 30 ms after the urgent write was posted:

    stopped  by SIGSTOP; goes on after the round
    killed   by SIGKILL
    rubbish  random bytes over all of the segment
    after    one second after the rubbish, nothing is restarted

`wire` is what has left the port while the urgent write was under way and in the 0.5 s before,
headers included, of what its shaper lets through. `cost` is the median with a fault less the median
beside without one.

With --weights, as many pods as there are weights keep 8 writes without a deadline posted each, and
what is measured is each one's share of their bytes, over a span. Their weight is MFS_WEIGHT, or the
io.weight that they see; the last pod goes wrong in the same ways, and in `goes on` it runs again.
`off` is how far the share that is furthest from its due is from it, and `lost` for how long the
port has not been used in the span that begins with the fault, by what it carried before.

    mfs bench pods --rounds 5 --json out/pods.json
    mfs bench pods --weights 100:300:200 --rounds 3
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from _main import begin
from _party import MIB
from _pods_process import FILLED_S, PAUSE_S, Process
from _pods_weights import BY, Options, Weights, measure_all
from _pods_weights import table as weights_table

from mfs_transport import json_report, shared_segment
from mfs_transport.commands._files import ResultFile
from mfs_transport.observe.segment import look
from mfs_transport.terminal import Column, Table, help_of, make_console, number, track
from mfs_transport.testbed import network, pods

LINK_BPS = 125e6
SYSTEMS = ("plain", "own", "shared")
FAULTS = ("stopped", "killed", "rubbish")
BEFORE_S = 0.5
FAULT_S = 0.03
AFTER_S = 1.0


class Scene:
    """One system: a pod with the urgent write, the others, and who receives."""

    def __init__(self, node: pods.Node, places: list[network.Place], system: str) -> None:
        self.node, self.system = node, system
        self.receiver = Process(node.peer(), system, f"/run/peer-{system}")
        self.target = self.receiver.ask("metadata")
        self.urgent, *self.others = [self._start(place) for place in places]

    def _start(self, place: network.Place) -> Process:
        segment = str(self.node.shared / "host") if self.system == "shared" else ""
        process = Process(place, self.system, segment)
        process.ask("connect", **self.target)
        return process

    def alone(self, size: int) -> float:
        return float(self.urgent.ask("urgent", bytes=size)["seconds"])

    def beside(self, size: int, fault: Callable[[], None] | None = None) -> tuple[float, float]:
        """Seconds of the urgent write, and the share of the port that was used meanwhile."""
        begun, sent = time.monotonic(), self.node.sent_bytes()
        time.sleep(BEFORE_S)
        self.urgent.tell("urgent", bytes=size)
        if fault:
            time.sleep(FAULT_S)
            fault()
        seconds = float(self.urgent.hear()["seconds"])
        share = (self.node.sent_bytes() - sent) / (LINK_BPS * (time.monotonic() - begun))
        return seconds, share

    def fill(self) -> None:
        for other in self.others:
            other.ask("background", pause_s=PAUSE_S)
        time.sleep(FILLED_S)

    def drain(self) -> None:
        for other in self.others:
            other.tell("stop")
        for other in self.others:
            other.hear()

    def wrong(self, how: str, size: int) -> dict[str, tuple[float, float]]:
        """The rows of one fault of the last pod, which works again afterwards."""
        victim = self.others[-1]
        self.fill()
        if how == "stopped":
            found = {how: self.beside(size, lambda: victim.hit(signal.SIGSTOP))}
            victim.hit(signal.SIGCONT)
        elif how == "killed":
            found = {how: self.beside(size, lambda: victim.hit(signal.SIGKILL))}
            self.others.remove(victim)
            victim.end()
        else:
            found = {how: self.beside(size, lambda: victim.tell("rubbish"))}
            time.sleep(AFTER_S)
            found["after"] = self.beside(size)
        self.drain()
        if how == "killed":
            self.others.append(self._start(victim.place))
        return found

    def end(self) -> None:
        for process in (self.urgent, *self.others, self.receiver):
            process.end()


def measure(scene: Scene, size: int, faults: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    found = {"alone": (scene.alone(size), 0.0)}
    scene.fill()
    found["beside"] = scene.beside(size)
    scene.drain()
    for fault in faults:
        found |= scene.wrong(fault, size)
    return found


def inside(
    count: int,
    users: int,
    rounds: int,
    systems: tuple[str, ...],
    faults: tuple[str, ...],
    size: int,
    json_path: Path | None,
) -> None:
    console = make_console()
    node = made()
    places = [node.add(number % users) for number in range(count)]
    records: list[dict[str, Any]] = []
    processes: list[str] = []
    for system in systems:
        scene = Scene(node, places, system)
        wrong = faults if system == "shared" else ()
        runs = [measure(scene, size, wrong) for _ in track(range(rounds), f"{system}, round")]
        if system == "shared":
            processes = sorted(look(str(node.shared / "host")).processes)
        scene.end()
        records += summary(system, runs)
    console.print(table(records))
    if processes:
        console.print(f"in one segment: {', '.join(processes)}")
    if json_path:
        more = {"pods": count, "users": users, "size_bytes": size, "link_Bps": LINK_BPS}
        json_report.write(json_path, records, processes=processes, **more)


def made() -> pods.Node:
    node = pods.Node(LINK_BPS)
    shared_segment.create(node.shared / "host", pods.GROUP)
    return node


def inside_by_weight(options: Options, json_path: Path | None) -> None:
    records = measure_all(made(), options)
    make_console().print(weights_table(records))
    if json_path:
        json_report.write(json_path, records, **asdict(options))


def summary(system: str, runs: list[dict[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    """A record of each case."""
    times = {case: sorted(1e3 * run[case][0] for run in runs) for case in runs[0]}
    medians = {case: statistics.median(all_of) for case, all_of in times.items()}
    return [
        {
            "system": system,
            "case": case,
            "rounds": len(runs),
            "ms": medians[case],
            "min_ms": times[case][0],
            "max_ms": times[case][-1],
            "each_ms": [1e3 * run[case][0] for run in runs],
            "times_alone": statistics.median(run[case][0] / run["alone"][0] for run in runs),
            "cost_ms": None if case in ("alone", "beside") else medians[case] - medians["beside"],
            "wire": None if case == "alone" else statistics.median(run[case][1] for run in runs),
        }
        for case in runs[0]
    ]


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("system", left=True),
        Column("urgent write", left=True),
        *(Column(one) for one in ("ms", "times alone", "cost ms", "wire %")),
    )
    for one in records:
        view.add_row(
            one["system"],
            one["case"],
            f"{one['ms']:.0f} ({one['min_ms']:.0f}–{one['max_ms']:.0f})",
            number(one["times_alone"], ".2f"),
            number(one["cost_ms"], ".0f"),
            number(None if one["wire"] is None else 100 * one["wire"], ".1f"),
        )
    return view


@click.command(help=help_of(__doc__))
@click.option(
    "--pods", "count", default=8, show_default=True, type=click.IntRange(2, 64), help="How many."
)
@click.option("--users", default=4, show_default=True, type=click.IntRange(1, 64), help="Of them.")
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
    "--size",
    default=16,
    show_default=True,
    type=click.IntRange(1, 64),
    help="MiB of the urgent write.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice(FAULTS),
    default=FAULTS,
    help="What goes wrong; all if not given.",
)
@click.option(
    "--weights",
    type=Weights(),
    help="Shares by these weights instead, one for each pod.",
)
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(BY),
    default=BY,
    help="Who says the weights; both if not given.",
)
@click.option(
    "--span",
    "span_s",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 60.0),
    help="Seconds over which bytes are counted, with --weights.",
)
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    count: int,
    users: int,
    rounds: int,
    systems: tuple[str, ...],
    size: int,
    faults: tuple[str, ...],
    weights: list[int] | None,
    by: tuple[str, ...],
    span_s: float,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    if is_inside:
        if weights:
            options = Options(weights, by, rounds, span_s, faults, users, LINK_BPS)
            inside_by_weight(options, json_path)
        else:
            inside(count, users, rounds, systems, faults, size * MIB, json_path)
        sys.stdout.flush()
        os._exit(0)  # pid 1 of its namespace: everything else ends with it
    reason = pods.why_not()
    if reason:
        sys.exit(f"this bench needs namespaces: {reason}")
    command = [sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run([*network.enter_command(), *command], check=False).returncode)


if __name__ == "__main__":
    begin(main)
