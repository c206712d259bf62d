# SPDX-License-Identifier: Apache-2.0
"""What a run of the simulator takes: wall time, memory, events, by cluster and policy.

    mfs bench sim --json out/sim.json    # 256 hosts, 1,536 requests
    mfs bench sim --large                # and 1,024 hosts, 100,000 requests

Lognormal requests (2,000 tokens on average, half of them reused), Poisson arrivals, SLO three times
the TTFT alone; the load is chosen so that mfs attains 0.9, near the knee. Runs of one
thread; times are of the engine alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.sim import engine
from mfs_transport.terminal import Column, Table, help_of, make_console, progress

# name: units, hosts of a unit, link, requests, requests a second
CLUSTERS = {
    "256 hosts, alone": (128, 1, 6e9, 1_536, 900.0),
    "256 hosts, units of 4": (32, 4, 12e9, 1_536, 300.0),
}
LARGE = {
    "1,024 hosts, alone": (512, 1, 6e9, 100_000, 3_500.0),
    "1,024 hosts, units of 4": (128, 4, 12e9, 100_000, 1_200.0),
}
SLO = 3.0


def model_of(hosts: int) -> engine.Model:
    """A dense model of 70B on one host; a mixture with experts spread over the unit's hosts."""
    if hosts == 1:
        return engine.Model(80, 8, 4096, 0, 0, 2 * 70.6e9 / 80, 16384, 8 * 312e12)
    return engine.Model(56, 8, 4096, 0, 49152, 2 * 39e9 / 56, 12288, hosts * 8 * 312e12)


def load(cluster: engine.Cluster, model: engine.Model, count: int, rate: float) -> Any:
    rng = np.random.default_rng(0)
    arrival = np.cumsum(rng.exponential(1 / rate, count))
    tokens = np.maximum(16, rng.lognormal(np.log(2000) - 0.5, 1.0, count)).astype(np.int64)
    prefix = np.minimum(tokens - 1, (tokens * rng.beta(2, 2, count)).astype(np.int64))
    alone = [
        engine.closed_form_ttft_s(cluster, model, int(n), int(p))
        for n, p in zip(tokens, prefix, strict=True)
    ]
    deadline = arrival + SLO * np.array(alone)
    return engine.Requests(arrival, tokens, prefix, deadline, None, rng.random(count))


def measure(name: str, shape: tuple[Any, ...], policy: str) -> dict[str, Any]:
    units, hosts, link, count, rate = shape
    cluster = engine.Cluster(units, hosts, units * hosts, link_Bps=link)
    model = model_of(hosts)
    requests = load(cluster, model, count, rate)
    words = f"{name}, {policy}"
    with progress(words, count) as move:
        begin = time.process_time()
        outcome = engine.simulate(
            cluster,
            model,
            requests,
            engine.Options(policy=policy),
            progress=lambda done, now_s: move(done, words),
        )
        cpu_seconds = time.process_time() - begin
    return {
        "cluster": name,
        "policy": policy,
        "requests": count,
        "rate": rate,
        "attainment": float(np.mean(outcome.ttft_s <= requests.deadline_s - requests.arrival_s)),
        "utilisation": float(outcome.port_utilisation.mean()),
        "seconds": outcome.seconds,
        "cpu_seconds": cpu_seconds,
        "memory_bytes": outcome.memory_bytes,
        "events": outcome.events,
        "flows": outcome.flows,
        "visited_per_event": outcome.visited / outcome.events,
    }


@click.command(help=help_of(__doc__))
@click.option("--large", is_flag=True, help="100,000 requests on 1,024 hosts as well")
@click.option("--policy", "policies", multiple=True, default=("mfs", "fair"), show_default=True)
@click.option("--json", "json_path", type=ResultFile(), help="write the results")
def main(large: bool, policies: tuple[str, ...], json_path: Path | None) -> None:
    points = {**CLUSTERS, **(LARGE if large else {})}
    rows = [measure(name, shape, policy) for name, shape in points.items() for policy in policies]
    make_console().print(table(rows))
    if json_path:
        json_report.write(json_path, rows)


def table(rows: list[dict[str, Any]]) -> Table:
    """One run each, of one thread."""
    view = Table(
        Column("cluster", left=True),
        Column("policy", left=True),
        Column("requests"),
        Column("attained", 2),
        Column("used", 1),
        Column("events"),
        Column("visited/event", 3),
        *(Column(one) for one in ("seconds", "CPU s", "MB")),
    )
    for row in rows:
        view.add_row(
            row["cluster"],
            row["policy"],
            f"{row['requests']:,}",
            f"{row['attainment']:.2f}",
            f"{row['utilisation']:.2f}",
            f"{row['events']:,}",
            f"{row['visited_per_event']:.1f}",
            f"{row['seconds']:.2f}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['memory_bytes'] / 1e6:.1f}",
        )
    return view


if __name__ == "__main__":
    begin(main)
