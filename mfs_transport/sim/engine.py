# SPDX-License-Identifier: Apache-2.0
"""One run of the flow-level simulator: a cluster, a model, requests, a policy -> what happened.

    from mfs_transport.sim.engine import Cluster, Model, Options, Requests, simulate

    outcome = simulate(cluster, model, requests, Options(policy="mfs"))
    attained = np.mean(outcome.ttft_s <= requests.deadline_s - requests.arrival_s)

Units: seconds, bytes, bytes/s, tokens. docs/simulator.md has the model in formulas. The event
loop and the rates are C (csrc/sim) and the scheduler is csrc/core, the code that ships; a run
releases the GIL. Same input, same bits.

Changes to the first draft of this interface: collective_s is split into collective_mean_s and
collective_count; Requests may leave slo_class and store_draw out; estimate_error is a pair
(relative error, seed).
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import native
from ..native import InputError
from ._sim import ffi, lib

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

POLICIES = (
    "fair",
    "fifo",
    "sjf",
    "srpt",
    "edf_paper",
    "edf",
    "karuna",
    "pdq",
    "varys",
    "sincronia",
    "lstf",
    "llf_oracle",
    "mfs_paper",
    "mfs",
    "inf",
)
ENFORCEMENTS = ("global", "sender", "sender+classes", "sender+pressure")


@dataclass(frozen=True)
class Cluster:
    """Hosts and links. Host numbers: unit u has u*unit_hosts .. u*unit_hosts+unit_hosts-1, then
    the decode hosts, then hosts that only store KV."""

    units: int
    unit_hosts: int
    decode_hosts: int
    store_hosts: int = 0
    nics_per_host: int = 1
    """N > 1: a request's KV is on one GPU (request mod N), which has its own NIC; collectives use
    all NICs. KV spread evenly over all NICs is one NIC of N times the bandwidth: link_Bps."""
    link_Bps: float = 25e9
    """Of each direction of each NIC."""
    pod_hosts: int = 0
    """0: a core that never blocks; else hosts per pod, numbered in host order."""
    oversubscription: float = 1.0
    """A pod's up- and downlink have pod_hosts * nics_per_host * link_Bps / oversubscription."""
    token_budget: int = 8192
    """New tokens that a batch may have; a batch has at least one request."""

    @property
    def hosts(self) -> int:
        return self.units * self.unit_hosts + self.decode_hosts + self.store_hosts


@dataclass(frozen=True)
class Model:
    """What one token costs in one layer, on the ranks of one unit together."""

    layers: int
    groups: int
    """G: layers are simulated in so many equal groups; layers/groups may be a fraction."""
    kv_bytes_per_token_layer: float
    allreduce_bytes_per_token_layer: float = 0.0
    """Payload of all all-reduces of a layer together (two in a usual layer)."""
    alltoall_bytes_per_token_layer: float = 0.0
    """Dispatch and combine together, of one token."""
    linear_flop_per_token_layer: float = 0.0
    attention_flop_factor: float = 0.0
    """2 * heads * d_head; times new * (new + 2 * reused) it is the FLOP of one layer."""
    flops: float = 1.0
    """Peak FLOP/s of all ranks of a unit together."""
    mfu_max: float = 0.74
    mfu_half: float = 100.0
    """Linear layers run at mfu_max * T / (T + mfu_half) of the peak, T = new tokens of the batch;
    attention at mfu_max."""
    elementwise: float = 0.05
    """Share of time on top for everything else."""


@dataclass(frozen=True)
class Requests:
    """One entry a request, in order of arrival."""

    arrival_s: Floats
    tokens: Ints
    """Of the input, all of them (n)."""
    prefix: Ints
    """Reusable ones (p), at most tokens - 1."""
    deadline_s: Floats
    """Absolute; inf: none."""
    slo_class: Ints | None = None
    store_draw: Floats | None = None
    """In [0, 1): which host has the prefix. None: spread evenly by a fixed sequence."""

    def __len__(self) -> int:
        return len(self.arrival_s)


