# SPDX-License-Identifier: Apache-2.0
"""One run of the flow-level simulator: a cluster, a model, requests, a policy -> what happened.

    from mfs_transport.sim.engine import Cluster, Model, Options, Requests, simulate

    outcome = simulate(cluster, model, requests, Options(policy="mfs"))
    attained = np.mean(outcome.ttft_s <= requests.deadline_s - requests.arrival_s)

Units: seconds, bytes, bytes/s, tokens. docs/simulator.md has the model in formulas. The event
loop and the rates are C (csrc/sim) and the scheduler is csrc/core, the code that ships; a run
releases the GIL. Same input, same bits.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import native
from . import structs
from ._sim import ffi, lib
from .check import check
from .interface import (
    CHUNKS_POLICIES,
    DEFAULT,
    ENFORCEMENTS,
    POLICIES,
    TRACE_DTYPE,
    TRACE_KINDS,
    Bools,
    Cluster,
    Floats,
    Ints,
    Model,
    Options,
    Outcome,
    Requests,
)
from .rates import FlowsOutcome, flows, max_min

__all__ = [
    "CHUNKS_POLICIES",
    "DEFAULT",
    "ENFORCEMENTS",
    "POLICIES",
    "TRACE_DTYPE",
    "TRACE_KINDS",
    "Bools",
    "Cluster",
    "Floats",
    "FlowsOutcome",
    "Ints",
    "Model",
    "Options",
    "Outcome",
    "Requests",
    "closed_form_ttft_s",
    "collective_bytes",
    "compute_s",
    "flows",
    "max_min",
    "simulate",
]


def _in(array: Any, dtype: Any) -> tuple[Any, Any]:
    """A C pointer to the array, and what keeps it alive."""
    kept = np.ascontiguousarray(array, dtype=dtype)
    kind = {"f8": "double", "i8": "int64_t", "u4": "uint32_t"}[np.dtype(dtype).str[1:]]
    return ffi.cast(f"{kind} *", kept.ctypes.data), kept


def _out(count: int, dtype: Any, kind: str) -> tuple[Any, Any]:
    array = np.zeros(max(count, 1), dtype=dtype)
    return ffi.cast(f"{kind} *", array.ctypes.data), array


def compute_s(model: Model, new_tokens: ArrayLike, reused_tokens: ArrayLike) -> float:
    """Seconds that one group (layers/groups layers) of a batch of these requests computes."""
    new = np.atleast_1d(np.asarray(new_tokens, dtype=np.float64))
    reused = np.broadcast_to(np.asarray(reused_tokens, dtype=np.float64), new.shape)
    work = float(np.sum(new * (new + 2.0 * reused)))
    return float(lib.mfs_sim_compute_s(structs.model(model), float(np.sum(new)), work))


def collective_bytes(model: Model, new_tokens: float, unit_hosts: int) -> float:
    """What each host of a unit sends to the others for one group: with T new tokens on m hosts
    (2 (m-1)/m * allreduce * T + (m-1)/m * alltoall * T / m) * layers/groups."""
    return float(lib.mfs_sim_collective_bytes(structs.model(model), float(new_tokens), unit_hosts))


def closed_form_ttft_s(
    cluster: Cluster, model: Model, tokens: int, prefix: int, *, together: bool = False
) -> float:
    """TTFT of a request that is alone on the cluster (csrc/sim/model.h): collectives first, fetches
    group by group. `together`: as under fair sharing, where all groups' fetches end at once."""
    c_cluster, c_model = structs.cluster(cluster), structs.model(model)
    return float(lib.mfs_sim_alone_s(c_cluster, c_model, tokens, prefix, together))


Progress = Callable[[int, float], bool | None]


