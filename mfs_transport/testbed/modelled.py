# SPDX-License-Identifier: Apache-2.0
"""A cluster of the simulator, made small enough to be emulated, and what the simulator says of it.

Time runs `time_scale` slower here, and links are slower by C / payload, so bytes shrink by
C / payload / time_scale, and every ratio of bytes and times is the cluster's. C is that of one NIC.

What is emulated is also what is simulated: the same requests on the same slow links, with the same
chunks and windows (enforcement `chunks`). `off`, plain UCX and NCCL, is simulated as max-min fair
shares. All results are in seconds of the cluster, not of the test bed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..native import InputError
from ..sim import engine
from ..sim import point as points
from ..sim.point import Point, Run
from . import choice
from .job import Job
from .memory import POOL_BYTES
from .outcome import Outcome
from .setting import TCP_SHARE, Setting

LINE = 128  # bytes
SIMULATED = {"off": ("fair", "global")}
POLICIES = ("off", *engine.CHUNKS_POLICIES)
ENFORCEMENT = "testbed"  # of the points that are run here, not simulated


@dataclass(frozen=True)
class Scale:
    """How the cluster is made small, and how its bytes move."""

    time: float = 10.0
    link_Bps: float = 25e6
    """Of an emulated NIC, headers included."""
    fetch: str = "pull"
    deliver: str = "push"
    exchange: bool = False
    """Hosts agree on what goes first, by their agents."""
    classes: bool = False
    """Links serve levels strictly, by their DSCP. What the simulator says is as without."""
    chunk_bytes: int = 16384
    """Least chunk of a port, here and simulated: one of 64 KiB, as it ships, would take 2.8 ms."""
    window_bytes: int = 131072
    """What a port may have in flight, here and simulated. As it ships it is what leaves in 2 ms,
    but here an acknowledgement waits for a process that looks around every 0.1 ms * time."""

    def options(self) -> tuple[tuple[str, Any], ...]:
        """For the point of a run: what makes it another one."""
        return (
            ("chunk_bytes", self.chunk_bytes),
            ("window_bytes", self.window_bytes),
            *((("classes", True),) if self.classes else ()),
            ("deliver", self.deliver),
            *((("exchange", True),) if self.exchange else ()),
            ("fetch", self.fetch),
            ("link_Mbps", self.link_Bps / 125e3),
            ("time_scale", self.time),
        )


@dataclass(frozen=True)
class Modelled:
    """A point, ready to be run. `case` is in the cluster's seconds and bytes; everything else in
    those of the test bed."""

    case: points.Case
    scale: Scale
    setting: Setting
    cluster: engine.Cluster
    model: engine.Model
    jobs: list[Job]

    def compute_s(self, batch: list[Job]) -> float:
        new = [job.new for job in batch]
        return engine.compute_s(self.model, new, [job.cached for job in batch])

    def predict(self) -> Run:
        """What the simulator says of it."""
        case, times = self.case, self.scale.time
        requests = dataclasses.replace(
            case.requests,
            arrival_s=case.requests.arrival_s * times,
            deadline_s=case.requests.deadline_s * times,
        )
        found = engine.simulate(self.cluster, self.model, requests, case.options)
        return points.measure(
            case,
            dataclasses.replace(
                found,
                ttft_s=found.ttft_s / times,
                earliness_s=found.earliness_s / times,
                collective_mean_s=found.collective_mean_s / times,
            ),
        )

    def measure(self, outcome: Outcome, point: Point) -> Run:
        """The same of what happened here."""
        times, count = self.scale.time, len(self.jobs)
        ttft_s = np.array(outcome.ttft_s)
        unknown, none = np.full(count, np.nan), np.full(count, -1)
        given_up = np.zeros(count, dtype=np.bool_)
        given_up[outcome.given_up] = True
        ports = [one[name] for one in (outcome.sent_bytes, outcome.received_bytes) for name in one]
        seen = engine.Outcome(
            ttft_s=ttft_s / times,
            given_up=given_up,
            fetch_done_s=unknown,
            compute_start_s=unknown,
            compute_done_s=unknown,
            unit=np.array(outcome.units),
            decode_host=none,
            store_host=none,
            earliness_s=(np.array(outcome.slo_s) - ttft_s) / times,
            collective_mean_s=outcome.collective_mean_s / times,
            collective_count=outcome.collectives,
            port_utilisation=np.array(ports) / (self.setting.link_Bps * outcome.seconds),
            seconds=outcome.seconds,
            events=outcome.counters.get("chunks", 0),
            flows=outcome.counters.get("calls", 0),
            bytes_moved=float(outcome.bytes),
            visited=0,
            memory_bytes=0,
        )
        case = dataclasses.replace(self.case, point=point)
        return points.measure(case, seen)


def make(point: Point, scale: Scale) -> Modelled:
    """InputError for what does not fit."""
    sent = "chunks+exchange" if scale.exchange else "chunks"
    policy, enforcement = SIMULATED.get(point.policy, (point.policy, sent))
    if point.policy not in POLICIES:
        raise InputError(f"policy {point.policy!r}: one of {', '.join(POLICIES)}")
    case = points.make(
        dataclasses.replace(
            point,
            policy=policy,
            enforcement=enforcement,
            options=(),
        )
    )
    chosen = dict(choice.of(point.options).options())
    options = dataclasses.replace(
        case.options,
        chunk_bytes=scale.chunk_bytes,
        window_bytes=scale.window_bytes,
        **chosen,
    )
    case = dataclasses.replace(case, options=options)
    payload_Bps = TCP_SHARE * scale.link_Bps
    cluster = dataclasses.replace(case.setting.cluster, link_Bps=payload_Bps)
    fewer = case.setting.cluster.link_Bps / payload_Bps / scale.time
    model = dataclasses.replace(
        case.model,
        kv_bytes_per_token_layer=case.model.kv_bytes_per_token_layer / fewer,
        allreduce_bytes_per_token_layer=case.model.allreduce_bytes_per_token_layer / fewer,
        alltoall_bytes_per_token_layer=case.model.alltoall_bytes_per_token_layer / fewer,
        flops=case.model.flops / scale.time,
    )
    if cluster.pod_hosts:
        raise InputError(f"cluster {point.cluster}: pods are not emulated (pod_hosts)")
    if cluster.node_hosts > 1 or cluster.decode_hosts == 0:
        what = "servers of several hosts, and units that decode themselves"
        raise InputError(f"cluster {point.cluster}: {what}, are not emulated")
    if case.setting.gpus_per_host % cluster.nics_per_host:
        raise InputError(
            f"cluster {point.cluster}: {case.setting.gpus_per_host} GPUs of a host cannot be "
            f"shared out to {cluster.nics_per_host} NICs"
        )
    bed = Setting(
        unit_hosts=cluster.unit_hosts,
        unit_sets=cluster.units,
        units_per_set=1,
        decode_hosts=cluster.decode_hosts,
        store_hosts=cluster.store_hosts,
        spread=False,
        ranks=case.setting.gpus_per_host,
        nics=cluster.nics_per_host,
        groups=model.groups,
        link_Bps=scale.link_Bps,
        stage2="nccl" if cluster.unit_hosts > 1 else "nixl",
        fetch=scale.fetch,
        deliver=scale.deliver,
        exchange=scale.exchange,
        classes=scale.classes,
        chunk_bytes=scale.chunk_bytes,
        window_bytes=scale.window_bytes,
        most_late=0.01,
        time_scale=scale.time,
        idle_s=1e-4 * scale.time,
    )
    return Modelled(case, scale, bed, cluster, model, _jobs(case, scale, bed, model))


def _jobs(case: points.Case, scale: Scale, bed: Setting, model: engine.Model) -> list[Job]:
    requests, hosts = case.requests, bed.unit_hosts
    kv = model.kv_bytes_per_token_layer * model.layers / model.groups / hosts
    draws = requests.store_draw
    assert draws is not None
    jobs = []
    for index, (tokens, cached) in enumerate(zip(requests.tokens, requests.prefix, strict=True)):
        new = int(tokens - cached)
        sent = engine.collective_bytes(model, new, hosts) / max(1, hosts - 1) / bed.nics
        jobs.append(
            Job(
                index=index,
                arrival_s=float(requests.arrival_s[index]) * scale.time,
                tokens=int(tokens),
                cached=int(cached),
                slo_s=float(case.slo_s[index]) * scale.time,
                shard_bytes=lines(kv * tokens),
                fetch_bytes=lines(kv * cached) if cached else 0,
                exchange_bytes=lines(sent, bed.unit_ranks**2) if hosts > 1 else 0,
                compute_s=engine.compute_s(model, [new], [int(cached)]),
                draw=float(draws[index]),
            )
        )
    most = max(max(job.shard_bytes, job.exchange_bytes) for job in jobs)
    if most > POOL_BYTES:
        raise InputError(
            f"one transfer would have {most >> 20} MiB, more than the {POOL_BYTES >> 20} MiB that "
            "a host keeps: choose a slower --link, a smaller --time-scale or more groups"
        )
    return jobs


def lines(size: float, parts: int = 1) -> int:
    """Bytes, as whole lines in each of the parts."""
    return max(1, round(size / LINE / parts)) * LINE * parts


def most_exchanged(jobs: list[Job], token_budget: int) -> int:
    """Bytes of a batch's collective from one host to another one, at most."""
    most = max(job.exchange_bytes for job in jobs)
    a_token = max(job.exchange_bytes / job.new for job in jobs)
    return max(most, round(a_token * token_budget))
