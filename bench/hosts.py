# SPDX-License-Identifier: Apache-2.0
"""Hosts that agree on what goes first: reads beside urgent puts, many senders to one.
With --classes networks that serve some packets first, by their DSCP.

Emulated hosts (network namespaces, ports of 1 Gbit/s), NIXL over UCX's TCP:

    pull    host A puts 8 MiB, urgent, to another host every 200 ms; three
            others read A's memory all the time
    incast  seven hosts put 1 to 8 MiB each to an eighth, at random times, a
            third of them with a tight deadline, so that its port is used for
            --load of the time
    read    host B reads 8 MiB of A's memory, urgent, every 200 ms; three
            others read it all the time
    push    host A puts 8 MiB, urgent, to host E every 200 ms; three others
            put to E all the time, without haste
    own     the same, and A puts to E without haste as well, by the same
            connection

Variants:

    off        UCX alone
    local      each host orders what it sends
    exchange   the hosts' agents agree (mfs agent)
    loss       the same, and agents lose 30 % of their datagrams
    delay      each datagram takes 50 ms
    killed     the agent of the contended host is killed halfway
    liar       one sender's agent says that all is urgent
    classes    as local, with MFS_CLASSES=46,26,0
    all        as exchange, with MFS_CLASSES=46,26,0
    global     incast, computed: one queue by deadline
    cap        incast, computed: the best cap by count

collective_p99_ratio is the p99 of a put beside the reads over that of one alone;
reads_share what the reads, or the puts without haste, get of what the urgent ones
leave of capacity_Bps, which is what they have without them, before and after, in
the same scene and counted where it comes (reads_share_of_link: by whole reads, of a
link without headers); on_time the share of puts that meet their deadlines.
agent_cpu_share is of one core, for the busiest agent, and link_share what its
datagrams are of a link.

With --classes, or one of the last two variants, the ports of NICs and switch serve
DSCP 46 first, then 26, then all else.

    mfs bench hosts --json out/hosts.json
    mfs bench hosts --case push --case own --classes
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from _arrivals import Arrivals
from _main import begin
from _process import DESCRIPTOR, Process, environment

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.terminal import Column, Table, help_of, make_console, number, track
from mfs_transport.testbed import agents, network
from mfs_transport.testbed.setting import CLASSES

LINK_BPS = 125e6
MIB = 1 << 20
HOSTS = "ABCDEFGH"
HERE = Path(__file__).parent
PUT_BYTES, PUT_EVERY_S = 8 * MIB, 0.2
READ_BYTES, READ_DEPTH = 8 * MIB, 4
FILLED_S = 1.5
MEASURED = ("off", "local", "exchange")
BAD = ("loss", "delay", "killed", "liar")
MARKED = ("classes", "all")
ALONE = ("local", "classes")  # without agents
PUSHES = {"push": 0, "own": 1}  # and how many puts without haste are A's own
CASES = ("pull", "incast", "read", *PUSHES)
HOOKS = {"loss": ("0.3", "0"), "delay": ("0", "0.05")}
FRAME_BYTES = 400  # of a datagram on the wire, with its headers: most have one or two claims
TIGHT, LOOSE = 4.0, 30.0  # deadlines, in times alone
ROUND_TRIP_S = 0.005


def party(name: str, place: network.Place, variant: str, env: dict[str, str]) -> Process:
    command = [sys.executable, str(HERE / "_hosts_party.py"), name, DESCRIPTOR]
    with_mfs = variant != "off"
    return Process(name, place, command, env, enabled=with_mfs, shim=with_mfs)


class Scene:
    """The hosts of one case under one variant."""

    def __init__(
        self, hosts: dict[str, network.Place], folder: Path, variant: str, named: str
    ) -> None:
        self.hosts, self.folder, self.variant, self.named = hosts, folder, variant, named
        self.agents = agents.Agents()
        if variant not in ("off", *ALONE):
            for name in named:
                self.start_agent(name)
        self.parties = {
            name: party(name, hosts[name], variant, self.environment(name)) for name in named
        }
        self.told = {name: one.ask("hello") for name, one in self.parties.items()}

    def segment(self, name: str) -> Path:
        return self.folder / f"{self.variant}-{name}"

    def environment(self, name: str) -> dict[str, str]:
        env = environment(self.hosts[name].device, str(self.segment(name)))
        if self.variant in MARKED:
            env["MFS_CLASSES"] = ",".join(map(str, CLASSES))
        if self.variant not in ("off", *ALONE):
            places = [self.hosts[other] for other in self.named]
            env |= agents.environment(self.hosts[name], places, self.folder / "key")
        return env

    def start_agent(self, name: str) -> None:
        place = self.hosts[name]
        hooks = HOOKS.get(self.variant, ("0", "0"))
        kind = "liar" if self.variant == "liar" and name == self.named[-1] else "honest"
        command = [sys.executable, str(HERE / "_hosts_agent.py"), *hooks, kind]
        self.agents.start(place, self.environment(name), command)

    def meet(self, name: str, other: str) -> None:
        one = self.told[other]
        self.parties[name].ask("meet", peers={other: (one["metadata"], one["at"])})

    def wait_for_agents(self) -> None:
        missing = self.agents.meet()
        if missing:
            print(f"agents that know too few peers: {', '.join(missing)}", file=sys.stderr)

    def cost(self, before: dict[str, dict[str, Any]]) -> tuple[float, float] | None:
        """Of the busiest agent since then: share of a core, and of a link."""
        shares = []
        for name, was in before.items():
            now = self.agents.state(name)
            if not was or not now or now["seconds"] <= was["seconds"]:
                continue
            span = now["seconds"] - was["seconds"]
            cpu = (now["cpu_seconds"] - was["cpu_seconds"]) / span
            sent = now["counts"]["sent"] - was["counts"]["sent"]
            shares.append((cpu, sent * FRAME_BYTES / span / LINK_BPS))
        return max(shares, default=None)

    def queues(self, name: str) -> list[int]:
        """What each queue of the host's port has sent; none where it has one."""
        place = self.hosts[name]
        return network.queue_bytes(place.device, place.command)

    def first_queue(self, before: list[int]) -> dict[str, float]:
        """Of what has left A since then, the share of the first queue."""
        sent = [now - was for now, was in zip(self.queues("A"), before, strict=True)]
        return {"first_class_share": sent[0] / sum(sent)} if sent else {}

    def states(self) -> dict[str, dict[str, Any]]:
        return {name: self.agents.state(name) for name in self.agents.processes}

    def end(self) -> None:
        for one in self.parties.values():
            one.end()
        self.agents.close()
        for path in self.folder.glob(f"{self.variant}-*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def scene(
    hosts: dict[str, network.Place], folder: Path, variant: str, named: str
) -> Iterator[Scene]:
    made = Scene(hosts, folder, variant, named)
    try:
        yield made
    finally:
        made.end()


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def capacity_Bps(one: Scene, names: str, seconds: float) -> float:
    """What those hosts get while nothing urgent is under way."""
    arrivals = Arrivals(one.parties, names)
    time.sleep(seconds)
    return arrivals.rate_Bps()


