# SPDX-License-Identifier: Apache-2.0
"""Clusters as small TOML files: hosts, links, GPUs. Several are shipped (clusters/).

    about = "what it stands for"
    units = 8            # prefill units
    unit_hosts = 2       # m, hosts of a unit
    decode_hosts = 16
    gpu = "a100"         # a name of models.GPUS
    gpus_per_host = 8
    link_Gbps = 200      # of one NIC, each direction
    models = ["dbrx"]    # what it is meant for; the first is the default

and, where the defaults do not fit: store_hosts, nics_per_host, node_hosts, pod_hosts,
oversubscription, zone_hosts, zone_oversubscription, spread_hosts, token_budget, groups, across.
Any of them can be set on the command line: --set link_Gbps=100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import input_file
from ..native import InputError, shown
from . import engine, models, workload

SHIPPED = Path(__file__).parent / "clusters"

# name: (default or None: must be given, least, most)
_NUMBERS: dict[str, tuple[float | None, float, float]] = {
    "units": (None, 1, 100_000),
    "unit_hosts": (1, 1, 64),
    "decode_hosts": (None, 0, 100_000),
    "store_hosts": (0, 0, 100_000),
    "gpus_per_host": (8, 1, 64),
    "nics_per_host": (1, 1, 64),
    "link_Gbps": (200, 1e-3, 1e6),
    "pod_hosts": (0, 0, 100_000),
    "oversubscription": (1, 1, 1000),
    "node_hosts": (1, 1, 100_000),
    "zone_hosts": (0, 0, 100_000),
    "zone_oversubscription": (1, 1, 1000),
    "spread_hosts": (0, 0, 100_000),
    "token_budget": (8192, 1, 10_000_000),
    "groups": (8, 1, 1000),
}
_FRACTIONS = ("link_Gbps", "oversubscription", "zone_oversubscription")
_WORDS = {"about": "", "gpu": "a100", "across": "auto"}
SAMPLE = 4096  # requests that stand for a workload when its capacity is worked out


@dataclass(frozen=True)
class Setting:
    """A cluster with its GPUs: makes engine.Cluster, and engine.Model by a model's name."""

    name: str
    about: str
    cluster: engine.Cluster
    gpu: str
    gpus_per_host: int
    groups: int
    across: str
    models: tuple[str, ...]

    def model(self, name: str) -> engine.Model:
        """The model on a unit of this cluster."""
        ranks = self.cluster.unit_hosts * self.gpus_per_host
        groups = min(self.groups, models.find(name).layers)
        hosts = self.cluster.unit_hosts
        return models.unit_model(
            name, self.gpu, ranks, groups=groups, hosts=hosts, across=self.across
        )

    def capacity(self, model: str, name: str, seed: int = 0) -> float:
        """Requests a second at which units or ports, whichever come first, are busy all the time:
        load 1. Units: one request a batch on an idle network (batches serve somewhat more,
        contention less). Ports: the mean of all of a kind."""
        one, found = self.model(model), workload.rows(name, SAMPLE, seed)
        new = found.tokens - found.prefix
        pairs = zip(new, found.prefix, strict=True)
        busy_s = float(np.mean([self.service_s(one, *pair) for pair in pairs]))
        return min(self.cluster.units / busy_s, self._port_capacity(one, found))

    def _port_capacity(self, model: engine.Model, found: workload.Rows) -> float:
        """Requests a second that the busiest kind of port carries."""
        cluster = self.cluster
        kv = model.kv_bytes_per_token_layer * model.layers
        deliver, fetch = kv * float(found.tokens.mean()), kv * float(found.prefix.mean())
        if cluster.decode_hosts == 0:
            deliver = 0.0
        new = float((found.tokens - found.prefix).mean())
        sent = engine.collective_bytes(model, 1, cluster.unit_hosts) * new * model.groups
        exchange = sent * cluster.unit_hosts
        prefill = cluster.units * cluster.unit_hosts
        stores = cluster.hosts - cluster.unit_hosts  # where the KV of a unit's requests may lie
        stored = fetch * (prefill - cluster.unit_hosts) / stores
        port = cluster.link_Bps * cluster.nics_per_host
        return port / max(
            (exchange + deliver + stored) / prefill,
            (exchange + fetch) / prefill,
            deliver / max(1, cluster.decode_hosts),
            fetch / stores,
        )

    def service_s(self, model: engine.Model, new: int, reused: int) -> float:
        """Time for which a request alone in its batch has a unit, on an idle network."""
        compute = engine.compute_s(model, np.array([new]), np.array([reused]))
        sent = engine.collective_bytes(model, int(new), self.cluster.unit_hosts)
        port = self.cluster.link_Bps * self.cluster.nics_per_host
        return model.groups * (compute + sent / port)


def names() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(name: str, changes: Mapping[str, Any] | None = None) -> Setting:
    """A shipped cluster by its name, or a file by its path, with some keys changed."""
    if not isinstance(name, str) or "\0" in name:
        raise InputError(f"cluster {shown(name)}: one of {', '.join(names())}, or a TOML file")
    path = SHIPPED / f"{name}.toml"
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
    elif name not in names():
        raise InputError(f"cluster {shown(name)}: one of {', '.join(names())}, or a TOML file")
    table = input_file.toml(path, f"cluster {path}")
    return make(path.stem, {**table, **(changes or {})})


def _number(where: str, table: Mapping[str, Any], name: str) -> float:
    default, least, most = _NUMBERS[name]
    value = table.get(name, default)
    if value is None:
        raise InputError(f"{where}: {name} is missing")
    whole = name not in _FRACTIONS
    kinds = int if whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise InputError(f"{where}: {name} {shown(value)}: {what} from {least:g} to {most:g}")
    return value


def make(name: str, table: Mapping[str, Any]) -> Setting:
    """From a table as in a file; InputError names the key that does not fit."""
    where = f"cluster {name}"
    known = {*_NUMBERS, *_WORDS, "models"}
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}; there are {', '.join(sorted(known))}")
    numbers = {key: _number(where, table, key) for key in _NUMBERS}
    words = {key: table.get(key, default) for key, default in _WORDS.items()}
    for key, value in words.items():
        if not isinstance(value, str):
            raise InputError(f"{where}: {key} {shown(value)}: a text is expected")
    listed = table.get("models", list(models.MODELS))
    if not isinstance(listed, list | tuple) or not listed:
        raise InputError(f"{where}: models {shown(listed)}: a list of names is expected")
    for one in listed:
        models.find(str(one))
    models.gpu_flops(words["gpu"])
    whole = {key: int(value) for key, value in numbers.items() if key not in _FRACTIONS}
    cluster = engine.Cluster(
        units=whole["units"],
        unit_hosts=whole["unit_hosts"],
        decode_hosts=whole["decode_hosts"],
        store_hosts=whole["store_hosts"],
        nics_per_host=whole["nics_per_host"],
        link_Bps=numbers["link_Gbps"] * 1e9 / 8,
        pod_hosts=whole["pod_hosts"],
        oversubscription=float(numbers["oversubscription"]),
        node_hosts=whole["node_hosts"],
        zone_hosts=whole["zone_hosts"],
        zone_oversubscription=float(numbers["zone_oversubscription"]),
        spread_hosts=whole["spread_hosts"],
        token_budget=whole["token_budget"],
    )
    return Setting(
        name=name,
        about=words["about"],
        cluster=cluster,
        gpu=words["gpu"],
        gpus_per_host=whole["gpus_per_host"],
        groups=whole["groups"],
        across=words["across"],
        models=tuple(str(one) for one in listed),
    )
