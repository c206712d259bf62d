# SPDX-License-Identifier: Apache-2.0
"""Urgent puts beside the pulls of real vLLM servers, alone and with hosts that agree.

Emulated hosts (network namespaces), vLLM's CPU build, a tiny model, NixlConnector:

    A      runs a prefill server, and a program that puts, urgent, to E every
           200 ms: what the port carries in 67 ms (8 MiB at 1 Gbit/s)
    B, C   run decode servers, which read the KV at A, --depth requests each
    E      takes the puts

The prefills are over before the puts begin, so that the link is what is short and
not the processors. A run is not valid where they were, all the same.

Variants:

    off        vLLM and UCX without us
    local      each host orders what it sends
    exchange   the hosts' agents agree (mfs agent)
    killed     the same, and A's agent is killed halfway
    gone       the same, and B's decode server is killed halfway, in its pulls

p99 and p50 are those of a put beside the pulls over those of puts alone; a pull
is from the request at the decode server to its first token, xfer what vLLM says
of the transfer alone. The port is A's: what it has carried of its rate. Every
answer is compared to that of one server that prefills and decodes by itself.

    mfs bench vllm_pull --json out/vllm-pull.json
    mfs bench vllm_pull --variant exchange --variant gone --rounds 1

scripts/vllm-demo --setup installs vLLM; the servers start in one to three minutes.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _vllm_pulls as pulls
import click
from _main import begin
from _process import Process, environment
from hosts import LINK_BPS as HOSTS_LINK_BPS
from hosts import PUT_BYTES as HOSTS_PUT_BYTES
from hosts import PUT_EVERY_S, party, percentile

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import InputError
from mfs_transport.terminal import Column, Table, help_of, make_console, number, status, track
from mfs_transport.testbed import agents, cpu, network
from mfs_transport.testbed import inside as namespaces
from mfs_transport.testbed.vllm import cluster, replay, venv
from mfs_transport.testbed.vllm.model import KV_TOKEN_BYTES

SINK = "E"
DECODERS = "BC"
MOST_TOKENS = 4000
OFF, LOCAL = "off", "local"
VARIANTS = (OFF, LOCAL, "exchange", "killed", "gone")  # B is there no more after the last one
FILLED_S = 2.0
IDLE_REST_S = 0.01  # of servers that wait for KV of some hundred milliseconds
LEASE_S = 900  # the prefill server keeps what nobody has pulled yet
MOST_LATE = 0.01  # of naps
FRAME_BYTES = 400  # of an agent's datagram on the wire, as in bench/hosts.py


@dataclass(frozen=True)
class Setting:
    link_Bps: float
    tokens: int
    decoders: str
    depth: int
    seconds: float
    rounds: int

    @property
    def put_bytes(self) -> int:
        return round(HOSTS_PUT_BYTES * self.link_Bps / HOSTS_LINK_BPS)

    @property
    def requests(self) -> int:
        under_way = (self.depth + 1) * len(self.decoders)  # and one each before
        return pulls.how_many(self.link_Bps, FILLED_S + self.seconds, self.tokens, under_way)

    def servers(self, mfs: bool, peers: str) -> cluster.Options:
        kv_bytes = self.requests * self.tokens * KV_TOKEN_BYTES
        return cluster.Options(
            mfs=mfs,
            link_Bps=self.link_Bps,
            kv_cache_gib=1 + kv_bytes // venv.GIB,
            # ports as in bench/hosts.py: found by UCX's devices, their rate learned. Who is at the
            # other end of a connection is found out where peers are named, or an agent is there.
            variables={"MFS_PORT": "", "MFS_PORT_RATE": "0", "MFS_PEERS": peers},
            extra_config={"kv_lease_duration": LEASE_S},
            idle_rest_s=IDLE_REST_S,
        )


# --- a scene ---


class Scene:
    """Two parties and, where hosts agree, agents, beside servers that are there already."""

    def __init__(
        self, hosts: dict[str, network.Place], servers: cluster.Cluster, variant: str, key: Path
    ) -> None:
        self.hosts, self.servers, self.variant, self.key = hosts, servers, variant, key
        self.agents = agents.Agents()
        self.parties: dict[str, Process] = {}

    def environment(self, name: str) -> dict[str, str]:
        env = environment(self.hosts[name].device, self.servers.segment(name))
        if self.variant in (OFF, LOCAL):
            return env
        return env | agents.environment(self.hosts[name], self.hosts.values(), self.key)

    def start(self) -> None:
        if self.variant not in (OFF, LOCAL):
            for name, place in self.hosts.items():
                self.agents.start(place, self.environment(name))
        for name in ("A", SINK):
            self.parties[name] = party(name, self.hosts[name], self.variant, self.environment(name))
        told = self.parties[SINK].ask("hello")
        self.parties["A"].ask("hello")
        self.parties["A"].ask("meet", peers={SINK: (told["metadata"], told["at"])})

    def meet(self) -> None:
        """Agents know the others' ports, which are there once the hosts have moved something."""
        missing = self.agents.meet()
        if missing:
            print(f"agents that know too few peers: {', '.join(missing)}", file=sys.stderr)

    def agent_cost(self, before: dict[str, dict[str, Any]], link_Bps: float) -> tuple[float, float]:
        """Of the busiest agent since then: share of a core, and of a link; NaN without."""
        shares = [(math.nan, math.nan)]
        for name, was in before.items():
            now = self.agents.state(name)
            if was and now and now["seconds"] > was["seconds"]:
                span = now["seconds"] - was["seconds"]
                sent = now["counts"]["sent"] - was["counts"]["sent"]
                cpu_share = (now["cpu_seconds"] - was["cpu_seconds"]) / span
                shares.append((cpu_share, sent * FRAME_BYTES / span / link_Bps))
        return max(shares[1:], default=shares[0])

    def end(self) -> None:
        for one in self.parties.values():
            one.end()
        self.agents.close()


