# SPDX-License-Identifier: Apache-2.0
"""The segment as metrics for Prometheus: one collector shows all processes of a host.

    from prometheus_client import REGISTRY
    from mfs_transport.observe.metrics import Collector

    REGISTRY.register(Collector())

`mfs exporter` serves them by itself; docs/observability.md says what each of them means. There are
at most as many series as the segment has places for processes and ports, whatever its words say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as Base

from ..native import library_version
from .segment import Look, Port, look, place_of

STATES = ("none", "idle", "live", "other_version", "unusable")

# of the counters of csrc/host/host.h: the metric's name, and what it counts
COUNTERS = {
    "calls": ("calls", "Put and get calls that were intercepted"),
    "deferred": ("deferred_operations", "Operations that went through a queue"),
    "straight": ("straight_operations", "Operations handed straight to the transport"),
    "chunks": ("chunks", "Chunks sent"),
    "bytes": ("operation_bytes", "Bytes of the operations that were intercepted"),
    "promotions": ("promotions", "Flows raised to a more urgent level"),
    "tagged": ("tagged_operations", "Operations that carried a tag"),
    "faults": ("faults", "Internal errors: traffic passed on in its original order"),
    "passed": ("passed_sends", "Sends that are never scheduled: by tag, active message, stream"),
    "passed_bytes": ("passed_bytes", "Bytes of sends that are never scheduled"),
    "gpu_lists": ("gpu_lists", "Lists of memory made for transfers that a GPU starts"),
    "stalls": ("stalls", "Times that a destination took no bytes for the lease"),
}

# of a port, in the order in which they are shown; a value of None: there is none now
PORT_GAUGES: tuple[tuple[str, str, Callable[[Port], float | None]], ...] = (
    (
        "rate_bytes_per_second",
        "Bandwidth of the port, configured or learned; 0: not known yet",
        lambda port: port.rate_Bps,
    ),
    (
        "window_bytes",
        "Bytes that may be in flight, by the settings of the exporter",
        lambda port: port.window_bytes,
    ),
    (
        "inflight_bytes",
        "Bytes in flight to destinations that take bytes as they should",
        lambda port: port.inflight_bytes,
    ),
    ("senders", "Senders that have joined the port", lambda port: len(port.senders)),
    ("senders_waiting", "Senders with something to send", lambda port: port.waiting),
    (
        "senders_still",
        "Senders that have something to do and do not look at their queue",
        lambda port: port.still,
    ),
    (
        "still_seconds",
        "Time since the stillest of those has looked at its queue; 0: there is none",
        lambda port: max((one.age_s for one in port.senders if one.still), default=0.0),
    ),
    (
        "stalled_destinations",
        "Destinations that take no bytes now",
        lambda port: port.stalled,
    ),
    (
        "best_level",
        "Level of the most urgent that waits, 0 first; missing: nothing waits",
        lambda port: port.level,
    ),
)


def metrics(found: Look) -> Iterator[Metric]:
    """Everything that a look says. A segment that is not live has its state alone."""
    state = "other_version" if found.other_version else found.state
    states = GaugeMetricFamily(
        "mfs_segment_state", "1 for what the segment of this host is", labels=["state"]
    )
    for name in STATES:
        states.add_metric([name], name == state)
    yield states
    if state != "live":
        return
    yield InfoMetricFamily(
        "mfs_segment",
        "Policy of the host, and version of the exporter",
        value={"policy": found.policy, "version": library_version()},
    )
    yield GaugeMetricFamily(
        "mfs_processes", "Processes that share the segment", value=len(found.processes)
    )
    requests = GaugeMetricFamily(
        "mfs_requests", "Requests that are registered, by how far they are", labels=["state"]
    )
    for name, count in found.requests.items():
        requests.add_metric([name], count)
    yield requests
    for counter, (name, help) in COUNTERS.items():
        yield CounterMetricFamily(f"mfs_{name}", f"{help}.", value=found.counters[counter])
    for counter, (name, help) in COUNTERS.items():
        family = CounterMetricFamily(
            f"mfs_process_{name}", f"{help}, by each process that lives", labels=["pid"]
        )
        for name, process in found.processes.items():
            family.add_metric([name], process.counters[counter])
        yield family
    yield from _ports(found.ports)


def _ports(ports: list[Port]) -> Iterator[Metric]:
    labels = ["port", "direction"]
    moved = CounterMetricFamily(
        "mfs_port_transferred_bytes", "Bytes that have left or come in", labels=labels
    )
    for port in ports:
        moved.add_metric([port.name, port.direction], port.done_bytes)
    yield moved
    for name, help, value_of in PORT_GAUGES:
        family = GaugeMetricFamily(f"mfs_port_{name}", help, labels=labels)
        for port in ports:
            value = value_of(port)
            if value is not None:
                family.add_metric([port.name, port.direction], value)
        yield family


class Collector(Base):
    """Looks at the segment at each scrape. segment: its file; None: that of MFS_SEGMENT, or the
    default place. Nothing need be there, at first or at any time."""

    def __init__(self, segment: str | None = None) -> None:
        self.segment = os.environ.get("MFS_SEGMENT", "") if segment is None else segment
        place_of(self.segment or "any")  # a name that can be none is told now, not at a scrape

    def describe(self) -> Iterable[Metric]:
        return []  # registering looks at nothing

    def collect(self) -> Iterator[Metric]:
        yield from metrics(look(self.segment))
