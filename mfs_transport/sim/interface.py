# SPDX-License-Identifier: Apache-2.0
"""What goes into a run of the simulator and what comes out. Everything is also in `engine`.

Units: seconds, bytes, bytes/s, tokens. docs/simulator.md has the model in formulas.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    "slack_srpt",
    "llf_oracle",
    "sept",
    "gittins",
    "wfq",
    "mfs_paper",
    "mfs",
    "equal",
    "stall_opt",
    "inf",
)
MOST_CLASSES = 36
ENFORCEMENTS = (
    "global",
    "sender",
    "sender+classes",
    "sender+pressure",
    "chunks",
    "chunks+exchange",
    "chunks+grants",
)
CHUNKS_POLICIES = ("fair", "fifo", "sjf", "srpt", "edf_paper", "edf", "karuna", "mfs_paper", "mfs")
"""Those that csrc/core has: what enforcement chunks can run."""


@dataclass(frozen=True)
class Cluster:
    """Hosts and links. Host numbers: unit u has u*unit_hosts .. u*unit_hosts+unit_hosts-1, then
    the decode hosts, then hosts that only store KV."""

    units: int
    unit_hosts: int
    decode_hosts: int
    """0: the units decode what they have computed, and there is no stage 3."""
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
    node_hosts: int = 1
    """So many neighbouring hosts are one server: what goes from one to another takes no network."""
    zone_hosts: int = 0
    """A multiple of pod_hosts: pods of a zone have a core that never blocks. 0: all pods have."""
    zone_oversubscription: float = 1.0
    """A zone's up- and downlink have zone_hosts * nics_per_host * link_Bps / this."""
    spread_hosts: int = 0
    """b: servers, pods and zones are filled with b prefill, then b decode, then b store hosts in
    turn, so that each pod has its share of all. 0: in order of their numbers."""

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
    """For reports, and for wfq: 0 is the most important. None: all are of one."""
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
    senders, `pressure_delay_s` late, what the best level is that waits for them. chunks: each
    egress port has the sender that ships, with its queue, window and chunks; for CHUNKS_POLICIES,
    without options that change csrc/core's rules. chunks+exchange: and receivers tell senders,
    `pressure_delay_s` late, down to which rank they may send. chunks+grants: and receivers grant
    senders bytes, as late, by the ranks of what waits."""
    classes: int = 4
    chunk_bytes: int = 0
    """chunks: the least chunk of a sender, at most 4 MiB. 0: as it ships, 64 KiB."""
    window_bytes: int = 0
    """chunks: what a sender may have in flight, at most 1 GiB. 0: as it ships, by the rate."""
    pressure_delay_s: float = 1e-3
    limits_lost: float = 0.0
    """The share of limits, or of grants, that do not arrive. A sender then keeps the one that it
    had until the next, which comes a delay later."""
    grant_bytes: int = 0
    """chunks+grants: what a receiver grants at a time; 0: a chunk."""
    levels: int = 8
    """K; mfs has four, whatever it is."""
    patience: int | None = None
    """mfs: a request that was given up and is late by so many times its SLO goes before what can
    wait. 0: it stays last. None: as on the wire (MFS_PATIENCE) unless somebody changes it: 20."""
    mlu_base: float = 4.0
    mlu_top: float = 0.5
    """mfs_paper: E and U."""
    interval_s: float = 5e-3
    """Least time between two looks at keys that move all the time (llf_oracle, sincronia)."""
    promote_interval_s: float = 0.0
    """Looks that the policy asks for (promotion with time) are made at multiples of it; 0: at the
    moment itself, as on the wire."""
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
    """Decode host with the fewest outstanding bytes. slack: the one where the least time to spare,
    its own and that of those due later, is most. room, fit: by core/slack.h, as `store_choice`.
    round_robin: in turn. nearest: of the nearest tier. netkv: of the tier where size / rate, shared
    with those that go as far, takes least. Of equal ones the one with the fewest outstanding
    bytes."""
    store_choice: str = "draw"
    """draw: the host that store_draw names, of all but the unit's own. stores: the one that it
    names of those that only store. Of `replicas` hosts drawn: slack: the less loaded. room: the one
    whose port can be given most by when the prefix is due (core/slack.h). fit: of those that can
    take the prefix by then the less loaded."""
    replicas: int = 2
    recompute: bool = False
    """Compute a prefix anew when that is estimated to be sooner than to fetch it."""
    batching: str = "fifo"
    """fifo: the head of the queue up to the token budget. deadline: of these only requests whose
    deadlines are near that of the first."""
    routing: str = "tokens"
    """tokens: the unit with the fewest outstanding new tokens. prefix: the unit that has the prefix
    (store_draw over all hosts), if waiting longer there takes no more than `routing_slack` times
    the fetch on an idle network; such a request fetches nothing."""
    routing_slack: float = 1.0
    batch_slack_s: float = 0.5
    """batching deadline: how near."""
    stage_first: str = "none"
    """Baselines: kv_reuse, collective or p2d goes before all other stages, whatever the key."""
    stage_second: str = "none"
    """And the stage that comes next."""
    deadline_less: str = "nothing"
    """edf, pdq, lstf (which is less computing by itself), and the weights of coflows: the deadline
    of stages 1 and 2 is earlier by what has to follow. computing: with its collectives. group: and
    stage 3 of one group. stage3: and all that is left of it. A collective's is the earliest of its
    batch."""
    coflow_weight: str = "one"
    """varys, sincronia: one, or deadline: 1 / time left."""
    karuna_margin: float = 0.0
    """karuna: the due rate of stage 3 is so much higher (0.25: by a quarter)."""
    class_weight: float = 4.0
    """wfq: a flow has so many times the share of one of the SLO class behind its own; of the last
    class it weighs 1, and all weights are whole numbers."""
    shares: str = "renewed"
    """equal, stall_opt: a fetch's share grows when another one has ended. held: it is what it was
    when the last one came, and what is left over is nobody's."""


STAGES = ("none", "kv_reuse", "collective", "p2d")
DEADLINE_LESS = ("nothing", "computing", "group", "stage3")
DECODE_CHOICES = ("bytes", "slack", "room", "fit", "round_robin", "nearest", "netkv")
STORE_CHOICES = ("draw", "slack", "room", "fit", "stores")
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
    """[links]: egress of every NIC, ingress of every NIC, pod uplinks, pod downlinks, those of
    zones; from the first to the last arrival."""
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
    told: int = 0
    """Limits or grants, each to one sender, lost ones among them."""