def check(servers: cluster.Cluster, under_way: pulls.Pulls | None = None) -> None:
    """OSError, in one line, of a server that has ended, or does not answer as it should."""
    trouble = under_way.trouble if under_way else {}
    for name, server in servers.servers.items():
        kind = f"the {'prefill' if name == 'A' else 'decode'} server of host {name}"
        code = server.process.poll()
        if code is not None:
            when = ", in the middle of its pulls" if name in trouble else ""
            raise OSError(f"{kind} ended with status {code}{when}; --keep FOLDER keeps its log")
    for name, error in trouble.items():
        raise OSError(f"the decode server of host {name}: {error}")


def measure(
    scene: Scene,
    servers: cluster.Cluster,
    setting: Setting,
    ready: list[pulls.Ready],
    expected: dict[str, str],
) -> dict[str, Any]:
    puts = scene.parties["A"]
    stream = {"to": SINK, "bytes": setting.put_bytes, "every_s": PUT_EVERY_S}
    alone = puts.ask("stream", **stream, seconds=setting.seconds / 2)["seconds"]
    decoders = {name: servers.servers[name].address for name in setting.decoders}
    under_way = pulls.Pulls(decoders, setting.depth, ready)
    under_way.start()
    puts.ask("stream", **stream, seconds=FILLED_S)
    check(servers, under_way)

    before = {name: scene.agents.state(name) for name in scene.agents.processes}
    xfers = {name: pulls.transfers(address) for name, address in decoders.items()}
    cpu_s, sent = servers.cpu_s(), servers.network.sent_bytes(scene.hosts["A"])
    usage, lookout, begun_s = cpu.Usage(), pulls.Lookout(), time.monotonic()
    puts.tell("stream", **stream, seconds=setting.seconds)
    if scene.variant in ("killed", "gone"):
        time.sleep(setting.seconds / 2)
    if scene.variant == "killed":
        scene.agents.processes["A"].send_signal(signal.SIGKILL)
    if scene.variant == "gone":
        under_way.gone.add(setting.decoders[0])
        servers.stop(setting.decoders[0], signal.SIGKILL)
    beside = puts.hear()
    ended_s = time.monotonic()
    late, busy = lookout.end(), usage.end()
    span_s = ended_s - begun_s
    used_s = sum(used - cpu_s[name] for name, used in servers.cpu_s().items())
    carried = servers.network.sent_bytes(scene.hosts["A"]) - sent
    cost = scene.agent_cost(before, setting.link_Bps)

    under_way.join()
    check(servers, under_way)
    seconds = count = 0.0
    for name in decoders.keys() & servers.servers.keys():
        now = pulls.transfers(decoders[name])
        seconds, count = seconds + now[0] - xfers[name][0], count + now[1] - xfers[name][1]
    times = under_way.times(begun_s, ended_s)
    put_Bps = beside["rate_Bps"]
    return {
        "p99_alone_s": percentile(alone, 0.99),
        "p50_alone_s": statistics.median(alone),
        "p99_s": percentile(beside["seconds"], 0.99),
        "p50_s": statistics.median(beside["seconds"]),
        "collective_p99_ratio": percentile(beside["seconds"], 0.99) / percentile(alone, 0.99),
        "collective_p50_ratio": statistics.median(beside["seconds"]) / statistics.median(alone),
        "puts": len(beside["seconds"]),
        "pulls": len(times),
        "pull_p50_s": statistics.median(times) if times else math.nan,
        "pull_most_s": max(times, default=math.nan),
        "xfer_mean_s": seconds / count if count else math.nan,
        "port_share": carried / span_s / setting.link_Bps,
        "reads_share": (carried / span_s - put_Bps) / (setting.link_Bps - put_Bps),
        "cpu_busy": busy,
        "late": late,
        "servers_cores": used_s / span_s,
        "ran_out": under_way.ran_out_s < ended_s,
        "cpu_bound": cpu.is_bound(late, busy, MOST_LATE),
        "answers": len(under_way.pulls),
        "wrong": under_way.wrong(expected),
        "lost": under_way.lost(),
        "agent_cpu_share": cost[0],
        "link_share": cost[1],
    }


