# SPDX-License-Identifier: Apache-2.0
"""An urgent transfer beside others on one port: plain NIXL, NIXL behind the agent proxy's gate
(MFS without its shim), NIXL under MFS, Mooncake, in turn.

Two hosts (network namespaces, HTB-shaped 1 Gbit/s both ways), NIXL over UCX's TCP:

    process  an urgent write 50 ms after 8 writes of the same process
    beside   an urgent write while another process keeps 8 writes posted
    four     the same beside three such processes

All go to the same peer host. `alone` is the urgent write on the idle port. The rate is that
of all bytes over the whole episode (process) or of background and urgent bytes while the
urgent one is under way and 0.5 s before (the others). Rounds are interleaved: plain, gate,
MFS, plain, ... Mooncake's transfer engine joins in where it is installed (`pip install
mooncake-transfer-engine-non-cuda`, `apt-get install libibverbs1`).

    mfs bench contend --pairs 7 --json out/contend.json
"""

from __future__ import annotations

import importlib.util
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
from mfs_transport.terminal import Column, Table, help_of, make_console, number, track
from mfs_transport.testbed import network

LINK_BPS = 125e6
SYSTEMS = ("plain", "gate", "mfs", "mooncake")
PARTY = Path(__file__).with_name("_party.py")
SCENES = {"process": 0, "beside": 1, "four": 3}  # processes in the background


# --- the bench ---


def party(name: str, place: network.Place, system: str, folder: str) -> Process:
    command = [sys.executable, str(PARTY), system, name, DESCRIPTOR]
    env = environment(place.device, f"{folder}/{place.name}-{system}")
    env |= {"MFS_BENCH_ADDRESS": place.address, "GLOG_minloglevel": "3"}  # both Mooncake's
    enabled = system in ("gate", "mfs")
    return Process(name, place, command, env, enabled=enabled, shim=system == "mfs")


def measure(senders: list[Process], scene: str, size: int) -> dict[str, float]:
    urgent, others = senders[0], senders[1 : 1 + SCENES[scene]]
    alone = urgent.ask("urgent", bytes=size)["seconds"]
    if scene == "process":
        answer = urgent.ask("process", bytes=size)
        return {"alone_s": alone, "contended_s": answer["seconds"], "rate_Bps": answer["rate_Bps"]}
    for other in others:
        other.ask("background")
    time.sleep(0.5)  # the port is full, and its speed is known
    for other in others:
        other.tell("mark")
    time.sleep(0.5)
    begun = time.monotonic()
    contended = urgent.ask("urgent", bytes=size)["seconds"]
    span = 0.5 + time.monotonic() - begun
    for other in others:
        other.tell("stop")
    rate = sum(other.hear()["rate_Bps"] for other in others) + size / span
    return {"alone_s": alone, "contended_s": contended, "rate_Bps": rate}


def inside(
    pairs: int, scenes: list[str], systems: list[str], size: int, json_path: Path | None
) -> None:
    console = make_console()
    hosts = network.Namespaces(LINK_BPS)
    places = [hosts.add("sender"), hosts.add("receiver")]
    senders: dict[str, list[Process]] = {}
    receivers = []
    for system in track(systems, "starting agents"):
        receiver = party(f"receiver-{system}", places[1], system, hosts.folder)
        receivers.append(receiver)  # its channel's end would end it
        target = receiver.ask("metadata")
        senders[system] = [
            party(f"sender{i}-{system}", places[0], system, hosts.folder)
            for i in range(1 + max(SCENES[scene] for scene in scenes))
        ]
        for sender in senders[system]:
            sender.ask("connect", **target)
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
    for scene in scenes:
        for _ in track(range(pairs), scene):
            for system in systems:
                one = measure(senders[system], scene, size)
                rounds.setdefault((scene, system), []).append(one)
    records = [summary(scene, system, runs) for (scene, system), runs in rounds.items()]
    console.print(table(records))
    if json_path:
        json_report.write(json_path, records, size_bytes=size)
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


def summary(scene: str, system: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    alone = statistics.median(run["alone_s"] for run in runs)
    times = sorted(run["contended_s"] for run in runs)
    return {
        "scene": scene,
        "system": system,
        "pairs": len(runs),
        "alone_ms": 1e3 * alone,
        "contended_ms": 1e3 * statistics.median(times),
        "contended_min_ms": 1e3 * times[0],
        "contended_max_ms": 1e3 * times[-1],
        "ratio": statistics.median(run["contended_s"] / run["alone_s"] for run in runs),
        "rate_MBps": statistics.median(run["rate_Bps"] for run in runs) / 1e6,
    }


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("scene", fold=True),
        Column("system", left=True),
        *(Column(one) for one in ("alone ms", "contended ms", "times alone", "MB/s")),
    )
    for one in records:
        view.add_row(
            one["scene"],
            one["system"],
            f"{one['alone_ms']:.0f}",
            f"{one['contended_ms']:.0f} "
            f"({one['contended_min_ms']:.0f}–{one['contended_max_ms']:.0f})",
            number(one["ratio"], ".2f"),
            f"{one['rate_MBps']:.1f}",
        )
    return view


@click.command(help=help_of(__doc__))
@click.option("--pairs", default=7, show_default=True, help="Rounds of each system.")
@click.option(
    "--scene",
    "scenes",
    multiple=True,
    type=click.Choice(list(SCENES)),
    default=list(SCENES),
    help="Which; all if not given.",
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    type=click.Choice(SYSTEMS),
    help="Which; those that are installed if not given.",
)
@click.option("--size", default=16, show_default=True, help="MiB of the urgent write.")
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    pairs: int,
    scenes: tuple[str, ...],
    systems: tuple[str, ...],
    size: int,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    there = [one for one in SYSTEMS if one != "mooncake" or importlib.util.find_spec("mooncake")]
    if missing := set(systems) - set(there):
        raise click.UsageError(f"{', '.join(missing)} is not installed; see --help")
    if is_inside:
        inside(pairs, list(scenes), list(systems) or there, size * MIB, json_path)
    reason = network.why_not_namespaces()
    if reason:
        sys.exit(f"this bench needs network namespaces: {reason}")
    command = [sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run([*network.enter_command(), *command], check=False).returncode)


if __name__ == "__main__":
    begin(main)