def shares(
    all_Bps: list[float], reads_Bps: float, urgent_Bps: float, whole_Bps: float, put_Bps: float
) -> dict[str, float]:
    """all_Bps: without the urgent puts; whole_Bps, put_Bps: of whole reads, of whole puts."""
    capacity = statistics.mean(all_Bps)
    return {
        "capacity_Bps": capacity,
        "reads_Bps": reads_Bps,
        "reads_share": reads_Bps / (capacity - urgent_Bps),
        "reads_share_of_link": whole_Bps / (LINK_BPS - put_Bps),
    }


# --- pull ---


def pull(one: Scene, seconds: float, puts: bool) -> dict[str, Any]:
    """A is the reads' owner. B, C and D read, and E takes A's puts; or C, D and E read, and the
    urgent ones are B's reads."""
    urgent, to, names = ("A", "E", "BCD") if puts else ("B", "A", "CDE")
    readers = [one.parties[name] for name in names]
    for name in names:
        one.meet(name, "A")
    one.meet(urgent, to)
    one.wait_for_agents()
    way = "WRITE" if puts else "READ"
    stream = {"to": to, "way": way, "bytes": PUT_BYTES, "every_s": PUT_EVERY_S}
    alone = one.parties[urgent].ask("stream", **stream, seconds=seconds / 2)["seconds"]
    for reader in readers:
        reader.ask("reads", of="A", bytes=READ_BYTES, depth=READ_DEPTH)
    # A's own loop moves the reads on
    one.parties[urgent].ask("stream", **stream, seconds=FILLED_S)
    capacity = [capacity_Bps(one, names, seconds / 4)]
    before, queues = one.states(), one.queues("A")
    reads, hurried = Arrivals(one.parties, names), Arrivals(one.parties, to if puts else urgent)
    for reader in readers:
        reader.ask("mark")
    killer = one.agents.processes["A"] if one.variant == "killed" else None
    one.parties[urgent].tell("stream", **stream, seconds=seconds)
    if killer:
        time.sleep(seconds / 2)
        killer.send_signal(signal.SIGKILL)
    beside = one.parties[urgent].hear()
    reads_Bps, urgent_Bps = reads.rate_Bps(), hurried.rate_Bps()
    cost, first = one.cost(before), one.first_queue(queues)
    rate = sum(float(reader.ask("mark")["rate_Bps"]) for reader in readers)
    capacity.append(capacity_Bps(one, names, seconds / 4))
    for reader in readers:
        reader.tell("stop")
    for reader in readers:
        reader.hear()
    return {
        "p99_alone_s": percentile(alone, 0.99),
        "p50_alone_s": statistics.median(alone),
        "p99_s": percentile(beside["seconds"], 0.99),
        "p50_s": statistics.median(beside["seconds"]),
        "collective_p99_ratio": percentile(beside["seconds"], 0.99) / percentile(alone, 0.99),
        **shares(capacity, reads_Bps, urgent_Bps, rate, beside["rate_Bps"]),
        "cost": cost,
        **first,
    }


