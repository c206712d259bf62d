# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong with a run's input, before C refuses it without words."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .. import checked
from ..native import InputError, shown
from .interface import (
    CHUNKS_POLICIES,
    DEFAULT,
    MOST_CLASSES,
    POLICIES,
    Cluster,
    Model,
    Options,
    Requests,
)

_POSITIVE = {
    *("units", "unit_hosts", "nics_per_host", "link_Bps", "oversubscription"),
    *("node_hosts", "zone_oversubscription"),
    *("layers", "groups", "flops", "mfu_max"),
    *("interval_s", "mlu_top", "replicas", "class_weight"),
}


_FLOATS = ("arrival_s", "deadline_s", "store_draw")
MOST_WHOLE = 2**31 - 1
MOST_SLO_CLASSES = 64
MOST_CHUNK = 4 << 20  # of a sender that ships
MOST_WINDOW = 1 << 30


def check(cluster: Cluster, model: Model, requests: Requests, options: Options) -> None:
    """InputError that says what is wrong, in the words of this interface."""
    for source in (cluster, model, options):
        _numbers(source)
    checked.word(options.policy, POLICIES, "policy")
    if not 4 <= options.levels <= 31:
        raise InputError(f"levels {options.levels}: 4 to 31")
    if not 1 <= options.classes <= MOST_CLASSES:
        raise InputError(f"classes {options.classes}: 1 to {MOST_CLASSES}")
    if not options.mlu_base > 1:
        raise InputError(f"mlu_base {options.mlu_base}: more than 1")
    _stages(options)
    _chunks(options)
    if cluster.hosts > 1 << 20 or cluster.nics_per_host > 64 or cluster.unit_hosts > 256:
        raise InputError(
            f"cluster of {cluster.hosts} hosts: at most {1 << 20}, 256 a unit, 64 NICs a host"
        )
    _tree(cluster)
    if options.store_choice == "stores" and cluster.store_hosts == 0:
        raise InputError("store_choice 'stores': the cluster has no store_hosts")
    if cluster.hosts - cluster.unit_hosts < 1:
        raise InputError("cluster: no host but the unit's own could store KV")
    if not 0 <= options.estimate_error[0] < 1:
        raise InputError(f"estimate_error {options.estimate_error[0]}: 0 or more, less than 1")
    if options.chunk_bytes and not 128 <= options.chunk_bytes <= MOST_CHUNK:
        raise InputError(f"chunk_bytes {options.chunk_bytes}: 0, or 128 to {MOST_CHUNK}")
    if options.window_bytes and not 128 <= options.window_bytes <= MOST_WINDOW:
        raise InputError(f"window_bytes {options.window_bytes}: 0, or 128 to {MOST_WINDOW}")
    if options.limits_lost >= 1:
        raise InputError(f"limits_lost {options.limits_lost}: 0 or more, less than 1")
    _requests(requests)


def _tree(cluster: Cluster) -> None:
    """Servers fill pods, pods fill zones, and blocks that take turns are whole."""
    if cluster.node_hosts > 1 and cluster.pod_hosts % cluster.node_hosts:
        raise InputError(f"pod_hosts {cluster.pod_hosts}: a multiple of node_hosts")
    if cluster.zone_hosts and (not cluster.pod_hosts or cluster.zone_hosts % cluster.pod_hosts):
        raise InputError(f"zone_hosts {cluster.zone_hosts}: a multiple of pod_hosts, which is > 0")
    roles = (cluster.units * cluster.unit_hosts, cluster.decode_hosts, cluster.store_hosts)
    if cluster.spread_hosts and any(hosts % cluster.spread_hosts for hosts in roles):
        raise InputError(
            f"spread_hosts {cluster.spread_hosts}: prefill, decode and store hosts are "
            f"{', '.join(map(str, roles))}; each a multiple of it"
        )


def _stages(options: Options) -> None:
    if options.stage_second != "none" and options.stage_first in ("none", options.stage_second):
        raise InputError(
            f"stage_second {shown(options.stage_second)}: none, or another than stage_first, "
            f"which is {shown(options.stage_first)}"
        )
    if options.stage_first != "none" and options.levels < 6:
        raise InputError(f"levels {options.levels}: 6 or more with stage_first")


_FLUID_ONLY = (
    *("level_order", "promote_interval_s", "stage_first", "deadline_less", "karuna_margin"),
    *("coflow_weight", "class_weight"),
)


def _chunks(options: Options) -> None:
    """The senders that ship have no rules but csrc/core's."""
    if not options.enforcement.startswith("chunks"):
        return
    if options.policy not in CHUNKS_POLICIES:
        raise InputError(
            f"policy {shown(options.policy)}: with enforcement chunks one that csrc/core has: "
            f"{', '.join(CHUNKS_POLICIES)}"
        )
    for name in ("hopeless", "shed"):
        if getattr(options, name) is not None and options.policy != "mfs":
            raise InputError(
                f"{name} {getattr(options, name)}: None with enforcement chunks and policy "
                f"{options.policy}; only mfs has that rule in csrc/core"
            )
    for name in _FLUID_ONLY:
        if getattr(options, name) != getattr(DEFAULT, name):
            raise InputError(
                f"{name} {shown(getattr(options, name))}: {shown(getattr(DEFAULT, name))} with "
                "enforcement chunks"
            )


def _numbers(source: Cluster | Model | Options) -> None:
    for field in dataclasses.fields(source):
        value: Any = getattr(source, field.name)
        if value is None or field.type not in ("int", "int | None", "float"):
            continue
        kinds = (int, float, np.number) if field.type == "float" else (int, np.integer)
        if isinstance(value, bool) or not isinstance(value, kinds):
            words = "a number" if field.type == "float" else "a whole number"
            raise InputError(f"{field.name} {shown(value)}: {words}")
        if field.name in _POSITIVE and not 0 < value < math.inf:
            raise InputError(f"{field.name} {shown(value)}: more than 0")
        if field.type != "float" and value > MOST_WHOLE:
            raise InputError(f"{field.name} {shown(value)}: at most {MOST_WHOLE}")
        if not 0 <= value < math.inf or value > 1e300:
            raise InputError(f"{field.name} {shown(value)}: 0 or more")


def _requests(requests: Requests) -> None:
    count = np.size(requests.arrival_s)
    for field in dataclasses.fields(requests):
        values = getattr(requests, field.name)
        if values is None and field.default is None:
            continue
        try:
            numbers = np.asarray(values)
            np.asarray(values, dtype=np.float64 if field.name in _FLOATS else np.int64)
        except (OverflowError, TypeError, ValueError):
            raise InputError(f"requests: {field.name} {shown(values)}: numbers") from None
        if numbers.shape != (count,):
            raise InputError(f"requests: {field.name} has shape {numbers.shape}, not ({count},)")
        if numbers.dtype.kind not in "iuf":
            raise InputError(f"requests: {field.name} {shown(values)}: numbers")
    if count == 0:
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
    if requests.slo_class is not None:
        kinds = np.asarray(requests.slo_class)
        if not np.all((kinds >= 0) & (kinds < MOST_SLO_CLASSES)):
            raise InputError(f"slo_class: from 0 to {MOST_SLO_CLASSES - 1}")
    if requests.store_draw is not None:
        draw = np.asarray(requests.store_draw)
        if not np.all((draw >= 0) & (draw < 1)):
            raise InputError("store_draw: from 0 to 1, less than 1")
