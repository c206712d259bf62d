# SPDX-License-Identifier: Apache-2.0
"""mfs testbed: a whole cluster emulated on one machine, and what the simulator says of it."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from .. import json_report
from ..exchange import seal
from ..native import InputError, ffi, lib, shown
from ..sim import models, setting
from ..sim.point import Point
from ..sim.report import by
from ..sim.sweep import Store
from ..terminal import make_console, progress
from ..testbed import choice, modelled, network, paired, pictures, results
from ..testbed import compare as runs
from ..testbed import inside as namespaces
from ..testbed.choice import Choice
from ..testbed.coordinator import Coordinator, HostDied, Room, Run
from ..testbed.modelled import Modelled, Scale
from ..testbed.setting import CLASSES, WAYS, Setting
from ..testbed.space import Full
from . import _sim
from ._files import PictureFile, ResultFile

POLICIES = "off,fifo,edf,karuna,mfs_paper,mfs"
MOST_KV_BYTES = 256 << 20  # of a host's receive memory


@click.group()
def command() -> None:
    """The paper's test bed on one machine: real transports, real contention, waits for GPUs.

    \b
    Example:
        mfs testbed compare --seeds 2 --requests 60
    """


@command.command()
@click.option("--policies", default=POLICIES, show_default=True, help="In this order.")
@click.option("--base", default="", help="What they are compared with.  [default: the first]")
@click.option(
    "--rates", default="1", show_default=True, help="Requests a second and prefill GPU: 0.5,1."
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--first-seed", type=click.IntRange(0, 2**62), default=1000, show_default=True)
@click.option("--cluster", default="paper-testbed", show_default=True, help="As for mfs sim.")
@click.option("--model", help="[default: the first that the cluster is meant for]")
@click.option(
    "--workload",
    default="conversation",
    show_default=True,
    help="conversation, agent, lognormal:MEAN[:SIGMA[:REUSE]], azure:FILE, mooncake:FILE.",
)
@click.option("--times", default="poisson", show_default=True, help="poisson, or trace.")
@click.option("--slo", default="3x", show_default=True, help="3x, 500ms, tight=2x:0.3,loose=5x")
@click.option("--warmup", default=10, show_default=True, help="Requests before them.")
@click.option("--requests", default=100, show_default=True, help="Requests measured.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Of the cluster.")
@click.option(
    "--time-scale", default=10.0, show_default=True, help="Times slower than the cluster."
)
@click.option("--link", default=200.0, show_default=True, help="Mbit/s of each emulated NIC.")
@click.option("--fetch", type=click.Choice(WAYS), default="pull", show_default=True)
@click.option("--deliver", type=click.Choice(WAYS), default="push", show_default=True)
@click.option(
    "--store-choice",
    default=choice.DRAW,
    show_default=True,
    help="Of the hosts that have the KV: draw, slack, fit; several with commas.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, choice.MOST_REPLICAS),
    default=2,
    show_default=True,
    help="How many hosts have it.",
)
@click.option(
    "--decode-choice",
    default=choice.BYTES,
    show_default=True,
    help="bytes, fit; several with commas.",
)
@click.option("--exchange", is_flag=True, help="Hosts agree on what goes first, by mfs agent.")
@click.option("--classes", is_flag=True, help="Links serve urgent levels first, by their DSCP.")
@click.option(
    "--results",
    "store_path",
    type=click.Path(path_type=Path),
    default=Path("out/testbed.jsonl"),
    show_default=True,
    help="Where runs are kept, and found again.",
)
@click.option("--again", is_flag=True, help="Run again those of which a processor was the limit.")
@click.option("--plot", type=PictureFile(), help="Attainment, TTFT, earliness, collectives.")
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--log", type=click.Path(path_type=Path), help="What the hosts print.")
@click.option("--inside", type=int, hidden=True)
def compare(
    policies: str,
    base: str,
    rates: str,
    seeds: int,
    first_seed: int,
    store_path: Path,
    again: bool,
    plot: Path | None,
    json_path: Path | None,
    log: Path | None,
    inside: int | None,
    **given: Any,
) -> None:
    """The same requests under several policies, on emulated hosts; beside each figure the
    simulator's for the same requests. May be stopped and run again at any time.

    Every run takes as long as its requests do: (warm-up + requests) / rate * time scale.

    \b
    Example:
        mfs testbed compare --rates 0.5,1,1.5 --seeds 5 --plot out/testbed.png
        mfs testbed compare --workload agent --policies off,mfs --json out/ab.json
    """
    needs_nixl()
    names = list(dict.fromkeys(name.strip() for name in policies.split(",") if name.strip()))
    if not names:
        raise InputError(f"--policies {shown(policies)}: at least one is needed")
    base = base or names[0]
    if base not in names:
        raise InputError(f"--base {shown(base)}: one of {', '.join(names)}")
    scale = make_scale(given)
    choices = make_choices(given, scale)
    if scale.exchange:
        needs_agents(names)
    plan = make_plan(names, rates, range(first_seed, first_seed + seeds), scale, given, choices)
    if inside is None:
        reason = network.why_not_namespaces()
        if reason is not None:
            raise InputError(f"the test bed needs network namespaces: {reason}")
        sys.exit(namespaces.enter("the test bed"))
    try:
        sys.exit(show(plan, store_path, again, choices[0].name(base), plot, json_path, log, inside))
    finally:
        os.write(inside, b".")


def needs_nixl() -> None:
    if not importlib.util.find_spec("nixl"):
        raise InputError(
            "NIXL is not installed; the test bed's hosts move KV with it: "
            "pip install mfs-transport[vllm], or pip install nixl"
        )


def needs_agents(policies: Sequence[str]) -> None:
    """The library for the agents' key, and policies by which hosts can agree; InputError."""
    seal.Seal(bytes(seal.KEY_BYTES))
    for name in policies:
        policy = lib.mfs_policy_find(name.encode())
        if name != "off" and policy != ffi.NULL and not lib.mfs_policy_keys_are_times(policy):
            raise InputError(f"--exchange: hosts cannot agree by {name}, whose ranks are no times")