# --- push, own ---


def push(one: Scene, seconds: float, own: int) -> dict[str, Any]:
    """A's urgent puts to E, beside those of B, C and D, and so many of its own."""
    others = [one.parties[name] for name in "BCD"]
    for name in "ABCD":
        one.meet(name, "E")
    one.wait_for_agents()
    stream = {"to": "E", "bytes": PUT_BYTES, "every_s": PUT_EVERY_S}
    alone = one.parties["A"].ask("stream", **stream, seconds=seconds / 2)["seconds"]
    for index, other in enumerate(others):
        first = 2 * index + 2  # E's memory: the first two places are A's
        other.ask("reads", way="WRITE", of="E", bytes=READ_BYTES, depth=2, first=first)
    one.parties["A"].ask("stream", **stream, seconds=FILLED_S)
    capacity = [capacity_Bps(one, "E", seconds / 4)]
    before = one.states()
    come = Arrivals(one.parties, "E")
    for other in others:
        other.ask("mark")
    beside = one.parties["A"].ask("stream", **stream, seconds=seconds, beside=own)
    come_Bps = come.rate_Bps()
    cost = one.cost(before)
    rate = sum(float(other.ask("mark")["rate_Bps"]) for other in others) + beside["loose_Bps"]
    capacity.append(capacity_Bps(one, "E", seconds / 4))
    for other in others:
        other.tell("stop")
    for other in others:
        other.hear()
    put_Bps = beside["rate_Bps"]
    return {
        "p99_alone_s": percentile(alone, 0.99),
        "p50_alone_s": statistics.median(alone),
        "p99_s": percentile(beside["seconds"], 0.99),
        "p50_s": statistics.median(beside["seconds"]),
        "collective_p99_ratio": percentile(beside["seconds"], 0.99) / percentile(alone, 0.99),
        **shares(capacity, come_Bps - put_Bps, put_Bps, rate, put_Bps),
        "cost": cost,
    }