class _Told:
    """What the engine calls now and then. An exception, also of Ctrl-C, waits for its return."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.error: BaseException | None = None

    def failed(self, kind: object, error: BaseException, trace: object) -> int:
        self.error = error
        return 1


def _failed(kind: object, error: BaseException, trace: Any) -> int:
    return int(ffi.from_handle(trace.tb_frame.f_locals["context"]).failed(kind, error, trace))


@ffi.def_extern(error=1, onerror=_failed)  # type: ignore[untyped-decorator]
def mfs_sim_progressed(context: Any, done: int, now_s: float) -> int:
    told = ffi.from_handle(context)
    return 1 if told.progress is not None and told.progress(done, now_s) else 0


def _draws(count: int) -> Floats:
    """Spread evenly: multiples of the golden ratio."""
    return np.asarray((np.arange(1, count + 1) * 0.6180339887498949) % 1.0, dtype=np.float64)


def simulate(
    cluster: Cluster,
    model: Model,
    requests: Requests,
    options: Options = DEFAULT,
    *,
    trace: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Run to the end. progress(requests done, simulated seconds) is called now and then; if it
    returns True the run ends with KeyboardInterrupt; what it raises is passed on. InputError names
    what is wrong."""
    check(cluster, model, requests, options)
    count = len(requests)
    c_cluster, c_model = structs.cluster(cluster), structs.model(model)
    c_options, _policy = structs.options(options)  # both are kept until the run is over
    draws = _draws(count) if requests.store_draw is None else requests.store_draw
    error, seed = options.estimate_error
    estimate = 1.0 + error * np.random.default_rng(seed).uniform(-1.0, 1.0, count)
    c_requests = ffi.new("struct mfs_sim_requests *")
    c_requests.count = count
    kept = []
    inputs: tuple[tuple[str, Any, Any], ...] = (
        ("arrival_s", requests.arrival_s, np.float64),
        ("tokens", requests.tokens, np.int64),
        ("prefix", requests.prefix, np.int64),
        ("deadline_s", requests.deadline_s, np.float64),
        ("store_draw", draws, np.float64),
        ("estimate", estimate, np.float64),
        ("slo_class", np.zeros(count) if requests.slo_class is None else requests.slo_class,
         np.uint32),
    )  # fmt: skip
    for name, array, dtype in inputs:
        pointer, array = _in(array, dtype)
        setattr(c_requests, name, pointer)
        kept.append(array)
    out = ffi.new("struct mfs_sim_outcome *")
    arrays: dict[str, Any] = {}
    outputs: tuple[tuple[str, Any, str], ...] = (
        ("first_token_s", np.float64, "double"),
        ("fetch_done_s", np.float64, "double"),
        ("compute_start_s", np.float64, "double"),
        ("compute_done_s", np.float64, "double"),
        ("unit", np.int64, "int64_t"),
        ("decode_host", np.int64, "int64_t"),
        ("store_host", np.int64, "int64_t"),
        ("given_up", np.uint8, "uint8_t"),
    )
    for name, dtype, kind in outputs:
        pointer, array = _out(count, dtype, kind)
        setattr(out, name, pointer)
        arrays[name] = array[:count]
    links = int(lib.mfs_sim_links(c_cluster))
    out.port_bytes, port_bytes = _out(links, np.float64, "double")
    told = _Told(progress)
    handle = ffi.new_handle(told)
    begin = time.perf_counter()
    result = lib.mfs_sim_run(
        c_cluster,
        c_model,
        c_requests,
        c_options,
        trace,
        lib.mfs_sim_progressed,
        handle,
        out,
    )
    seconds = time.perf_counter() - begin
    size = out.trace_count * TRACE_DTYPE.itemsize
    events = np.frombuffer(ffi.buffer(out.trace, size) if size else b"", TRACE_DTYPE).copy()
    lib.mfs_sim_trace_free(out.trace)
    if result == -errno.ECANCELED:
        raise told.error or KeyboardInterrupt
    native.check(result, f"simulation of {options.policy}")
    arrival = kept[0]
    span = float(arrival[-1] - arrival[0]) if count else 0.0
    first = arrays["first_token_s"]
    return Outcome(
        ttft_s=first - arrival,
        given_up=arrays["given_up"].astype(np.bool_),
        fetch_done_s=arrays["fetch_done_s"],
        compute_start_s=arrays["compute_start_s"],
        compute_done_s=arrays["compute_done_s"],
        unit=arrays["unit"],
        decode_host=arrays["decode_host"],
        store_host=arrays["store_host"],
        earliness_s=kept[3] - first,
        collective_mean_s=out.collective_sum_s / out.collectives if out.collectives else 0.0,
        collective_count=int(out.collectives),
        port_utilisation=_utilisation(cluster, port_bytes[:links], span),
        seconds=seconds,
        events=int(out.events),
        flows=int(out.flows),
        bytes_moved=float(out.bytes),
        visited=int(out.visited),
        told=int(out.told),
        memory_bytes=int(out.memory_bytes),
        trace=events,
    )


def _utilisation(cluster: Cluster, port_bytes: Floats, span_s: float) -> Floats:
    if span_s <= 0:
        return np.zeros(len(port_bytes))
    capacity = np.full(len(port_bytes), float(cluster.link_Bps))
    ports = 2 * cluster.hosts * cluster.nics_per_host
    zones = len(port_bytes) - (
        2 * -(-cluster.hosts // cluster.zone_hosts) if cluster.zone_hosts else 0
    )
    capacity[ports:zones] *= cluster.pod_hosts * cluster.nics_per_host / cluster.oversubscription
    capacity[zones:] *= cluster.zone_hosts * cluster.nics_per_host / cluster.zone_oversubscription
    return np.asarray(port_bytes / (capacity * span_s))