def make_scale(given: dict[str, Any]) -> Scale:
    times = given["time_scale"]
    if not 0.1 <= times <= 1000:
        raise InputError(f"--time-scale {times:g}: from 0.1 to 1000")
    link_Bps = network.check_link(given["link"])
    ways = given["fetch"], given["deliver"]
    return Scale(times, link_Bps, *ways, exchange=given["exchange"], classes=given["classes"])


def make_choices(given: dict[str, Any], scale: Scale) -> list[Choice]:
    stores = choice.read(given["store_choice"], choice.STORES, "--store-choice")
    decodes = choice.read(given["decode_choice"], choice.DECODES, "--decode-choice")
    stores = [choice.OWN if one == choice.DRAW else one for one in stores]  # it is the usual one
    found = [Choice(one, given["replicas"], other) for other in decodes for one in stores]
    choice.check(found, scale.fetch, scale.deliver)
    return found


@dataclass(frozen=True)
class Plan:
    points: list[Point]
    scale: Scale
    pairs: list[tuple[str, str]]
    """Names of what differs in the choice of hosts alone: another one, and the first."""

    def ready(self, points: Sequence[Point]) -> list[Modelled]:
        return [modelled.make(one, self.scale) for one in points]


def make_plan(
    names: Sequence[str],
    rates: str,
    seeds: Sequence[int],
    scale: Scale,
    given: dict[str, Any],
    choices: Sequence[Choice],
) -> Plan:
    if given["model"] is not None:
        models.find(given["model"])
    base = Point(
        cluster=given["cluster"],
        model=given["model"] or "",
        workload=given["workload"],
        slo=given["slo"],
        times=given["times"],
        warmup=given["warmup"],
        measured=given["requests"],
        changes=_sim.pairs("--set", given["changes"]),
    )
    gpus = prefill_gpus(base)
    each = [gpus * one for one in numbers(rates)]
    points = runs.wanted(base, scale, names, each, seeds, choices)
    for policy in names:  # what is wrong is said before anything is made
        modelled.make(replace(points[0], policy=policy), scale)
    pairs = [(one.name(policy), choices[0].name(policy)) for policy in names for one in choices[1:]]
    return Plan(points, scale, pairs)


def prefill_gpus(base: Point) -> int:
    one = setting.read(base.cluster, dict(base.changes))
    return one.cluster.units * one.cluster.unit_hosts * one.gpus_per_host


def numbers(text: str) -> list[float]:
    found = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not 1e-3 <= value <= 1e3:
            raise InputError(f"--rates {shown(text)}: numbers from 0.001 to 1000, as 0.5,1")
        found.append(value)
    return found


