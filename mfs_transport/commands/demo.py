# SPDX-License-Identifier: Apache-2.0
"""mfs demo: real NIXL transfers between emulated hosts, with and without MFS."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .. import json_report, native
from ..native import InputError, shown
from ..terminal import make_console
from ..testbed import choice, network, paired, report, schedule, trace
from ..testbed import inside as namespaces
from ..testbed.choice import Choice
from ..testbed.coordinator import Coordinator, HostDied, Room, Run
from ..testbed.job import Job
from ..testbed.llama import Llama
from ..testbed.outcome import Outcome
from ..testbed.setting import WAYS, Setting
from ._files import PictureFile, ResultFile

POLICIES = "off,fifo,edf,mfs"
MOST_REGION_BYTES = 1 << 30


@dataclass(frozen=True)
class Demo:
    """What is replayed, and on what."""

    plan: dict[int, list[Job]]  # by seed
    policies: list[str]
    choices: list[Choice]  # of stores
    llama: Llama
    load: float
    log: Path | None  # what the hosts print
    inside: int | None  # socket to the process that entered namespaces for us; None: loopback

    @property
    def setting(self) -> Setting:
        return self.llama.setting

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Names of what differs in the choice of stores alone: another one, and the first."""
        usual, *others = self.choices
        return [(one.name(name), usual.name(name)) for name in self.policies for one in others]

    @property
    def room(self) -> Room:
        """Receive memory that a host needs for the largest workload."""
        most = max(sum(job.shard_bytes for job in jobs) for jobs in self.plan.values())
        exchange = max(job.exchange_bytes for jobs in self.plan.values() for job in jobs)
        return Room(self.setting.groups * most, exchange)

    def __str__(self) -> str:
        return (
            f"ports of {self.setting.link_Bps * 8 / 1e6:g} Mbit/s, load {self.load:g}, "
            f"target {self.llama.slo_factor:g} × TTFT alone"
        )


def split_policies(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"--policies {text!r}: at least one is needed")
    for name in names:
        native.policy(name)
    return list(dict.fromkeys(names))


def number(name: str, value: float, least: float, most: float) -> float:
    if not least <= value <= most:
        short = isinstance(value, float) and abs(value) < 1e15
        words = f"{value:g}" if short else shown(value)
        raise InputError(f"{name} {words}: from {least:g} to {most:g}")
    return value


@click.command()
@click.option(
    "--trace",
    "trace_name",
    default=str(trace.SHIPPED),
    help="Requests in the Mooncake JSONL format, FILE or FILE,block=16,unit=s.  "
    "[default: one that is shipped]",
)
@click.option("--policies", default=POLICIES, show_default=True, help="Which, in this order.")
@click.option("--seeds", default=5, show_default=True, help="How many workloads, each under all.")
@click.option("--load", default=0.65, show_default=True, help="Of a prefill host's egress port.")
@click.option("--seconds", default=9.0, show_default=True, help="Length of a workload.")
@click.option(
    "--slo",
    default=3.0,
    show_default=True,
    help="TTFT target: times the TTFT of the request alone.",
)
@click.option("--link", default=200.0, show_default=True, help="Mbit/s of each emulated port.")
@click.option(
    "--most-tokens",
    default=12288,
    show_default=True,
    help="Longer prompts of the trace are cut to this.",
)
@click.option(
    "--store-choice",
    default=choice.OWN,
    show_default=True,
    help="own: each half of a request has a store. Of two that have all of it: draw, slack, fit; "
    "several with commas.",
)
@click.option(
    "--fetch",
    type=click.Choice(WAYS),
    default="pull",
    show_default=True,
    help="Prefill hosts read KV, or stores write it.",
)
@click.option(
    "--loopback",
    is_flag=True,
    help="No namespaces: all hosts on loopback, paced by the shim itself.",
)
@click.option(
    "--plot",
    type=PictureFile(),
    default=Path("out/demo.png"),
    show_default=True,
    help="Where the picture goes.",
)
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--log", type=click.Path(path_type=Path), help="What the hosts print.")
@click.option("--inside", type=int, hidden=True)
def command(
    trace_name: str,
    policies: str,
    seeds: int,
    load: float,
    seconds: float,
    slo: float,
    link: float,
    most_tokens: int,
    store_choice: str,
    fetch: str,
    loopback: bool,
    plot: Path,
    json_path: Path | None,
    log: Path | None,
    inside: int | None,
) -> None:
    """Replay requests with TTFT deadlines on six emulated hosts, under several policies.

    Two prefill, two decode and two KV-store hosts hold NIXL agents; each has a port that
    is a real bottleneck. Every transfer is verified by checksum at its receiver.

    \b
    Example:
        mfs demo --seeds 3 --json out/demo.json
        mfs demo --trace conversation_trace.jsonl --load 0.6
        mfs demo --policies mfs --fetch push --store-choice draw,slack
    """
    if not importlib.util.find_spec("nixl"):
        raise InputError(
            "NIXL is not installed; the demo's hosts move their bytes with it: "
            "pip install mfs-transport[vllm], or pip install nixl"
        )
    names = split_policies(policies)
    number("--seeds", seeds, 1, 1000)
    stores = choice.read(store_choice, (choice.OWN, *choice.STORES), "--store-choice")
    choices = [Choice(one, Setting.store_hosts) for one in stores]
    choice.check(choices, fetch, "push")
    number("--load", load, 0.01, 10)
    number("--seconds", seconds, 1, 3600)
    number("--most-tokens", most_tokens, 256, 10_000_000)
    llama = Llama(
        Setting(link_Bps=network.check_link(link), fetch=fetch),
        slo_factor=number("--slo", slo, 0.1, 1000),
        bandwidth_scale=Llama.bandwidth_scale * 200.0 / link,
    )
    rows = trace.read(*trace.split(trace_name))
    plan = {
        seed: schedule.make(rows, llama, load, seconds, seed, most_tokens) for seed in range(seeds)
    }
    demo = Demo(plan, names, choices, llama, load, log, inside)
    if demo.room.kv > MOST_REGION_BYTES:
        raise InputError(
            f"a host would need {4 * demo.room.kv >> 20} MiB for one workload: "
            "choose a smaller --seconds, --load or --link"
        )
    if inside is None and not loopback:
        reason = network.why_not_namespaces()
        if reason is None:
            sys.exit(namespaces.enter("the demo"))
        click.echo(f"no network namespaces here ({reason}); using loopback", err=True)
    try:
        sys.exit(show(demo, plot, json_path))
    finally:
        if inside is not None:
            os.write(inside, b".")