def run_scene(
    hosts: dict[str, network.Place],
    servers: cluster.Cluster,
    setting: Setting,
    variant: str,
    number: int,
    jobs: list[replay.Job],
    expected: dict[str, str],
) -> dict[str, Any]:
    check(servers)
    address = servers.servers["A"].address
    scene = Scene(hosts, servers, variant, Path(servers.network.folder) / "key")
    try:
        scene.start()
        ready = pulls.prepare(address, jobs, setting.requests, f"{variant}-{number}")
        for name in setting.decoders:  # handshakes, first-time costs
            first = pulls.Pulls({name: servers.servers[name].address}, 1, [ready.pop()])
            first.start()
            first.join()
            check(servers, first)
        scene.meet()
        run = measure(scene, servers, setting, ready, expected)
    finally:
        scene.end()
    if variant == "gone":
        again = replay.aggregated(address, jobs[:2], pulls.OUTPUT_TOKENS)
        run["wrong"] += sum(text != expected[prompt] for prompt, text in again.items())
        print(
            f"B's decode server was killed in its pulls: {run['lost']} requests ended with it, "
            f"the puts went on, the prefill server and the other answers are "
            f"{'wrong' if run['wrong'] else 'right'}",
            file=sys.stderr,
        )
    return run


# --- all of it ---


def plan(variants: tuple[str, ...], rounds: int) -> dict[bool, list[tuple[str, int]]]:
    """Scenes by the servers that they need: with us or without."""
    last = [("gone", 0)] if "gone" in variants else []
    scenes = [(one, n) for n in range(rounds) for one in variants if one != "gone"] + last
    by = {mfs: [one for one in scenes if (one[0] != OFF) == mfs] for mfs in (False, True)}
    return {mfs: found for mfs, found in by.items() if found}