def show(
    plan: Plan,
    store_path: Path,
    again: bool,
    base: str,
    plot: Path | None,
    json_path: Path | None,
    log: Path | None,
    inside: int,
) -> int:
    """Run what is missing and show what came out; the exit status."""
    console = make_console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    store = Store(store_path)
    (one,) = plan.ready(plan.points[:1])
    bed, case = one.setting, one.case
    console.print(
        f"{case.point.cluster}, {case.point.model}, {case.point.workload}: "
        f"{len(bed.processes) // bed.nics} hosts of {bed.ranks} GPUs and {bed.nics} NICs, links of "
        f"{bed.link_Bps * 8 / 1e6:g} Mbit/s, {plan.scale.time:g} times slower{besides(bed)}"
    )
    try:
        run_all(console, plan, store, again, log, inside)
    except (HostDied, Full) as error:
        click.echo(f"mfs: {error}; the test bed has ended and removed what it made", err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    rows = store.table(plan.points)
    for (rate,), group in by(rows, "rate").items():
        load = group[0]["load"]
        console.print(f"\n{rate:g} requests/s (load {load:.2f})", style="bold")
        console.print(results.measured(group))
        if len(by(group, "policy")) > 1:
            console.print(f"\nagainst {base}, seed by seed")
            console.print(results.changes(group, base))
        if plan.pairs:
            console.print("\nother choices of hosts against the first, seed by seed")
            console.print(paired.table(results.valid(group), plan.pairs))
    console.print()
    console.print(results.agreement(rows))
    for line in results.invalid(rows):
        console.print(line)
    if plot:
        pictures.draw(rows, plot, f"{case.point.cluster}, {case.point.workload}")
        console.print(f"picture: {plot}", soft_wrap=True)
    if json_path:
        json_report.write(json_path, **runs.parted(rows))
        console.print(f"results: {json_path}", soft_wrap=True)
    found = runs.faults(rows)
    for fault in found:
        click.echo(f"mfs: {fault}", err=True)
    if not found:
        console.print("every byte arrived once, and unchanged")
    return 1 if found else 0


def run_all(
    console: Console, plan: Plan, store: Store, again: bool, log: Path | None, inside: int
) -> None:
    missing = runs.left(store, plan.points, again)
    console.print(f"{len(plan.points)} runs, {len(missing)} of them to do, kept in {store.path}")
    if not missing:
        return
    ready = plan.ready(missing)
    lengths = [one.jobs[-1].arrival_s + 2.0 for one in ready]
    with (
        Coordinator(links(ready[0].setting), ready[0].setting, log) as hosts,
        progress("starting hosts", sum(lengths)) as move,
    ):
        hosts.watch(inside)
        hosts.start(room_of(ready))
        done_s = 0.0
        for at, (point, one) in enumerate(zip(missing, ready, strict=True)):
            words = f"run {at + 1} of {len(missing)}: {point.policy}, seed {point.seed}"
            tell = teller(move, words, done_s, lengths, at)
            run = Run(
                *(point.policy, point.seed, one.jobs, one.compute_s, one.cluster.token_budget),
                choice.of(point.options),
            )
            store.add(runs.kept(one, hosts.run(run, tell), point))
            done_s += lengths[at]


def besides(bed: Setting) -> str:
    """What makes it another test bed than the plain one."""
    agree = "; hosts agree" if bed.exchange else ""
    return agree + ("; links serve classes" if bed.classes else "")


def links(bed: Setting) -> network.Namespaces:
    return network.Namespaces(bed.link_Bps, CLASSES if bed.classes else ())


def teller(
    move: Callable[[float, str], None], words: str, done_s: float, lengths: list[float], at: int
) -> Callable[[float], None]:
    """Says how far it is, and about how long the rest takes."""
    whole_s = sum(lengths)

    def tell(now_s: float) -> None:
        here_s = done_s + min(max(0.0, now_s), lengths[at])
        left_s = whole_s - here_s
        move(here_s, f"{words}, {left_s / 60:.0f} min left")

    return tell


def room_of(ready: Sequence[Modelled]) -> Room:
    """Memory that no run exceeds, or as much as a host may have."""
    kv = max(
        one.setting.groups
        * sum(one.setting.unit_hosts * job.shard_bytes + job.fetch_bytes for job in one.jobs)
        for one in ready
    )
    exchange = max(modelled.most_exchanged(one.jobs, one.cluster.token_budget) for one in ready)
    return Room(min(kv, MOST_KV_BYTES), exchange)
