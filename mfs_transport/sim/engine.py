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
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import native
from ..native import InputError
from ._sim import ffi, lib
from .interface import (
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

__all__ = [
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


def _model(model: Model) -> Any:
    return ffi.new(
        "struct mfs_sim_model *",
        {
            "layers": model.layers,
            "groups": model.groups,
            "kv_bytes": model.kv_bytes_per_token_layer,
            "allreduce_bytes": model.allreduce_bytes_per_token_layer,
            "alltoall_bytes": model.alltoall_bytes_per_token_layer,
            "linear_flop": model.linear_flop_per_token_layer,
            "attention_flop": model.attention_flop_factor,
            "flops": model.flops,
            "mfu_max": model.mfu_max,
            "mfu_half": model.mfu_half,
            "elementwise": model.elementwise,
        },
    )


def _cluster(cluster: Cluster) -> Any:
    return ffi.new(
        "struct mfs_sim_cluster *",
        {
            "units": cluster.units,
            "unit_hosts": cluster.unit_hosts,
            "decode_hosts": cluster.decode_hosts,
            "store_hosts": cluster.store_hosts,
            "nics": cluster.nics_per_host,
            "link_Bps": cluster.link_Bps,
            "pod_hosts": cluster.pod_hosts,
            "oversubscription": cluster.oversubscription,
            "token_budget": cluster.token_budget,
        },
    )


def _options(options: Options, policy: Any) -> Any:
    tri = {None: -1, False: 0, True: 1}
    return ffi.new(
        "struct mfs_sim_options *",
        {
            "policy": policy,
            "hopeless": tri[options.hopeless],
            "shed": tri[options.shed],
            "enforcement": _place(options.enforcement, ENFORCEMENTS, "enforcement"),
            "classes": options.classes,
            "pressure_delay_s": options.pressure_delay_s,
            "levels": options.levels,
            "theta_s": options.theta_s,
            "mlu_base": options.mlu_base,
            "mlu_top": options.mlu_top,
            "interval_s": options.interval_s,
            "promote_interval_s": options.promote_interval_s,
            "level_order": _place(options.level_order, ("key", "fair", "srpt"), "level_order"),
            "inherit": options.inherit,
            "red": options.red,
            "prune": options.prune,
            "unit_edf": _place(options.unit_order, ("fifo", "edf"), "unit_order") == 1,
            "decode_slack": _place(options.decode_choice, ("bytes", "slack"), "decode_choice") == 1,
            "store_slack": _place(options.store_choice, ("draw", "slack"), "store_choice") == 1,
            "recompute": options.recompute,
            "batch_deadline": _place(options.batching, ("fifo", "deadline"), "batching") == 1,
            "route_prefix": _place(options.routing, ("tokens", "prefix"), "routing") == 1,
            "replicas": options.replicas,
            "routing_slack": options.routing_slack,
            "batch_slack_s": options.batch_slack_s,
        },
    )


def _place(value: str, allowed: tuple[str, ...], what: str) -> int:
    try:
        return allowed.index(value)
    except ValueError:
        raise InputError(f"{what} {value!r}: one of {', '.join(allowed)}") from None


def _in(array: Any, dtype: Any, what: str, count: int) -> tuple[Any, Any]:
    """A C pointer to the array, and what keeps it alive."""
    kept = np.ascontiguousarray(array, dtype=dtype)
    if kept.shape != (count,):
        raise InputError(f"requests: {what} has shape {kept.shape}, not ({count},)")
    kind = {"f8": "double", "i8": "int64_t"}[np.dtype(dtype).str[1:]]
    return ffi.cast(f"{kind} *", kept.ctypes.data), kept


def _out(count: int, dtype: Any, kind: str) -> tuple[Any, Any]:
    array = np.zeros(max(count, 1), dtype=dtype)
    return ffi.cast(f"{kind} *", array.ctypes.data), array


def compute_s(model: Model, new_tokens: ArrayLike, reused_tokens: ArrayLike) -> float:
    """Seconds that one group (layers/groups layers) of a batch of these requests computes."""
    new = np.atleast_1d(np.asarray(new_tokens, dtype=np.float64))
    reused = np.broadcast_to(np.asarray(reused_tokens, dtype=np.float64), new.shape)
    work = float(np.sum(new * (new + 2.0 * reused)))
    return float(lib.mfs_sim_compute_s(_model(model), float(np.sum(new)), work))


def collective_bytes(model: Model, new_tokens: float, unit_hosts: int) -> float:
    """What each host of a unit sends to the others for one group: with T new tokens on m hosts
    (2 (m-1)/m * allreduce * T + (m-1)/m * alltoall * T / m) * layers/groups."""
    return float(lib.mfs_sim_collective_bytes(_model(model), float(new_tokens), unit_hosts))


def closed_form_ttft_s(
    cluster: Cluster, model: Model, tokens: int, prefix: int, *, together: bool = False
) -> float:
    """TTFT of a request that is alone on the cluster (csrc/sim/model.h): collectives first, fetches
    group by group. `together`: as under fair sharing, where all groups' fetches end at once."""
    return float(lib.mfs_sim_alone_s(_cluster(cluster), _model(model), tokens, prefix, together))


def check(cluster: Cluster, model: Model, requests: Requests, options: Options) -> None:
    """InputError that says what is wrong, in the words of this interface."""
    for name, value in (
        ("units", cluster.units),
        ("unit_hosts", cluster.unit_hosts),
        ("decode_hosts", cluster.decode_hosts),
        ("nics_per_host", cluster.nics_per_host),
        ("layers", model.layers),
        ("groups", model.groups),
        ("link_Bps", cluster.link_Bps),
        ("oversubscription", cluster.oversubscription),
        ("flops", model.flops),
        ("mfu_max", model.mfu_max),
        ("theta_s", options.theta_s),
        ("interval_s", options.interval_s),
        ("mlu_top", options.mlu_top),
        ("replicas", options.replicas),
    ):
        if not 0 < value < math.inf:
            raise InputError(f"{name} {value}: more than 0")
    if options.policy not in POLICIES:
        raise InputError(f"policy {options.policy!r}: one of {', '.join(POLICIES)}")
    if not 2 <= options.levels <= 31:
        raise InputError(f"levels {options.levels}: 2 to 31")
    if not 0 <= options.promote_interval_s < math.inf:
        raise InputError(f"promote_interval_s {options.promote_interval_s}: 0 or more")
    if not options.mlu_base > 1:
        raise InputError(f"mlu_base {options.mlu_base}: more than 1")
    if cluster.hosts > 1 << 20 or cluster.nics_per_host > 64 or cluster.unit_hosts > 256:
        raise InputError(
            f"cluster of {cluster.hosts} hosts: at most {1 << 20}, 256 a unit, 64 NICs a host"
        )
    if cluster.hosts - cluster.unit_hosts < 1:
        raise InputError("cluster: no host but the unit's own could store KV")
    if not 0 <= options.estimate_error[0] < 1:
        raise InputError(f"estimate_error {options.estimate_error[0]}: 0 or more, less than 1")
    if len(requests) == 0:
        return
    arrival = np.asarray(requests.arrival_s)
    tokens, prefix = np.asarray(requests.tokens), np.asarray(requests.prefix)
    for wrong, text in (
        (~((arrival >= 0) & (arrival < 1e9)), "arrival_s: from 0 to 1e9"),
        (np.diff(arrival, prepend=arrival[0]) < 0, "arrival_s: in order of arrival"),
        (tokens < 1, "tokens: at least 1"),
        ((prefix < 0) | (prefix >= tokens), "prefix: 0 to tokens - 1"),
        (np.isnan(requests.deadline_s), "deadline_s: not a number"),
    ):
        if np.any(wrong):
            raise InputError(f"request {int(np.argmax(wrong))}: {text}")
    if requests.store_draw is not None:
        draw = np.asarray(requests.store_draw)
        if not np.all((draw >= 0) & (draw < 1)):
            raise InputError("store_draw: from 0 to 1, less than 1")


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
    policy = ffi.new("char[]", options.policy.encode())
    c_cluster, c_model, c_options = _cluster(cluster), _model(model), _options(options, policy)
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
    )
    for name, array, dtype in inputs:
        pointer, array = _in(array, dtype, name, count)
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
    if result == -errno.ECANCELED:
        lib.mfs_sim_trace_free(out.trace)
        raise told.error or KeyboardInterrupt
    native.check(result, f"simulation of {options.policy}")
    events = np.empty(0, TRACE_DTYPE)
    if out.trace_count:
        size = out.trace_count * TRACE_DTYPE.itemsize
        events = np.frombuffer(ffi.buffer(out.trace, size), TRACE_DTYPE).copy()
    lib.mfs_sim_trace_free(out.trace)
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
        memory_bytes=int(out.memory_bytes),
        trace=events,
    )


