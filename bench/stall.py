# SPDX-License-Identifier: Apache-2.0
"""Receivers that take no bytes, and senders short of a core: what the others still get.

    mfs bench stall --json out/stall.json
    mfs bench stall --scene stopped --policy mfs --operation put --rounds 3

One host sends to four (network namespaces whose ports are shaped to --rate). One of the four

    stopped      is stopped (SIGSTOP)
    busy         computes, and no longer looks at its transport
    slow         has a link that carries a tenth
    down         has a link that is down
    down-errors  the same, and the endpoints have UCX's error handling

and the three healthy ones get so many MB/s, in a steady state that has lasted for a second: by
puts (the sender writes), gets (it reads from them) and messages of the NCCL net plug-in (nccl);
with the stuck traffic in the same process or in another one of that host. Over UCX the stuck
traffic is the more pressing one. Beside them

    none         nobody is ill, and all four count: what is missing here
                 is no stall's

and in

    urgent       a receiver is stopped as well, and an urgent put of 16 MiB
                 goes to a healthy one beside a port that the others keep
                 full: its time, in ms, beside that alone

the aim is 1.05 times alone; elsewhere 0.95 of plain, which is UCX without the shim, or the plug-in
with MFS_ENABLE=0. Two scenes are about a sender that is short of a core, one to one on loopback:

    spin         a program spins on each core; sender and receiver have one
                 core each
    quota        a cgroup lets the sender run for 50 ms in 100

A round is a run of plain and one of every policy, one after the other. A ratio is the median
over the rounds, its spread the middle half of them.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import nccl
import ucx
from _main import begin
from _short import APART, quota, spinning
from _stall_hosts import BYTES, URGENT_BYTES, Case, Cluster

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import NCCL_PLUGIN, UCX_SHIM, InputError
from mfs_transport.terminal import Column, Table, help_of, make_console, progress
from mfs_transport.testbed import network

AILMENTS = ("none", "stopped", "busy", "slow", "down", "down-errors")
SHORT = ("spin", "quota")
SCENES = (*AILMENTS, "urgent", *SHORT)
POLICIES = ("mfs", "edf", "fifo")
TRANSPORTS = ("tcp", "nccl", "shm")
OPERATIONS = ("put", "get", "message")
SENDERS = ("same", "other")
SHORT_SIZES = ("64k", "512k", "4m")


def policies_of(case: Case) -> tuple[str, ...]:
    if case.scene in SHORT:
        return ("mfs",)
    # in order of arrival nothing is urgent
    return ("mfs", "edf") if case.scene == "urgent" else POLICIES


def cases() -> Iterator[Case]:
    for scene, stuck in itertools.product(AILMENTS, SENDERS):
        for operation in ("put", "get"):
            yield Case(scene, operation, stuck, "tcp")
        if scene != "down-errors":  # that is an option of UCX's endpoints
            yield Case(scene, "message", stuck, "nccl")
    for stuck in SENDERS:
        yield Case("urgent", "put", stuck, "tcp")
    for scene, transport, operation in itertools.product(SHORT, ("tcp", "shm"), ("put", "get")):
        yield Case(scene, operation, "", transport)


def row(case: Case, policy: str, ratios: list[float], **more: Any) -> dict[str, Any]:
    """A result. `ratio` is of plain, but of a transfer that is to be as fast as alone."""
    urgent = case.scene == "urgent"
    ratio = statistics.median(ratios)
    return {
        **asdict(case),
        "policy": policy,
        **more,
        "unit": "ms" if urgent else "MB/s",
        "ratio": ratio,
        "against": "alone" if urgent else "plain",
        "met": ratio <= 1.05 if urgent else ratio >= 0.95,
        "rounds": len(ratios),
        "spread": ucx.quartiles(ratios),
    }


def stalled(case: Case, rounds: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """The rows of a case, one for each policy."""

    def middle(system: str, name: str) -> float:
        return statistics.median(one[system][name] for one in rounds)

    rows = []
    for policy in [system for system in rounds[0] if system != "plain"]:
        if case.scene == "urgent":
            ratios = [one[policy]["value"] / one[policy]["alone"] for one in rounds]
            more = {"alone": middle(policy, "alone")}
        else:
            ratios = [one[policy]["value"] / max(one["plain"]["value"], 1e-9) for one in rounds]
            more = {"sick_plain": middle("plain", "sick"), "sick_mfs": middle(policy, "sick")}
        sizes = {"size_bytes": URGENT_BYTES if case.scene == "urgent" else BYTES}
        values = {"plain": middle("plain", "value"), "mfs": middle(policy, "value")}
        rows.append(row(case, policy, ratios, **sizes, **values, **more))
    return rows


# --- a core short ---


def short(case: Case, sizes: tuple[int, ...], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """All sizes over one transport; the server has what the machine gives."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        program = stack.enter_context(ucx.built(None))
        command: tuple[str, ...] = ()
        by = "a spinning program on each core"
        if case.scene == "spin":
            stack.enter_context(spinning())
        else:
            command, by = stack.enter_context(quota())
        port = nccl.free_port()
        env = ucx.environment(ucx.TRANSPORTS[case.transport], program.parent / "x", mfs=False)
        server = subprocess.Popen(
            [
                *(*APART, "taskset", "-c", str(cores[-1]), str(program)),
                *(f"serve:{port}", "put", "8", str(max(sizes)), "8", "8"),
            ],
            env=env,
            stdout=subprocess.PIPE,
        )
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert server.stdout
        server.stdout.readline()
        pinned = (*APART, *command, "taskset", "-c", str(cores[0]))
        where = ucx.Where(f"127.0.0.1:{port}", pinned)
        kind, budget_ms = (case.operation, case.transport), round(1e3 * seconds)
        found = [
            one
            for size in sizes
            for one in ucx.measure(program, where, *kind, (size, size), rounds, budget_ms)
        ]
    return [
        row(
            case,
            "mfs",
            [one["ratio"]],
            size_bytes=one["size_bytes"],
            plain=one["off"],
            mfs=one["mfs"],
            by=by,
        )
        | {"rounds": rounds, "spread": one["spread"]}
        for one in found
    ]


