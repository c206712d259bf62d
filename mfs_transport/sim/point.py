# SPDX-License-Identifier: Apache-2.0
"""One point of an evaluation: what is run, and what is measured of it.

A point is plain data (numbers and names), so it can be sent to another process or machine,
written to a file and recognised there. The policy's label says what the policy knows besides:

    karuna      as published
    karuna+h    and stage 3 of the requests that cannot make it goes last (the hopeless rule)
    mfs-h       without that rule

Measured are the requests behind the warm-up. TTFT is of all of them, `kept` of those that
were not given up, `slos` in units of each request's SLO. Earliness is deadline less first token,
mean of those in time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checked
from ..native import LIBRARY, InputError, shown
from . import engine, setting, slo, workload
from .check import check

FIELDS = (
    *("workload", "model", "rate", "policy", "seed", "attainment"),
    *("ttft_mean_s", "ttft_p50_s", "ttft_p99_s", "collective_mean_s", "earliness_mean_s"),
    *("shed", "events", "seconds"),
)
"""Of a result in --json FILE; everything else is in its `details`."""

OPTIONS = {one.name: one for one in dataclasses.fields(engine.Options)}
_LIKE: dict[str, Any] = {"shed": True, "patience": 20}
"""Of options that are None by default: a value of the kind that they may have."""
MOST_LOAD = 1e3
_OWN = ("policy", "hopeless", "enforcement", "estimate_error")


@dataclass(frozen=True)
class Point:
    """`changes` are of the cluster, `options` of engine.Options; both (name, value) pairs."""

    cluster: str = "small"
    model: str = ""
    workload: str = "conversation"
    policy: str = "mfs"
    seed: int = 0
    load: float | None = None
    rate: float | None = None
    slo: str = "3x"
    enforcement: str = "global"
    estimate_error: float = 0.0
    times: str = "poisson"
    warmup: int = 512
    measured: int = 1024
    label: str = ""
    """Stands for the policy in tables, when options make it another one."""
    changes: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.label or self.policy

    def key(self) -> str:
        """The same for the same run, whatever it is called."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k != "label"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Case:
    """A point made ready: what engine.simulate is given."""

    point: Point
    setting: setting.Setting
    model: engine.Model
    requests: engine.Requests
    options: engine.Options
    slo_s: NDArray[np.float64]
    measured: NDArray[np.bool_]
    rate: float
    load: float
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """What came out; arrays are of the measured requests."""

    point: Point  # as it was asked for: by it others find the run
    result: dict[str, Any]
    details: dict[str, Any]
    ttft_s: NDArray[np.float64]
    slo_s: NDArray[np.float64]
    earliness_s: NDArray[np.float64]
    utilisation: NDArray[np.float64]  # of each link


@lru_cache(maxsize=1)
def build() -> str:
    """Tells builds of the library apart: results of different ones do not mix unseen."""
    both = LIBRARY.read_bytes() + LIBRARY.with_name("libmfs_sim.so").read_bytes()
    return hashlib.sha256(both).hexdigest()[:12]


@lru_cache(maxsize=16)
def _setting(cluster: str, changes: tuple[tuple[str, Any], ...]) -> setting.Setting:
    return setting.read(cluster, dict(changes))


@lru_cache(maxsize=64)
def _capacity(cluster: str, changes: tuple[tuple[str, Any], ...], model: str, work: str) -> float:
    return _setting(cluster, changes).capacity(model, work)


@lru_cache(maxsize=16)
def _alone(
    cluster: str,
    changes: tuple[tuple[str, Any], ...],
    model: str,
    work: str,
    seed: int,
    count: int,
) -> NDArray[np.float64]:
    """TTFT of each request on the idle cluster."""
    one = _setting(cluster, changes)
    found, on = workload.rows(work, count, seed), one.model(model)
    pairs = zip(found.tokens, found.prefix, strict=True)
    return np.array([engine.closed_form_ttft_s(one.cluster, on, int(n), int(p)) for n, p in pairs])