# --- incast ---


@dataclass(frozen=True)
class Job:
    sender: int
    at_s: float
    size: int
    due_s: float  # from at_s


def arrivals(load: float, seconds: float, seed: int) -> list[Job]:
    """Poisson arrivals of all senders together."""
    chance = random.Random(seed)
    sizes = (1, 2, 4, 8)
    mean_s = statistics.mean(sizes) * MIB / LINK_BPS / load
    jobs, at_s = [], 0.0
    while True:
        at_s += chance.expovariate(1 / mean_s)
        if at_s > seconds:
            return jobs
        size = chance.choice(sizes) * MIB
        factor = TIGHT if chance.random() < 1 / 3 else LOOSE
        due_s = factor * (size / LINK_BPS + ROUND_TRIP_S)
        jobs.append(Job(chance.randrange(7), at_s, size, due_s))


def incast(one: Scene, jobs: list[Job], seconds: float) -> dict[str, Any]:
    senders = [one.parties[name] for name in HOSTS[1:]]
    for name in HOSTS[1:]:
        one.meet(name, "A")
    one.wait_for_agents()
    before = one.states()
    start = time.monotonic() + 0.3
    for index, sender in enumerate(senders):
        own = [(job.at_s, job.size, job.due_s) for job in jobs if job.sender == index]
        sender.tell("jobs", to="A", slot=index, start=start, jobs=own)
    if one.variant == "killed":
        time.sleep(seconds / 2)
        one.agents.processes["A"].send_signal(signal.SIGKILL)
    took: list[tuple[Job, float]] = []
    for index, sender in enumerate(senders):
        own_jobs = [job for job in jobs if job.sender == index]
        took += zip(own_jobs, sender.hear()["took"], strict=True)
    span = time.monotonic() - start
    cost = one.cost(before)
    crc = one.parties["A"].ask("slots", of=HOSTS[1:], bytes=MIB)["crc"]
    sent = [one.parties[name].ask("first", bytes=MIB)["crc"] for name in HOSTS[1:]]
    if crc != sent:
        raise OSError(f"{one.variant}: what has come is not what was sent")
    return {
        "on_time": statistics.mean(late <= job.due_s for job, late in took),
        "on_time_tight": statistics.mean(
            late <= job.due_s for job, late in took if job.due_s < 10 * job.size / LINK_BPS
        ),
        "times_alone": statistics.mean(late / (job.size / LINK_BPS) for job, late in took),
        "span_s": span,
        "cost": cost,
    }


def computed(jobs: list[Job], cap: int | None) -> float:
    """On-time share of one port that is shared by the first `cap` that have come, or, None, is
    all for the one with the earliest deadline."""
    ahead, there, now, met = list(jobs), [], 0.0, 0
    while ahead or there:
        if not there:
            now = max(now, ahead[0].at_s)
        while ahead and ahead[0].at_s <= now:
            job = ahead.pop(0)
            there.append([job.at_s + job.due_s, float(job.size)])
        if cap is None:
            # who cannot be met any more goes last
            order = sorted(there, key=lambda one: (now + one[1] / LINK_BPS > one[0], one[0]))
            served = order[:1]
        else:
            served = there[:cap]
        rate = LINK_BPS / len(served)
        step = min(one[1] for one in served) / rate
        if ahead:
            step = min(step, ahead[0].at_s - now)
        now += step
        for one in served:
            one[1] -= rate * step
        for one in [one for one in there if one[1] <= 1e-3]:
            there.remove(one)
            met += now <= one[0]
    return met / len(jobs)


# --- all of it ---