def show(demo: Demo, plot: Path, json_path: Path | None) -> int:
    """Run it and show what came out; the exit status."""
    console = make_console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count = len(demo.setting.processes)
    try:
        with namespaces.network_of(demo.inside, demo.setting.link_Bps) as hosts:
            console.print(f"{count} hosts ({hosts.kind}), {demo}")
            outcomes = run_all(console, hosts, demo)
    except HostDied as error:
        click.echo(f"mfs: {error}; the demo has ended and removed what it made", err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(report.table(outcomes))
    if len(demo.plan) > 1:
        console.print(f"medians of {len(demo.plan)} seeds (least–most); MB and time: of all seeds")
    if demo.pairs:
        console.print("\nother choices of stores against the first, seed by seed")
        console.print(paired.table(report.records(outcomes), demo.pairs))
    report.plot(outcomes, plot, f"{count} emulated hosts, {demo}")
    console.print(f"picture: {plot}", soft_wrap=True)
    if json_path:
        json_report.write(json_path, report.records(outcomes), network=hosts.kind, load=demo.load)
        console.print(f"results: {json_path}", soft_wrap=True)
    found = report.faults(outcomes)
    for fault in found:
        click.echo(f"mfs: {fault}", err=True)
    if not found:
        console.print("every transfer arrived with the right checksum")
    return 1 if found else 0


def alone_in_its_batch(batch: list[Job]) -> float:
    return batch[0].compute_s


def advance(progress: Progress, task: TaskID, start: float, length: float, elapsed: float) -> None:
    progress.update(task, completed=start + min(elapsed, length))


def run_all(console: Console, hosts: network.Network, demo: Demo) -> list[Outcome]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    lengths = {seed: jobs[-1].arrival_s + 0.8 for seed, jobs in demo.plan.items()}
    outcomes: list[Outcome] = []
    with (
        Coordinator(hosts, demo.setting, demo.log) as coordinator,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        runs = [(policy, one) for policy in demo.policies for one in demo.choices]
        total = len(runs) * sum(lengths.values())
        task = progress.add_task("starting hosts", total=total)
        if demo.inside is not None:
            coordinator.watch(demo.inside)
        coordinator.start(demo.room)
        done = 0.0
        for seed, jobs in demo.plan.items():
            for policy, chosen in runs:
                start, length = done, lengths[seed]
                progress.update(task, description=f"seed {seed}, {chosen.name(policy):9}")
                move = partial(advance, progress, task, start, length)
                run = Run(policy, seed, jobs, alone_in_its_batch, choice=chosen)
                outcomes.append(coordinator.run(run, move))
                done += length
                if not console.is_terminal:
                    one = outcomes[-1]
                    console.print(
                        f"seed {seed} {one.policy:9} attained {100 * one.attainment:3.0f} % of "
                        f"{one.requests} requests, mean TTFT {one.ttft_mean_s:.2f} s"
                    )
    return outcomes