def plain(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a file or a command line, each of a kind that can be compared and hashed."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found[name] = tuple(value) if isinstance(value, list) else value
        for one in found[name] if isinstance(value, list) else (value,):
            if not isinstance(one, str | int | float):
                what = f"{where}: {shown(name)} {shown(one)}"
                raise InputError(f"{what}: a number, a text or a truth value")
    return found


def frozen(where: str, table: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The same as a part of a Point: pairs in order of their names."""
    return tuple(sorted(plain(where, table).items(), key=lambda pair: pair[0]))


def split_label(policy: str) -> tuple[str, bool | None]:
    """("karuna", True) of "karuna+h"; InputError when there is no such policy."""
    rules = {"+h": True, "-h": False}
    if not isinstance(policy, str):
        raise InputError(f"policy {shown(policy)}: one of {', '.join(engine.POLICIES)}")
    bare = policy[:-2] if policy[-2:] in rules else policy
    if bare not in engine.POLICIES:
        raise InputError(
            f"policy {shown(policy)}: one of {', '.join(engine.POLICIES)}, with +h or -h"
        )
    return bare, rules.get(policy[-2:])


def make_options(point: Point) -> engine.Options:
    """engine.Options of a point; InputError names the option that does not fit."""
    policy, hopeless = split_label(point.policy)
    if point.enforcement not in engine.ENFORCEMENTS:
        raise InputError(
            f"enforcement {shown(point.enforcement)}: one of {', '.join(engine.ENFORCEMENTS)}"
        )
    given: dict[str, Any] = {}
    for name, value in point.options:
        if name in _OWN or name not in OPTIONS:
            raise InputError(
                f"option {shown(name)}: one of {', '.join(k for k in OPTIONS if k not in _OWN)}"
            )
        like = _LIKE.get(name, OPTIONS[name].default)
        fits = isinstance(value, type(like)) or isinstance(like, float)
        if isinstance(value, bool) != isinstance(like, bool) or not fits:
            raise InputError(f"option {name} {shown(value)}: like {like!r}")
        given[name] = value
    if not isinstance(point.estimate_error, Real) or not 0 <= point.estimate_error < 1:
        raise InputError(f"estimate_error {shown(point.estimate_error)}: from 0 to below 1")
    return engine.Options(
        policy=policy,
        hopeless=hopeless,
        enforcement=point.enforcement,
        estimate_error=(point.estimate_error, point.seed),
        **given,
    )


def make(point: Point) -> Case:
    """Work the point out; InputError for what does not fit."""
    for name in ("cluster", "model", "workload"):
        checked.one_of(getattr(point, name), str, name)
    one = _setting(point.cluster, point.changes)
    model = point.model or one.models[0]
    on = one.model(model)
    options = make_options(point)
    work = workload.check(point.workload)
    load = point.load
    if load is not None and not (isinstance(load, Real) and 1e-6 <= load <= MOST_LOAD):
        raise InputError(
            f"load {shown(point.load)}: of what units can do, from 1e-6 to {MOST_LOAD:g}"
        )
    capacity = _capacity(point.cluster, point.changes, model, work)
    if point.rate is not None and point.load is not None:
        raise InputError("rate and load: only one of them")
    rate = point.load * capacity if point.load is not None else point.rate
    found = workload.make(
        work,
        rate,
        point.seed,
        warmup=point.warmup,
        measured=point.measured,
        times=point.times,
    )
    count = point.warmup + point.measured
    if rate is None:
        rate = count / max(float(found.arrival_s[-1]), 1e-9)
    alone_s = _alone(point.cluster, point.changes, model, work, point.seed, count)
    slo_s, classes = slo.assign(point.slo, alone_s, point.seed)
    requests = engine.Requests(
        arrival_s=found.arrival_s,
        tokens=found.tokens,
        prefix=found.prefix,
        deadline_s=found.arrival_s + slo_s,
        slo_class=classes,
        store_draw=np.random.default_rng([point.seed, 4]).random(count),
    )
    check(one.cluster, on, requests, options)
    names = tuple(target.name for target in slo.parse(point.slo))
    return Case(
        dataclasses.replace(point, model=model),
        *(one, on, requests, options, slo_s, found.measured, rate, rate / capacity, names),
    )


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _port_groups(case: Case, utilisation: NDArray[np.float64]) -> dict[str, float]:
    """Mean utilisation of each kind of port."""
    one = case.setting.cluster
    nics = one.hosts * one.nics_per_host
    units = one.units * one.unit_hosts * one.nics_per_host
    decode = units + one.decode_hosts * one.nics_per_host
    parts = {
        "prefill_egress": utilisation[:units],
        "prefill_ingress": utilisation[nics : nics + units],
        "decode_egress": utilisation[units:decode],
        "decode_ingress": utilisation[nics + units : nics + decode],
    }
    return {
        f"utilisation_{name}": float(part.mean()) if len(part) else 0.0
        for name, part in parts.items()
    }


def measure(case: Case, outcome: engine.Outcome) -> Run:
    """The figures of a run."""
    of = case.measured
    ttft, slo_s, early = outcome.ttft_s[of], case.slo_s[of], outcome.earliness_s[of]
    in_time = ttft <= slo_s * (1 + 1e-12)
    kept = ~outcome.given_up[of]
    result = {
        "workload": case.point.workload,
        "model": case.point.model,
        "rate": case.rate,
        "policy": case.point.name,
        "seed": case.point.seed,
        "attainment": _share(in_time),
        "ttft_mean_s": float(ttft.mean()),
        "ttft_p50_s": float(np.quantile(ttft, 0.5)),
        "ttft_p99_s": float(np.quantile(ttft, 0.99)),
        "collective_mean_s": float(outcome.collective_mean_s),
        "earliness_mean_s": float(early[in_time].mean()) if in_time.any() else 0.0,
        "shed": int((~kept).sum()),
        "events": int(outcome.events),
        "seconds": float(outcome.seconds),
    }
    assert tuple(result) == FIELDS
    groups = _port_groups(case, outcome.port_utilisation)
    kinds = case.requests.slo_class
    assert kinds is not None
    details = {
        "cluster": case.point.cluster,
        "slo": case.point.slo,
        "enforcement": case.point.enforcement,
        "estimate_error": case.point.estimate_error,
        "changes": dict(case.point.changes),
        "options": dict(case.point.options),
        "load": round(case.load, 6),
        "requests": int(of.sum()),
        "flows": int(outcome.flows),
        "bytes_moved": float(outcome.bytes_moved),
        "told": int(outcome.told),
        "ttft_most_s": float(ttft.max()),
        "ttft_slos_mean": float((ttft / slo_s).mean()),
        "ttft_slos_p50": float(np.quantile(ttft / slo_s, 0.5)),
        "ttft_slos_p99": float(np.quantile(ttft / slo_s, 0.99)),
        "ttft_slos_most": float((ttft / slo_s).max()),
        "ttft_kept_mean_s": float(ttft[kept].mean()) if kept.any() else 0.0,
        "ttft_kept_p99_s": float(np.quantile(ttft[kept], 0.99)) if kept.any() else 0.0,
        "utilisation": max(groups.values()),
        "utilisation_most": float(outcome.port_utilisation.max()),
        **groups,
        "attainment_by_class": {
            name: _share(in_time[kinds[of] == at]) for at, name in enumerate(case.classes)
        },
    }
    return Run(case.point, result, details, ttft, slo_s, early, outcome.port_utilisation)


def run(point: Point, progress: Callable[[int, float], bool | None] | None = None) -> Run:
    """Simulate it."""
    case = make(point)
    outcome = engine.simulate(
        case.setting.cluster, case.model, case.requests, case.options, progress=progress
    )
    # the case's has the model that stands for none
    return dataclasses.replace(measure(case, outcome), point=point)


def parted(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows as they are written: `results` are those of FIELDS, `details` everything else."""
    return {
        "results": [{name: row[name] for name in FIELDS} for row in rows],
        "details": [{k: v for k, v in row.items() if k not in FIELDS} for row in rows],
    }
