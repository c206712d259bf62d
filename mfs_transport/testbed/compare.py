# SPDX-License-Identifier: Apache-2.0
"""Policies on the same requests: which runs are wanted, and what is kept of each.

A run is a point of the simulator (mfs_transport.sim.point) whose enforcement is `testbed`; what is
kept of it is what the simulator says of a point, in the same fields, and beside them how the run
went and what the simulator predicts of it:

    cpu_bound, cpu_busy, late        was a processor the limit (cpu.py)
    predicted_attainment, ...        the simulator's figures for the same requests
    bytes, mismatches                received; wrong ones
    ttft_s, slo_s                    of each measured request
    class_bytes                      with --classes: that left each queue of the hosts' ports
    port_line                        seconds, and the share of the busiest prefill NIC's link since
                                     the look before
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from ..sim.point import FIELDS, Point, Run
from ..sim.sweep import Store
from .choice import Choice
from .modelled import ENFORCEMENT, Modelled, Scale
from .outcome import Outcome, expected_bytes

PREDICTED = (
    *("attainment", "ttft_mean_s", "ttft_p50_s", "ttft_p99_s"),
    *("collective_mean_s", "earliness_mean_s", "shed"),
)


def wanted(
    base: Point,
    scale: Scale,
    policies: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    choices: Sequence[Choice] = (Choice(),),
) -> list[Point]:
    """In the order in which they are run: a seed under all policies with all choices of hosts,
    then the next one."""
    return [
        dataclasses.replace(
            base,
            policy=policy,
            label=choice.name(policy),
            rate=rate,
            seed=seed,
            enforcement=ENFORCEMENT,
            options=(*scale.options(), *choice.options()),
        )
        for rate in rates
        for seed in seeds
        for policy in policies
        for choice in choices
    ]


def kept(modelled: Modelled, outcome: Outcome, point: Point) -> Run:
    """What is kept of a run."""
    run = modelled.measure(outcome, point)
    said = modelled.predict()
    details = {
        **run.details,
        "cpu_busy": round(outcome.cpu_busy, 4),
        "cpu_own": round(outcome.cpu_own, 4),
        "late": round(outcome.late, 5),
        "cpu_bound": outcome.cpu_bound,
        **{f"predicted_{name}": said.result[name] for name in PREDICTED},
        "predicted_utilisation": said.details["utilisation"],
        "collectives": outcome.collectives,
        "time_scale": modelled.scale.time,
        "bytes": outcome.bytes,
        "bytes_expected": expected_bytes(modelled.setting, modelled.jobs),
        "mismatches": outcome.mismatches,
        "counters": outcome.counters,
        "choices": outcome.choices,
        "ttft_s": [round(float(value), 6) for value in run.ttft_s],
        "slo_s": [round(float(value), 6) for value in run.slo_s],
        "port_line": port_line(modelled, outcome),
    }
    if outcome.class_bytes:
        details["class_bytes"] = outcome.class_bytes
    return dataclasses.replace(run, details=details)


def port_line(modelled: Modelled, outcome: Outcome) -> list[tuple[float, float]]:
    """Seconds of the cluster, and how full the link was until then."""
    times, link_Bps = modelled.scale.time, modelled.setting.link_Bps
    found = []
    for (before_s, before), (at_s, sent) in itertools.pairwise(outcome.port_line):
        share = (sent - before) / max(1e-9, at_s - before_s) / link_Bps
        found.append((round(at_s / times, 4), round(share, 3)))
    return found


def faults(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What must not be: bytes that are lost, doubled or changed, and faults of ours."""
    found = []
    for row in rows:
        where = f"policy {row['policy']}, rate {row['rate']:g}, seed {row['seed']}"
        if row["mismatches"]:
            found.append(f"{where}: {row['mismatches']} transfers have wrong contents")
        if row["bytes"] != row["bytes_expected"]:
            found.append(f"{where}: {row['bytes']} bytes came, {row['bytes_expected']} were sent")
        if row["counters"].get("faults"):
            found.append(f"{where}: {row['counters']['faults']} internal faults")
    return found


RESULT_FIELDS = (*FIELDS, "cpu_bound", "predicted_attainment")


def parted(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows as they are written: `results` and, beside each, its `details`."""
    return {
        "results": [{name: row[name] for name in RESULT_FIELDS} for row in rows],
        "details": [{k: v for k, v in row.items() if k not in RESULT_FIELDS} for row in rows],
    }


def left(store: Store, wanted_points: Sequence[Point], again: bool) -> list[Point]:
    """Those that are to be run; `again`: also those of which a processor was the limit."""
    missing = {one.key() for one in store.missing(wanted_points)}
    return [
        one
        for one in wanted_points
        if one.key() in missing or (again and store.rows[one.key()]["details"]["cpu_bound"])
    ]