def record(variant: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the runs in which the link was what was short; sums of answers of all."""
    valid = [one for one in runs if not one["cpu_bound"] and not one["ran_out"]]
    sums = {name: sum(one[name] for one in runs) for name in ("answers", "wrong", "lost")}
    medians: dict[str, float | None] = {}
    for name in runs[0].keys() - sums.keys() - {"cpu_bound", "ran_out"}:
        found = [one[name] for one in valid if math.isfinite(one[name])]
        medians[name] = statistics.median(found) if found else None
    return {
        "variant": variant,
        "rounds": len(runs),
        "valid": len(valid),
        "cpu_bound": sum(one["cpu_bound"] for one in runs),
        **sums,
        **dict(sorted(medians.items())),
        "runs": runs,
    }


def invalid(records: list[dict[str, Any]]) -> list[str]:
    """Says of which runs something else than the link was the limit."""
    lines = []
    for one in records:
        bad = [run for run in one["runs"] if run["cpu_bound"] or run["ran_out"]]
        if bad:
            late, busy = (100 * max(run[name] for run in bad) for name in ("late", "cpu_busy"))
            lines.append(
                f"not valid: {len(bad)} of {len(one['runs'])} runs of {one['variant']}: "
                + (
                    f"processors were the limit (up to {busy:.0f} % busy, naps {late:.0f} % late)"
                    if any(run["cpu_bound"] for run in bad)
                    else "requests ran out"
                )
            )
    return lines


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("\nvariant", left=True),
        Column("p99 /\nalone"),
        Column("p50 /\nalone"),
        Column("pull s\np50"),
        Column("\nmost", 2),
        Column("xfer s\nmean", 3),
        Column("port\n%", 5),
        Column("reads\n%"),
        Column("cores\n%", 6),
        Column("agent\n%", 1),
        Column("other\ntexts", 7),
        Column("valid\nruns", 4),
    )
    for one in records:

        def percent(name: str, form: str = ".0f", one: dict[str, Any] = one) -> str:
            return number(None if one[name] is None else 100 * one[name], form)

        view.add_row(
            one["variant"],
            number(one["collective_p99_ratio"], ".2f"),
            number(one["collective_p50_ratio"], ".2f"),
            *(number(one[name], ".2f") for name in ("pull_p50_s", "pull_most_s", "xfer_mean_s")),
            *(percent(name) for name in ("port_share", "reads_share", "cpu_busy")),
            percent("agent_cpu_share", ".1f"),
            f"{one['wrong']} of {one['answers'] - one['lost']}",
            f"{one['valid']} of {one['rounds']}",
        )
    return view


@contextlib.contextmanager
def started(
    made: network.Namespaces,
    hosts: dict[str, network.Place],
    setting: Setting,
    mfs: bool,
    folder: Path,
) -> Iterator[cluster.Cluster]:
    named = ["A", *setting.decoders]
    options = setting.servers(mfs, ",".join(place.address for place in hosts.values()))
    roles = ["producer", *("consumer" for _ in setting.decoders)]
    with cluster.Cluster(made, folder, options, number=int(mfs)) as servers:
        places = [hosts[name] for name in named]
        with status(f"starting {len(named)} vLLM servers, {'with' if mfs else 'without'} MFS"):
            servers.start_at(list(zip(named, roles, places, strict=True)), lambda _: None)
        os.makedirs(Path(servers.segment(SINK)).parent, mode=0o700, exist_ok=True)
        yield servers


def inside(
    variants: tuple[str, ...], setting: Setting, folder: Path | None, json_path: Path | None
) -> None:
    console = make_console()
    made = network.Namespaces(setting.link_Bps)
    # what a server that is killed leaves there goes with us
    network.run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    hosts = {name: made.add(name) for name in ("A", *setting.decoders, SINK)}
    agents.make_key(Path(made.folder))
    jobs = pulls.prompts(setting.tokens)
    found: dict[str, list[dict[str, Any]]] = {one: [] for one in variants}
    expected: dict[str, str] = {}
    for mfs, scenes in plan(variants, setting.rounds).items():
        with started(made, hosts, setting, mfs, folder or Path(made.folder)) as servers:
            if not expected:  # of the first servers: those without us, if there are such
                address = servers.servers["A"].address
                expected = replay.aggregated(address, jobs, pulls.OUTPUT_TOKENS)
            for variant, n in track(scenes, "scenes"):
                run = run_scene(hosts, servers, setting, variant, n, jobs, expected)
                found[variant].append(run)
    records = [record(variant, runs) for variant, runs in found.items()]
    console.print(table(records))
    for line in invalid(records):
        console.print(line, soft_wrap=True)
    if json_path:
        about = {"vllm": venv.VLLM, "nixl": venv.NIXL, "put_bytes": setting.put_bytes}
        json_report.write(json_path, records, **about, **vars(setting))
    sys.stdout.flush()
    wrong = sum(one["wrong"] for one in records)
    if wrong:
        raise OSError(f"{wrong} answers are not those of one server that does both")


@click.command(help=help_of(__doc__))
@click.option("--variant", "variants", multiple=True, type=click.Choice(VARIANTS),
              help="Which; the first three if not given.")  # fmt: skip
@click.option("--link", default=200.0, show_default=True, type=click.FloatRange(10, 1000),
              help="Mbit/s of the ports.")  # fmt: skip
@click.option("--tokens", default=2000, show_default=True, type=click.IntRange(100, MOST_TOKENS),
              help="Of a prompt; 4 KiB of KV each.")  # fmt: skip
@click.option("--decoders", default=2, show_default=True, type=click.IntRange(1, len(DECODERS)),
              help="Decode servers.")  # fmt: skip
@click.option("--depth", default=2, show_default=True, type=click.IntRange(1, 8),
              help="Requests of each at a time.")  # fmt: skip
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=12.0, show_default=True, type=click.FloatRange(2, 120),
              help="Of the puts beside the pulls.")  # fmt: skip
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for the model and the servers' logs.")  # fmt: skip
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "entered", type=int, hidden=True)
def main(
    variants: tuple[str, ...],
    link: float,
    tokens: int,
    decoders: int,
    depth: int,
    rounds: int,
    seconds: float,
    keep: Path | None,
    json_path: Path | None,
    entered: int | None,
) -> None:
    variants = tuple(one for one in VARIANTS if one in (variants or VARIANTS[:3]))
    setting = Setting(network.check_link(link), tokens, DECODERS[:decoders], depth, seconds, rounds)
    if entered is not None:
        namespaces.end_with(entered)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
        try:
            inside(variants, setting, keep.absolute() if keep else None, json_path)
        except cluster.ServerDied as error:
            raise OSError(str(error)) from None
        finally:
            os.write(entered, b".")
        return
    if not venv.ready():
        sys.exit("this bench needs vLLM: scripts/vllm-demo --setup installs it (3.7 GB)")
    short = venv.short_of_memory((1 + decoders) * venv.PAIR_BYTES // 2)
    if short:
        raise InputError(short)
    reason = network.why_not_namespaces()
    if reason:
        sys.exit(f"this bench needs namespaces: {reason}")
    sys.exit(namespaces.enter_as([sys.executable, *sys.argv], "the bench"))


if __name__ == "__main__":
    begin(main)