@dataclass(frozen=True)
class Options:
    """The policy, who enforces it, and what the engine of the units may know."""

    policy: str = "mfs"
    hopeless: bool | None = None
    """Stage 3 of requests that cannot make it goes last. None: what the policy itself does (mfs and
    mfs_paper and pdq: yes; the others: no)."""
    shed: bool | None = None
    """Moore-Hodgson at each sender. None: as the policy (mfs: yes, if hopeless)."""
    enforcement: str = "global"
    """global: every link keeps the order. sender: egress ports do, the rest of the path is shared.
    sender+classes: and the fabric has `classes` strict classes. sender+pressure: and receivers tell
    senders, `pressure_delay_s` late, what the best level is that waits for them."""
    classes: int = 4
    pressure_delay_s: float = 1e-3
    levels: int = 8
    """K."""
    theta_s: float = 5e-3
    """mfs: urgency that counts as now."""
    mlu_base: float = 4.0
    mlu_top: float = 0.5
    """mfs_paper: E and U."""
    interval_s: float = 5e-3
    """Least time between two looks at keys that move all the time (lstf, llf_oracle, sincronia)."""
    level_order: str = "key"
    """key: flows in a level go by key. fair: they share. srpt: by remaining bytes."""
    inherit: bool = True
    """mfs: requests inherit the urgency of those behind them (rule 2)."""
    red: bool = True
    """mfs_paper: RED; False: the batch's earliest deadline."""
    prune: bool = True
    """mfs_paper: overload control drops requests."""
    estimate_error: tuple[float, int] = (0.0, 0)
    """(e, seed): the scheduler sees computing times and bytes times a factor uniform in 1 +- e,
    drawn once for each request."""
    unit_order: str = "fifo"
    """Of a unit's queue: fifo or edf."""
    decode_choice: str = "bytes"
    """Decode host with the fewest outstanding bytes, or slack: the one whose port is free first
    counting what is more urgent only."""
    store_choice: str = "draw"
    """draw: the host that store_draw names. slack: the less loaded of `replicas` hosts drawn."""
    replicas: int = 2
    recompute: bool = False
    """Compute a prefix anew when that is estimated to be sooner than to fetch it."""
    batching: str = "fifo"
    """fifo: the head of the queue up to the token budget. deadline: of these only requests whose
    deadlines are near that of the first."""
    routing: str = "tokens"
    """tokens: the unit with the fewest outstanding new tokens. prefix: a unit that has the prefix
    already (store_draw over all hosts), unless it has more outstanding than `routing_slack` times
    the mean and a batch; such a request fetches nothing."""
    routing_slack: float = 1.5
    batch_slack_s: float = 0.5
    """batching deadline: how near."""


DEFAULT = Options()


TRACE_KINDS = (
    "arrive",
    "flow_start",
    "flow_end",
    "level",
    "compute_start",
    "compute_end",
    "collective_start",
    "collective_end",
    "first_token",
)
TRACE_DTYPE = np.dtype(
    [
        ("time_s", "f8"),
        ("kind", "i4"),  # index into TRACE_KINDS
        ("request", "i4"),  # of a collective: the first of its batch
        ("stage", "i4"),  # 1..3, 0: none
        ("group", "i4"),  # -1: none
        ("host_from", "i4"),  # -1: none
        ("host_to", "i4"),
        ("level", "i4"),  # -1: none
        ("unit", "i4"),  # -1: none
        ("bytes", "f8"),
    ]
)


@dataclass(frozen=True)
class Outcome:
    """What happened. Arrays have one entry a request unless said otherwise; times are absolute
    seconds, but for ttft_s; inf where it never happened."""

    ttft_s: Floats
    given_up: Bools
    """Stage 3 was in the scavenger level when it was delivered (or for good)."""
    fetch_done_s: Floats
    compute_start_s: Floats
    compute_done_s: Floats
    unit: Ints
    decode_host: Ints
    store_host: Ints
    """-1 where nothing was fetched."""
    earliness_s: Floats
    """Deadline less the moment of the first token."""
    collective_mean_s: float
    """Of a batch's collective of one group, from its start to its last byte; 0 without any."""
    collective_count: int
    port_utilisation: Floats
    """[links]: egress of every NIC, ingress of every NIC, pod uplinks, pod downlinks; from the
    first to the last arrival."""
    seconds: float
    """Wall time of the run."""
    events: int
    flows: int
    bytes_moved: float
    """Over egress ports."""
    visited: int
    """Claims looked at by re-rating, over all events."""
    memory_bytes: int
    """What the engine allocated at most."""
    trace: NDArray[np.void] = field(default_factory=lambda: np.empty(0, TRACE_DTYPE))
    """TRACE_DTYPE, in order of time; empty unless asked for."""


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


@ffi.def_extern(error=1)  # type: ignore[untyped-decorator]
def mfs_sim_progressed(context: Any, done: int, now_s: float) -> int:
    return 1 if ffi.from_handle(context)(done, now_s) else 0


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
    returns True or raises, the run ends with KeyboardInterrupt. InputError names what is wrong."""
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
    handle = ffi.new_handle(progress) if progress else ffi.NULL
    begin = time.perf_counter()
    result = lib.mfs_sim_run(
        c_cluster,
        c_model,
        c_requests,
        c_options,
        trace,
        lib.mfs_sim_progressed if progress else ffi.NULL,
        handle,
        out,
    )
    seconds = time.perf_counter() - begin
    if result == -errno.ECANCELED:
        lib.mfs_sim_trace_free(out.trace)
        raise KeyboardInterrupt
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