# --- output ---


def size_name(size: int) -> str:
    return f"{size >> 20}m" if size >= 1 << 20 else f"{size >> 10}k"


def table(rows: list[dict[str, Any]]) -> Table:
    view = Table(
        *(Column(one, left=True) for one in ("scene", "operation")),
        Column("stuck", 1, left=True),
        *(Column(one, left=True) for one in ("over", "policy")),
        *(Column(one) for one in ("plain", "mfs", "unit", "ratio")),
        Column("spread", 0),
        Column("met"),
        gap=1,
    )
    for one in rows:
        view.add_row(
            *(one["scene"], f"{one['operation']} {size_name(one['size_bytes'])}", one["stuck"]),
            *(one["transport"], one["policy"], f"{one['plain']:.0f}", f"{one['mfs']:.0f}"),
            *(one["unit"], f"{one['ratio']:.2f}", "{:.2f}-{:.2f}".format(*one["spread"])),
            "yes" if one["met"] else "NO",
        )
    return view


@dataclass(frozen=True)
class Options:
    rounds: int
    seconds: float
    link_Bps: float
    policies: tuple[str, ...]
    sizes: tuple[int, ...]
    json_path: Path | None


def bench(chosen: list[Case], options: Options) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cluster: Cluster | None = None
    with ExitStack() as stack:
        move = stack.enter_context(progress("starting", len(chosen)))
        for number, case in enumerate(chosen):
            said = " ".join(filter(None, (case.scene, case.operation, case.stuck, case.transport)))
            said = f"{number + 1}/{len(chosen)}: {said}"
            move(number, said)
            if case.scene in SHORT:
                rows += short(case, options.sizes, options.rounds, options.seconds)
            else:
                cluster = cluster or Cluster(options.link_Bps)
                systems = ["plain", *(one for one in policies_of(case) if one in options.policies)]
                rounds = []
                for turn in range(options.rounds):
                    rounds.append({})
                    for place, system in enumerate(systems):
                        rounds[-1][system] = cluster.measure(case, system, options.seconds)
                        part = (turn + (place + 1) / len(systems)) / options.rounds
                        move(number + part, said)
                rows += stalled(case, rounds)
            if options.json_path:  # a long run leaves what it has
                json_report.write(options.json_path, rows, **said_of(options))
    return rows


def said_of(options: Options) -> dict[str, Any]:
    variables = {k: v for k, v in os.environ.items() if k.startswith(("MFS_", "UCX_"))}
    return {
        "load": os.getloadavg(),
        "variables": variables,
        "rate_Bps": options.link_Bps,
        "seconds": options.seconds,
    }


def choice(option: str, name: str, of: tuple[str, ...], what: str) -> Any:
    kind = click.Choice(of)
    return click.option(option, name, multiple=True, type=kind, default=of, help=what)


@click.command(help=help_of(__doc__))
@choice("--scene", "scenes", SCENES, "Which; all if not given, as of the others.")
@choice("--operation", "operations", OPERATIONS, "message is NCCL's.")
@choice("--stuck", "stuck", SENDERS, "Whose traffic is stuck: the same process's, another's.")
@choice("--transport", "transports", TRANSPORTS, "shm only where a core is short.")
@choice("--policy", "policies", POLICIES, "Beside plain.")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=ucx.Size(),
    default=SHORT_SIZES,
    help="Where a core is short. [64k, 512k, 4m]",
)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Of each.")
@click.option("--seconds", default=1.0, show_default=True, help="That are measured, of a run.")
@click.option("--rate", default=1000.0, show_default=True, help="Mbit/s of an emulated port.")
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    scenes: tuple[str, ...],
    operations: tuple[str, ...],
    stuck: tuple[str, ...],
    transports: tuple[str, ...],
    policies: tuple[str, ...],
    sizes: tuple[int, ...],
    rounds: int,
    seconds: float,
    rate: float,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    chosen = [
        case
        for case in cases()
        if case.scene in scenes
        and case.operation in operations
        and case.stuck in ("", *stuck)
        and case.transport in transports
        and set(policies_of(case)) & set(policies)
    ]
    for library in (UCX_SHIM, NCCL_PLUGIN):
        if not library.exists():
            sys.exit(f"bench/stall.py: {library} is not built: pip install -e .")
    if not chosen:
        raise click.UsageError("no scene has all of that; see --help")
    if not 0.05 <= seconds <= 30:
        raise click.UsageError(f"--seconds {seconds!r}: from 0.05 to 30")
    try:
        link_Bps = network.check_link(rate)
    except InputError as error:
        raise click.UsageError(f"--rate: {error}") from None
    options = Options(rounds, seconds, link_Bps, policies, sizes, json_path)
    if not is_inside and any(case.scene not in SHORT for case in chosen):
        if reason := network.why_not_namespaces():
            sys.exit(f"this bench needs network namespaces: {reason}")
        command = [*network.enter_command(), sys.executable, *sys.argv, "--inside"]
        sys.exit(subprocess.run(command, check=False).returncode)
    rows = bench(chosen, options)
    make_console().print(table(rows))
    if is_inside:
        sys.stdout.flush()
        os._exit(0)  # pid 1 of its namespace: everything else ends with it


if __name__ == "__main__":
    begin(main)