def record(case: str, variant: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""
    costs = [run["cost"] for run in runs if run.get("cost")]
    names = {name for run in runs for name in run} - {"cost"}
    return {
        "case": case,
        "variant": variant,
        "rounds": len(runs),
        "collective_p99_ratio": None,
        "reads_share": None,
        "on_time": None,
        **{name: statistics.median(run[name] for run in runs) for name in sorted(names)},
        "agent_cpu_share": max((cost[0] for cost in costs), default=None),
        "link_share": max((cost[1] for cost in costs), default=None),
    }


def inside(
    cases: list[str],
    variants: list[str],
    rounds: int,
    seconds: float,
    load: float,
    json_path: Path | None,
) -> None:
    console = make_console()
    made = network.Namespaces(LINK_BPS, CLASSES if set(variants) & set(MARKED) else ())
    hosts = {name: made.add(name) for name in HOSTS}
    folder = Path(made.folder)
    agents.make_key(folder)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    plan = [
        (n, case, variant)
        for n in range(rounds)
        for case in cases
        for variant in variants
        if not (case in PUSHES and variant == "killed")  # there is no owner to be killed
    ]
    for n, case, variant in track(plan, "scenes"):
        jobs = arrivals(load, seconds, n)
        with scene(hosts, folder, variant, HOSTS if case == "incast" else HOSTS[:5]) as one:
            if case in ("pull", "read"):
                run = pull(one, seconds, puts=case == "pull")
            elif case == "incast":
                run = incast(one, jobs, seconds)
            else:
                run = push(one, seconds, PUSHES[case])
        found.setdefault((case, variant), []).append(run)
    records = [record(case, variant, runs) for (case, variant), runs in found.items()]
    if "incast" in cases:
        all_jobs = [arrivals(load, seconds, n) for n in range(rounds)]
        for variant, caps in (("global", [None]), ("cap", [*range(1, 8)])):
            shares = [[computed(jobs, cap) for jobs in all_jobs] for cap in caps]
            best = max(shares, key=statistics.median)
            records.append(record("incast", variant, [{"on_time": share} for share in best]))
    console.print(table(records))
    if json_path:
        json_report.write(json_path, records, load=load, seconds=seconds, link_Bps=LINK_BPS)
    sys.stdout.flush()
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("case", left=True),
        Column("variant", left=True),
        *(Column(one) for one in ("p99 / alone", "reads %", "on time %")),
        *(Column(one, 1) for one in ("agent % of core", "% of link")),
    )
    for one in records:
        percent = (
            number(None if one[name] is None else 100 * one[name], form)
            for name, form in (
                ("reads_share", ".1f"),
                ("on_time", ".1f"),
                ("agent_cpu_share", ".1f"),
                ("link_share", ".2f"),
            )
        )
        ratio = number(one["collective_p99_ratio"], ".2f")
        view.add_row(one["case"], one["variant"], ratio, *percent)
    return view


@click.command(help=help_of(__doc__))
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES),
              default=("pull", "incast"), help="Which; the first two if not given.")  # fmt: skip
@click.option("--variant", "variants", multiple=True, type=click.Choice((*MEASURED, *BAD, *MARKED)),
              help="Which; all but the last two if not given.")  # fmt: skip
@click.option("--classes", is_flag=True, help="With the last two variants as well.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(2, 600),
              help="Of a scene.")  # fmt: skip
@click.option("--load", default=0.8, show_default=True, type=click.FloatRange(0.05, 2),
              help="Of the port in incast.")  # fmt: skip
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    cases: tuple[str, ...],
    variants: tuple[str, ...],
    classes: bool,
    rounds: int,
    seconds: float,
    load: float,
    json_path: Path | None,
    is_inside: bool,
) -> None:
    variants = variants or (*MEASURED, *BAD)
    variants = tuple(dict.fromkeys((*variants, *(MARKED if classes else ()))))
    if is_inside:
        inside(list(cases), list(variants), rounds, seconds, load, json_path)
    reason = network.why_not_namespaces()
    if reason:
        sys.exit(f"this bench needs namespaces: {reason}")
    command = [sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run([*network.enter_command(), *command], check=False).returncode)


if __name__ == "__main__":
    begin(main)
