# SPDX-License-Identifier: Apache-2.0
"""The vLLM demo's command line; `scripts/vllm-demo` sets up and calls it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ... import json_report, native
from ...__main__ import fail
from ...commands._files import PictureFile, ResultFile
from ...host import Host
from ...native import InputError
from ...terminal import make_console
from .. import network
from . import checks, cluster, cost, replay, report, venv
from .replay import Run, SloClass

OUTPUT_TOKENS = 4
WARM_UP = 3  # requests before the first run: handshakes, first-time costs


@dataclass(frozen=True)
class Demo:
    options: cluster.Options
    classes: list[SloClass]
    requests: int
    pairs: int
    load: float
    systems: list[str]  # policies; or `stock`: vLLM without MFS, in servers of its own
    calm: int
    faults: bool
    folder: Path
    inside: bool

    @property
    def eager(self) -> bool:
        """Decode gets requests at once, so that it registers before prefill is done."""
        return "MFS_LAYERWISE" in self.options.variables


@dataclass
class Outcome:
    runs: list[Run]
    expected: dict[str, str]  # output by prompt, of one server that does both
    checks: dict[str, Any]
    events: list[dict[str, Any]]


def class_of(name: str, text: str, share: float) -> SloClass:
    """LEAST-MOST:FACTOR, as in 1000-1600:3"""
    tokens, _, factor = text.partition(":")
    least, _, most = tokens.partition("-")
    try:
        one = SloClass(name, (int(least), int(most or least)), float(factor), share)
    except ValueError:
        raise InputError(f"--{name} {text!r}: LEAST-MOST:FACTOR is expected") from None
    if not 1 <= one.tokens[0] <= one.tokens[1] <= 4000 or one.factor <= 0:
        raise InputError(f"--{name} {text!r}: 1 to 4000 tokens, a factor more than 0")
    return one


@click.command(name="vllm-demo")
@click.option("--setup", is_flag=True, help="Install vLLM's environment, and end.")
@click.option("--mode", type=click.Choice(["pull", "push"]), default="pull", show_default=True)
@click.option("--layerwise", is_flag=True, help="With --mode push: each layer when computed.")
@click.option("--requests", default=50, show_default=True, help="Of a run.")
@click.option("--pairs", default=3, show_default=True, help="Runs off and on, in turn.")
@click.option("--load", default=0.9, show_default=True, help="Of the decode host's port.")
@click.option("--link", default=50.0, show_default=True, help="Mbit/s of the ports.")
@click.option(
    "--tight", default="600-1000:3", show_default=True, help="TOKENS:TTFT wanted / alone."
)
@click.option(
    "--loose", default="3000-3900:12", show_default=True, help="TOKENS:TTFT wanted / alone."
)
@click.option("--tight-share", default=0.5, show_default=True, help="Of the requests.")
@click.option(
    "--systems",
    default="off,mfs",
    show_default=True,
    help="In turn: policies, or stock: vLLM without MFS, in two servers more.",
)
@click.option("--calm", default=0, help="So many single requests on the idle port as well.")
@click.option("--cost", "cost_too", is_flag=True, help="With --calm: our processor time.")
@click.option("--faults", is_flag=True, help="At the end: delete the segments, kill decode.")
@click.option("--trace", "trace_path", type=ResultFile(), help="Events as JSON.")
@click.option("--plot", type=PictureFile(), default=Path("out/vllm-demo.png"))
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for model and logs.")
@click.option("--loopback", is_flag=True, help="No namespaces; the shim paces the port.")
@click.option("--inside", is_flag=True, hidden=True)
def command(
    setup: bool,
    mode: str,
    layerwise: bool,
    requests: int,
    pairs: int,
    load: float,
    link: float,
    tight: str,
    loose: str,
    tight_share: float,
    systems: str,
    calm: int,
    cost_too: bool,
    faults: bool,
    trace_path: Path | None,
    plot: Path,
    json_path: Path | None,
    keep: Path | None,
    loopback: bool,
    inside: bool,
) -> None:
    """Real vLLM servers, prefill and decode apart, on a shaped port: TTFT with MFS off and on.

    \b
    Example:
        scripts/vllm-demo --pairs 3 --json out/vllm.json
        scripts/vllm-demo --mode push --layerwise
    """
    if not 0.01 <= load <= 10 or not 0 < tight_share < 1 or requests < 1 or pairs < 1:
        raise InputError("--load 0.01 to 10, --tight-share between 0 and 1, counts from 1")
    classes = [class_of("tight", tight, tight_share), class_of("loose", loose, 1 - tight_share)]
    link_Bps = network.check_link(link)
    names = [name.strip() for name in systems.split(",") if name.strip()]
    if not names or (names == ["stock"] and (faults or cost_too)):
        raise InputError("--systems: at least one; --faults and --cost need one that is not stock")
    for name in names:
        if name != "stock":
            native.policy(name)
    console = make_console()
    if not inside:
        venv.install(lambda line: console.print(line))
    if setup:
        console.print(f"vLLM {venv.VLLM} is in {venv.folder()}")
        return
    pairs_of_servers = len({name == "stock" for name in names})
    short = venv.short_of_memory(pairs_of_servers * venv.PAIR_BYTES)
    if short:
        raise InputError(short)
    if not inside and not loopback:
        reason = network.why_not_namespaces()
        if reason is None:
            sys.stdout.flush()
            argv = [sys.executable, "-m", "mfs_transport.testbed.vllm", *sys.argv[1:], "--inside"]
            enter = network.enter_command()
            os.execvp(enter[0], [*enter, *argv])
        click.echo(f"no network namespaces here ({reason}); using loopback", err=True)
    variables = {"MFS_LAYERWISE": "1"} if layerwise else {}
    with tempfile.TemporaryDirectory(prefix="mfs-vllm-") as scratch:
        folder = keep.absolute() if keep else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        demo = Demo(
            cluster.Options(mode=mode, link_Bps=link_Bps, variables=variables, cost=cost_too),
            classes,
            requests,
            pairs,
            load,
            names,
            calm,
            faults,
            folder,
            inside,
        )
        sys.exit(show(console, demo, plot, json_path, trace_path))


def show(
    console: Console, demo: Demo, plot: Path, json_path: Path | None, trace_path: Path | None
) -> int:
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="mfs-vllm-", dir=shared) as segments:
        net: network.Network = (
            network.Namespaces(demo.options.link_Bps) if demo.inside else network.Loopback(segments)
        )
        link = demo.options.link_Bps * 8 / 1e6
        title = f"vLLM {venv.VLLM}, {demo.options.mode}, {link:g} Mbit/s, load {demo.load:g}"
        console.print(f"{title}; {net.kind}")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            outcome = run_all(console, net, demo)
        except cluster.ServerDied as error:
            click.echo(f"mfs: {error}", err=True)
            return 1
        except KeyboardInterrupt:
            return 130
    rows = report.records(outcome.runs, outcome.expected)
    console.print(report.table(rows))
    report.plot(outcome.runs, plot, title)
    console.print(f"picture: {plot}")
    about = {"network": net.kind, "mode": demo.options.mode, "load": demo.load}
    if json_path:
        json_report.write(
            json_path, rows, **about, checks=outcome.checks, runs=report.costs(outcome.runs)
        )
        console.print(f"results: {json_path}")
    if trace_path:
        json_report.write(trace_path, outcome.events, **about)
        console.print(f"events: {trace_path}")
    for name, check in outcome.checks.items():
        console.print(f"{name}: {check}")
    wrong = sum(row["mismatched_outputs"] for row in rows)
    if wrong:
        click.echo(f"mfs: {wrong} outputs are not those of the aggregated run", err=True)
        for run in outcome.runs:
            for one in run.done:
                if one.error:
                    click.echo(f"  {run.policy} request {one.job.index}: {one.error}", err=True)
        return 1
    console.print("every output is token for token that of one server that does both")
    return 0


def run_all(console: Console, net: network.Network, demo: Demo) -> Outcome:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        contextlib.ExitStack() as stack,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("starting", total=None)

        def say(line: str) -> None:
            progress.update(task, description=line)

        servers: dict[bool, cluster.Cluster] = {}  # by: without MFS
        proxies: dict[bool, tuple[str, int]] = {}
        for stock in sorted({name == "stock" for name in demo.systems}):
            options = replace(demo.options, mfs=not stock)
            one = cluster.Cluster(net, demo.folder, options, number=int(stock))
            servers[stock] = stack.enter_context(one)
            one.start(say)
            proxies[stock] = one.start_proxy(eager=demo.eager)
        return measure(console, demo, servers, proxies, progress, task)


def measure(
    console: Console,
    demo: Demo,
    servers: dict[bool, cluster.Cluster],
    proxies: dict[bool, tuple[str, int]],
    progress: Progress,
    task: TaskID,
) -> Outcome:
    link = demo.options.link_Bps
    runs: list[Run] = []
    expected: dict[str, str] = {}
    found: dict[str, Any] = {}

    def say(line: str, total: int | None = None) -> None:
        progress.update(task, description=line, total=total, completed=0)

    def count(completed: int) -> None:
        progress.update(task, completed=completed)

    def switch(system: str) -> tuple[str, int]:
        """Make it the system that serves, alone; the proxy to ask."""
        stock = system == "stock"
        for number, one in servers.items():
            if number != stock:
                one.rest()
        servers[stock].wake()
        if not stock:
            set_policy(servers[False], system)
        return proxies[stock]

    warm = replay.make(demo.classes, WARM_UP, 0.3, link, 10**6)
    for proxy in proxies.values():
        replay.replay(proxy, warm, OUTPUT_TOKENS, "warm-")
    say("requests alone")
    classes = replay.calibrated(switch(demo.systems[0]), demo.classes, OUTPUT_TOKENS)
    for slo in classes:
        console.print(f"{slo.name}: TTFT alone {slo.ttft_s / slo.factor:.2f} s")
    if demo.calm:
        say("idle port", demo.calm)
        systems = {name: functools.partial(switch, name) for name in demo.systems}
        mine = servers.get(False) if demo.options.cost else None
        used_before = checks.cost_of(mine) if mine else {}
        found["calm"] = checks.calm(systems, classes[0], demo.calm, OUTPUT_TOKENS, count)
        for name, used in (checks.cost_of(mine) if mine else {}).items():
            found[f"cost of {name}"] = cost.summary(used_before[name], used)
    wire = checks.Wire(servers[False]) if False in servers else None
    for pair in range(demo.pairs):
        jobs = replay.make(classes, demo.requests, demo.load, link, pair)
        say(f"seed {pair}: outputs of one server")
        switch(demo.systems[0])
        reference = servers[demo.systems[0] == "stock"].servers["prefill"].address
        expected |= replay.aggregated(reference, jobs, OUTPUT_TOKENS)
        for system in demo.systems if pair % 2 == 0 else demo.systems[::-1]:
            proxy = switch(system)
            say(f"seed {pair}: {system}", len(jobs))
            mine = servers[system == "stock"]
            before = mine.cpu_s()
            done, seconds = replay.replay(proxy, jobs, OUTPUT_TOKENS, f"{system}-{pair}-", count)
            cpu_s = {name: used - before[name] for name, used in mine.cpu_s().items()}
            runs.append(Run(system, pair, done, seconds, cpu_s))
            if wire is not None:
                wire.read()
            if not console.is_terminal:
                parts = [
                    f"{name} {100 * report.attainment(report.of_class(runs[-1], name)):3.0f} %"
                    for name in report.classes_of(runs)
                ]
                console.print(f"seed {pair} {system:5} in time: {', '.join(parts)}")
    events = []
    if wire is not None:
        wire.close()
        events = wire.records()
    if demo.faults:
        say("faults")
        proxy = switch([name for name in demo.systems if name != "stock"][-1])
        found["faults"] = checks.faults(servers[False], proxy, classes[-1], OUTPUT_TOKENS)
    runs.sort(key=lambda run: demo.systems.index(run.policy))
    return Outcome(runs, expected, found, events)


def set_policy(servers: cluster.Cluster, policy: str) -> None:
    """Of both hosts; `off` is UCX's own order."""
    for name in servers.servers:
        with Host(servers.segment(name)) as host:
            host.policy = policy


if __name__ == "__main__":
    try:
        command(standalone_mode=False)
    except click.UsageError as error:
        sys.exit(fail(error.format_message(), 2))
    except (InputError, OSError) as error:
        sys.exit(fail(error, 2 if isinstance(error, InputError) else 1))
