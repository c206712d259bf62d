# SPDX-License-Identifier: Apache-2.0
"""Faults at random under real traffic: is every byte right, does everybody else go on, does it end?

    mfs bench chaos --rounds 500 --json out/chaos.json
    mfs bench chaos --seed 1 --only 37                 # that round again
    mfs bench chaos --scene nixl --fault kill-sender

Each round starts two pairs of processes on three emulated hosts (network namespaces with ports of
--rate), both senders on one host, with one segment, on one port; every byte says which transfer it
is of, and is looked at where it arrives. One of the pairs is hit. What it is, and the other one:

    ucx        UCX: puts, gets and tagged messages; another such pair
    ucx-one    UCX; the same sender's traffic to another receiver
    nccl       two ranks with the net plug-in; two others
    mixed      two ranks with the net plug-in; UCX
    nixl       two NIXL programs: tagged writes and reads; UCX

    kill-sender, kill-receiver    SIGKILL
    stop-sender, stop-receiver    SIGSTOP, and SIGCONT
    down, down-all                the receiver's, the senders' link is down
    slow, slow-all                it carries a fifth, a twentieth, a hundredth
    segment-removed               the senders' segment is unlinked
    segment-full                  and its file system filled
    disk-full                     no room for segment and statistics
    clock-forward, clock-back     the senders' clock jumps, by up to an hour
    clock-namespace               the sender's clock is three days ahead
    none                          nothing

Scene, fault, policy, moments and traffic follow from the seed and the number of the round. The
fault lasts until the other pair has finished two more bursts, then it is healed, both pairs end,
and a third one comes, works and ends. The exit status is 1 if in any round a byte that was said to
be there is wrong or missing, a transfer failed with nobody killed, a process failed, anything of
the segment stayed in use, or something was not over within 90 s.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import _soak_world as world
import click
from _chaos_scene import SCENES, Hang, Scene, Wrong
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import NCCL_PLUGIN, UCX_SHIM, InputError
from mfs_transport.terminal import Column, Table, help_of, make_console, progress
from mfs_transport.testbed import network

FAULTS = (
    *("kill-sender", "kill-receiver", "stop-sender", "stop-receiver", "down", "down-all"),
    *("slow", "slow-all", "segment-removed", "segment-full", "disk-full"),
    *("clock-forward", "clock-back", "clock-namespace", "none"),
)
POLICIES = ("mfs", "mfs", "edf", "fifo", "fair", "srpt", "mfs_paper", "off")
HOSTS = ("left", "sick", "well")
KEEP_ROUNDS = 10  # between two writes of the results of a run that goes on


class Cluster:
    """What the rounds have in common."""

    def __init__(self, folder: Path, link_Bps: float) -> None:
        self.hosts = network.Namespaces(link_Bps)
        self.places = {name: self.hosts.add(name) for name in HOSTS}
        self.programs = folder
        world.compile_(folder)

    def play(self, scene: str, fault: str, chance: random.Random) -> dict[str, Any]:
        """The row of a round."""
        accounts = world.Accounts(self.programs)
        folder = Path(tempfile.mkdtemp(dir=self.hosts.folder))
        policy = chance.choice(POLICIES)
        one = Scene(
            chance, self.hosts, self.places, self.programs, folder, accounts, scene, fault, policy
        )
        row: dict[str, Any] = {"scene": scene, "fault": fault, "policy": policy}
        row |= dict.fromkeys(world.SUMS, 0) | {"problem": "", "hang": False}
        begun = time.monotonic()
        try:
            one.prepare()
            row |= one.play()
            row |= one.totals()
        except (Hang, Wrong) as error:
            row |= {"problem": str(error), "hang": isinstance(error, Hang)}
        finally:
            one.clear()
        return {**row, "seconds": time.monotonic() - begun}


def table(rows: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("fault", left=True),
        *(Column(one) for one in SCENES),
        *(Column(one) for one in ("MB right", "failed", "wrong", "hangs", "bad")),
        gap=1,
    )
    for fault in [*FAULTS, "all"]:
        of = [one for one in rows if fault in (one["fault"], "all")]
        if not of:
            continue
        view.add_row(
            fault,
            *(str(sum(one["scene"] == scene for one in of)) for scene in SCENES),
            *(
                f"{sum(one[f'{word}_bytes'] for one in of) / 1e6:.1f}"
                for word in ("verified", "failed")
            ),
            str(sum(one["wrong_bytes"] for one in of)),
            str(sum(one["hang"] for one in of)),
            str(sum(bool(one["problem"]) for one in of)),
        )
    return view


def bench(
    numbers: list[int],
    seed: int,
    scenes: list[str],
    faults: tuple[str, ...],
    link_Bps: float,
    json_path: Path | None,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mfs-chaos-")))
        cluster = Cluster(folder, link_Bps)
        console = make_console(stderr=True)
        tell = stack.enter_context(progress("chaos", len(numbers)))
        for number in numbers:
            chance = random.Random(f"{seed} {number}")
            scene, fault = chance.choice(scenes), chance.choice(faults)
            tell(len(rows), f"{number}: {scene}, {fault}")
            row = {"round": number, **cluster.play(scene, fault, chance)}
            rows.append(row)
            if row["problem"]:
                said = f"{number}: {scene}, {fault}, {row['policy']}: {row['problem']}"
                console.print(said, soft_wrap=True)
            if json_path and len(rows) % KEEP_ROUNDS == 0:  # a long run leaves what it has
                json_report.write(json_path, rows, seed=seed, rate_Bps=link_Bps)
    if json_path:
        json_report.write(json_path, rows, seed=seed, rate_Bps=link_Bps)
    return rows


def choice(option: str, name: str, of: tuple[str, ...]) -> Any:
    kind = click.Choice(of)
    metavar = name.removesuffix("s").upper()  # they stand above
    return click.option(
        option,
        name,
        multiple=True,
        type=kind,
        metavar=metavar,
        default=of,
        help="All if not given.",
    )


@click.command(help=help_of(__doc__))
@choice("--scene", "scenes", tuple(SCENES))
@choice("--fault", "faults", FAULTS)
@click.option("--rounds", type=click.IntRange(1, 100000), default=20, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of everything that is drawn.")
@click.option("--only", type=click.IntRange(0), help="This round alone.")
@click.option("--rate", default=1000.0, show_default=True, help="Mbit/s of an emulated port.")
@click.option("--json", "json_path", type=ResultFile(), help="Every round as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    scenes: tuple[str, ...],
    faults: tuple[str, ...],
    rounds: int,
    seed: int,
    only: int | None,
    rate: float,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    import importlib.util

    for library in (UCX_SHIM, NCCL_PLUGIN):
        if not library.exists():
            sys.exit(f"bench/chaos.py: {library} is not built: pip install -e .")
    try:
        link_Bps = network.check_link(rate)
    except InputError as error:
        raise click.UsageError(f"--rate: {error}") from None
    if not is_inside:
        if reason := network.why_not_namespaces():
            sys.exit(f"this bench needs network namespaces: {reason}")
        command = [*network.enter_command(), sys.executable, *sys.argv, "--inside"]
        sys.exit(subprocess.run(command, check=False).returncode)
    chosen = [one for one in SCENES if one in scenes]
    if importlib.util.find_spec("nixl") is None:
        chosen.remove("nixl")
    numbers = list(range(rounds)) if only is None else [only]
    rows = bench(numbers, seed, chosen, faults, link_Bps, json_path)
    out = make_console()
    out.print(table(rows))
    seconds = sum(one["seconds"] for one in rows)
    out.print(
        f"{len(rows)} rounds in {seconds:.0f} s, {sum(one['operations'] for one in rows)} transfers"
    )
    for one in rows:
        if one["problem"]:
            out.print(f"round {one['round']}: {one['scene']}, {one['fault']}: {one['problem']}")
    sys.exit(1 if any(one["problem"] for one in rows) else 0)


if __name__ == "__main__":
    begin(main)