def _utilisation(cluster: Cluster, port_bytes: Floats, span_s: float) -> Floats:
    if span_s <= 0:
        return np.zeros(len(port_bytes))
    capacity = np.full(len(port_bytes), float(cluster.link_Bps))
    ports = 2 * cluster.hosts * cluster.nics_per_host
    capacity[ports:] *= cluster.pod_hosts * cluster.nics_per_host / cluster.oversubscription
    return np.asarray(port_bytes / (capacity * span_s))


@dataclass(frozen=True)
class FlowsOutcome:
    finish_s: Floats
    rates_Bps: Floats
    """At time 0, of those that start then."""
    visited: int
    """Flows looked at, over all events: what re-rating cost."""
    seconds: float
    """Wall time of the run."""


def flows(
    capacity_Bps: ArrayLike,
    routes: Sequence[Sequence[int]],
    sizes: ArrayLike,
    *,
    start_s: ArrayLike = 0.0,
    tier: ArrayLike = 1,
    level: ArrayLike = 0,
    key: ArrayLike = 0,
    enforcement: str = "global",
) -> FlowsOutcome:
    """Flows on links and nothing else; a route has 1 to 4 links, the egress first. Tier 0 is
    ordered by (level, key, place in the list); 1 and more are shared max-min, each from what the
    tiers before it leave."""
    count = len(routes)
    capacity = np.ascontiguousarray(capacity_Bps, dtype=np.float64)
    first = np.zeros(count + 1, dtype=np.uint32)
    first[1:] = np.cumsum([len(route) for route in routes], dtype=np.uint64)
    hops = np.array([link for route in routes for link in route] or [0], dtype=np.uint32)

    def spread(value: ArrayLike, dtype: Any) -> Any:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=dtype), (count,)))

    def at(kind: str, array: Any) -> Any:
        return ffi.cast(f"{kind} *", array.ctypes.data)

    tiers, levels, keys = spread(tier, np.uint32), spread(level, np.uint32), spread(key, np.int64)
    bytes_, starts = spread(sizes, np.float64), spread(start_s, np.float64)
    finish, rates = np.zeros(max(count, 1)), np.zeros(max(count, 1))
    visited = ffi.new("uint64_t *")
    begin = time.perf_counter()
    result = lib.mfs_sim_flows(
        len(capacity),
        at("double", capacity),
        count,
        at("uint32_t", first),
        at("uint32_t", hops),
        at("double", bytes_),
        at("double", starts),
        at("uint32_t", tiers),
        at("uint32_t", levels),
        at("int64_t", keys),
        _place(enforcement, ENFORCEMENTS, "enforcement"),
        at("double", finish),
        at("double", rates),
        visited,
    )
    seconds = time.perf_counter() - begin
    if result == -errno.EINVAL:
        raise InputError("flows: 1 to 4 known links a route, size above 0, level to 32, tier to 35")
    native.check(result, "flows")
    return FlowsOutcome(finish[:count], rates[:count], int(visited[0]), seconds)


def max_min(
    capacity_Bps: ArrayLike,
    routes: Sequence[Sequence[int]],
    level: ArrayLike = 0,
    key: ArrayLike | None = None,
) -> Floats:
    """Rates of flows on links: strict priority over levels; inside a level max-min, or with keys
    in key order (equal ones in order of the list)."""
    if key is None:
        return flows(
            capacity_Bps, routes, 1.0, tier=1 + np.asarray(level, dtype=np.uint32)
        ).rates_Bps
    return flows(capacity_Bps, routes, 1.0, tier=0, level=level, key=key).rates_Bps
