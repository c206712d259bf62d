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

    mfs bench pods --rounds 5 --json out/pods.json
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from _party import MIB
from _talk import Talk

from mfs_transport import json_report, shared_segment
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import UCX_SHIM
from mfs_transport.observe.segment import look
from mfs_transport.terminal import Column, Table, help_of, make_console, number, track
from mfs_transport.testbed import network, pods
from mfs_transport.ucx_env import modules_environment

LINK_BPS = 125e6
SYSTEMS = ("plain", "own", "shared")
FAULTS = ("stopped", "killed", "rubbish")
PARTY = Path(__file__).with_name("_party.py")
BLOCK_MIB = 8  # of each write in the background
FILLED_S = 1.0  # until the port is full, and its speed is known
PAUSE_S = 0.0005  # between two looks of a pod in the background
BEFORE_S = 0.5
FAULT_S = 0.03
AFTER_S = 1.0


class Process(Talk):
    """A party in a pod, or at the other end."""

    def __init__(self, place: network.Place, system: str, segment: str) -> None:
        ours, theirs = socket.socketpair()
        env = {
            **os.environ,
            **modules_environment(os.environ),
            "UCX_TLS": "tcp",
            "UCX_NET_DEVICES": place.device,
            "NIXL_LOG_LEVEL": "ERROR",
            "OMP_NUM_THREADS": "1",
            "NIXL_UCX_DEEPBIND": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MFS_SEGMENT": segment,
        }
        env.pop("MFS_ENABLE", None)
        if system != "plain":
            env |= {"MFS_ENABLE": "1", "LD_PRELOAD": str(UCX_SHIM)}
        # what enters the pod is started without the shim
        preload = [f"LD_PRELOAD={env.pop('LD_PRELOAD')}"] if "LD_PRELOAD" in env else []
        party = [sys.executable, str(PARTY), system, place.name, str(theirs.fileno())]
        self.launcher = subprocess.Popen(
            [*place.command, "env", *preload, *party, str(BLOCK_MIB)],
            env=env,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        super().__init__(place.name, ours)
        self.place = place

    def hit(self, with_signal: int) -> None:
        os.kill(pods.first_process(self.launcher.pid), with_signal)

    def end(self) -> None:
        self.file.close()
        self.launcher.kill()
        self.launcher.wait()


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


def measure(scene: Scene, size: int, faults: bool) -> dict[str, tuple[float, float]]:
    found = {"alone": (scene.alone(size), 0.0)}
    scene.fill()
    found["beside"] = scene.beside(size)
    scene.drain()
    for fault in FAULTS if faults else ():
        found |= scene.wrong(fault, size)
    return found


def inside(
    count: int, users: int, rounds: int, systems: list[str], size: int, json_path: Path | None
) -> None:
    console = make_console()
    node = pods.Node(LINK_BPS)
    shared_segment.create(node.shared / "host", pods.GROUP)
    places = [node.add(number % users) for number in range(count)]
    records: list[dict[str, Any]] = []
    processes: list[str] = []
    for system in systems:
        with_faults = system == "shared"
        scene = Scene(node, places, system)
        runs = [measure(scene, size, with_faults) for _ in track(range(rounds), f"{system}, round")]
        if with_faults:
            processes = sorted(look(str(node.shared / "host")).processes)
        scene.end()
        records += summary(system, runs)
    console.print(table(records))
    if processes:
        console.print(f"in one segment: {', '.join(processes)}")
    if json_path:
        more = {"pods": count, "users": users, "size_bytes": size, "link_Bps": LINK_BPS}
        json_report.write(json_path, records, processes=processes, **more)
    sys.stdout.flush()
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


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
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    count: int,
    users: int,
    rounds: int,
    systems: tuple[str, ...],
    size: int,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    if is_inside:
        inside(count, users, rounds, list(systems), size * MIB, json_path)
    reason = pods.why_not()
    if reason:
        sys.exit(f"this bench needs namespaces: {reason}")
    command = [sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run([*network.enter_command(), *command], check=False).returncode)


if __name__ == "__main__":
    main()
