# SPDX-License-Identifier: Apache-2.0
"""What the vLLM demo can look at besides TTFT under load: the calm port, faults, the wire.

calm     single requests on an idle port, one system after the other: what MFS costs
cost     processor time of the plug-in's hooks meanwhile, by server
faults   the segment is deleted under both servers; the decode server is killed while it
         is being sent KV; the prefill server is to go on serving all the while
wire     events of all flows: request, stage, layer, deadline, level
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ...host import Host
from ...observe.trace import Event, Trace
from . import cost, replay
from .cluster import Cluster, ServerDied
from .proxy import Address
from .replay import Job, SloClass

AFTER = 3  # requests that the prefill server has to serve after a fault
PATIENCE_S = 60.0


def one_of(slo: SloClass, seed: int) -> Job:
    """A single job, due at once."""
    return replay.make([slo], 1, 1.0, 1e9, seed)[0]


def calm(
    systems: Mapping[str, Callable[[], Address]],
    slo: SloClass,
    rounds: int,
    output_tokens: int,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """TTFT of requests alone; systems: what to do before, giving the proxy to ask.

    ratio: median over the rounds of the last system's TTFT over the first one's.
    """
    times: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(rounds):
        names = list(systems) if number % 2 == 0 else list(systems)[::-1]
        job = one_of(slo, 10**7 + number)
        for name in names:
            proxy = systems[name]()
            done = replay.send(proxy, job, output_tokens, f"calm-{name}-{number}", None)
            if done.error:
                raise OSError(f"a request alone failed: {done.error}")
            times[name].append(done.ttft_s)
        progress(number + 1)
    names = list(systems)
    first, last = names[0], names[-1]
    ratios = [b / a for a, b in zip(times[first], times[last], strict=True)]
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "rounds": rounds,
        "slo_class": slo.name,
        "median_s": {name: statistics.median(values) for name, values in times.items()},
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [quarters[0], quarters[-1]],
    }


def cost_of(servers: Cluster) -> dict[str, dict[str, list[int]]]:
    """Of each server, what its hooks have used so far."""
    return {name: cost.read(servers.cost_folder(name)) for name in servers.servers}


def faults(servers: Cluster, proxy: Address, slo: SloClass, output_tokens: int) -> dict[str, Any]:
    """Deletes the segments, then kills the decode server in mid-transfer. Counts of right
    answers out of AFTER."""
    prefill = servers.servers["prefill"]
    watched = "prefill" if servers.options.mode == "push" else "decode"
    jobs = [one_of(slo, 10**8 + number) for number in range(AFTER)]
    expected = replay.aggregated(prefill.address, jobs, output_tokens)
    with Host(servers.segment(watched)) as host:
        trace = Trace(host, from_now=True)
        trace.on = True
        for name in servers.servers:
            os.unlink(servers.segment(name))
        deleted = [
            replay.send(proxy, job, output_tokens, f"deleted-{number}", None)
            for number, job in enumerate(jobs)
        ]
        trace.read()
        victim = threading.Thread(
            target=replay.send, args=(proxy, jobs[0], output_tokens, "victim", None), daemon=True
        )
        victim.start()
        left = wait_for_transfer(trace, servers, "victim")
        servers.stop("decode", signal.SIGKILL)
    victim.join(PATIENCE_S)
    after = replay.aggregated(prefill.address, jobs, output_tokens)
    prefill.check()
    return {
        "segment_deleted_right": sum(one.text == expected[one.job.prompt] for one in deleted),
        "killed_with_bytes_left": left,
        "decode_killed_right": sum(after[job.prompt] == expected[job.prompt] for job in jobs),
        "client_ended": not victim.is_alive(),
        "of": AFTER,
    }


def wait_for_transfer(trace: Trace, servers: Cluster, name: str) -> int:
    """Until a flow of the request `name` waits; its bytes left."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        for event in trace.read():
            if name in event.request and event.kind != "left" and event.bytes_left > 0:
                return event.bytes_left
        for server in servers.servers.values():
            server.check()
        time.sleep(0.002)
    raise ServerDied(f"no transfer of request {name} was seen within {PATIENCE_S:.0f} s")


class Wire:
    """Events of both hosts, from now on."""

    def __init__(self, servers: Cluster) -> None:
        self._hosts = {name: Host(servers.segment(name)) for name in servers.servers}
        self._traces = {name: Trace(host, from_now=True) for name, host in self._hosts.items()}
        self.events: list[tuple[str, Event]] = []
        for trace in self._traces.values():
            trace.on = True

    def read(self) -> None:
        for name, trace in self._traces.items():
            self.events += [(name, event) for event in trace.read()]

    def close(self) -> None:
        self.read()
        for name, trace in self._traces.items():
            trace.on = False
            self._hosts[name].close()

    def records(self) -> list[dict[str, Any]]:
        return [{"host": name, **event.as_dict()} for name, event in self.events]
