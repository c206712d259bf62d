# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: a table, a plot, JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import output_file
from .outcome import Outcome

if TYPE_CHECKING:
    from ..terminal import Table

COLORS = {"off": "#888888", "fifo": "#b8860b", "edf": "#2a7fb8", "mfs": "#c2352b"}


def by_policy(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.policy, []).append(one)
    return groups


def ratios(outcomes: list[Outcome], policy: str) -> list[float]:
    """Attainment over that of `off`, seed by seed; seeds on which `off` has 0 are left out."""
    bases = {one.seed: one.attainment for one in outcomes if one.policy == "off"}
    return [
        one.attainment / bases[one.seed]
        for one in outcomes
        if one.policy == policy and bases.get(one.seed, 0.0) > 0.0
    ]


def spread(values: list[float], middle: str, ends: str) -> str:
    """Median (least–most)."""
    if not values:
        return "-"
    median = format(statistics.median(values), middle)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{ends}}–{max(values):{ends}})"


def table(outcomes: list[Outcome]) -> Table:
    """Medians of the seeds, with least and most where they matter. Fits 80 columns."""
    from ..terminal import Column, Table

    result = Table(
        Column("policy\n", left=True),
        *(Column(one) for one in ("attained\n%", "times off\n", "TTFT s\nmean")),
        Column("\np50", 3),
        *(Column(one) for one in ("\np99", "goodput\nMB/s")),
        Column("moved\nMB", 1),
        Column("time\ns", 2),
    )
    for policy, runs in by_policy(outcomes).items():
        result.add_row(
            policy,
            spread([100 * one.attainment for one in runs], ".0f", ".0f"),
            spread(ratios(outcomes, policy), ".2f", ".1f"),
            f"{statistics.median(one.ttft_mean_s for one in runs):.2f}",
            f"{statistics.median(one.ttft_p50_s for one in runs):.2f}",
            f"{statistics.median(one.ttft_p99_s for one in runs):.2f}",
            f"{statistics.median(one.goodput_Bps for one in runs) / 1e6:.1f}",
            f"{sum(one.bytes for one in runs) / 1e6:.0f}",
            f"{sum(one.seconds for one in runs):.1f}",
        )
    return result


def faults(outcomes: list[Outcome]) -> list[str]:
    """What must not be: wrong checksums, bytes that differ between policies, faults."""
    found = []
    for one in outcomes:
        where = f"policy {one.policy}, seed {one.seed}"
        if one.mismatches:
            found.append(f"{where}: {one.mismatches} transfers have a wrong checksum")
        if one.counters.get("faults"):
            found.append(f"{where}: {one.counters['faults']} internal faults were passed through")
    for seed in {one.seed for one in outcomes}:
        if len({one.bytes for one in outcomes if one.seed == seed}) > 1:
            found.append(f"seed {seed}: the policies moved different numbers of bytes")
    return found


def records(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    return [asdict(one) for one in outcomes]


def plot(outcomes: list[Outcome], path: Path, title: str) -> None:
    """Attainment by policy and seed; distribution of TTFT over its target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = by_policy(outcomes)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4), width_ratios=(1, 1.5))
    for place, (policy, runs) in enumerate(groups.items()):
        color = COLORS.get(policy, "#4a7a4a")
        values = [100 * one.attainment for one in runs]
        middle = statistics.median(values)
        left.bar(place, middle, color=color, width=0.62, zorder=2)
        left.text(place, 2, f"{middle:.0f}", ha="center", color="white", zorder=4)
        left.scatter([place] * len(values), values, color="black", s=14, zorder=3)
        reached = np.sort(np.concatenate([np.array(o.ttft_s) / np.array(o.slo_s) for o in runs]))
        right.step(
            reached,
            100 * np.arange(1, len(reached) + 1) / len(reached),
            color=color,
            label=policy,
            where="post",
            linewidth=1.8,
        )
    left.set_xticks(range(len(groups)), list(groups))
    left.set_ylim(0, 100)
    left.set_ylabel("requests within their TTFT target, %")
    left.set_title("median of seeds; dots: each seed", fontsize=10)
    left.grid(axis="y", alpha=0.3, zorder=0)
    right.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    right.set_xlim(0, 4)
    right.set_ylim(0, 100)
    right.set_xlabel("TTFT / its target")
    right.set_ylabel("requests, %")
    right.set_title("all requests of all seeds", fontsize=10)
    right.legend(loc="lower right")
    right.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    output_file.write_picture(path, figure, dpi=110)
    pyplot.close(figure)
