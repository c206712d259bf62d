# SPDX-License-Identifier: Apache-2.0
"""Plots: attainment over load, TTFT, earliness, collective completion, utilisation.

matplotlib is imported when a plot is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import output_file
from .point import Run
from .report import by, mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {
    "mfs": "#c2352b",
    "mfs_paper": "#e58a2f",
    "fair": "#888888",
    "fifo": "#b8860b",
    "karuna": "#2a7fb8",
    "edf": "#4a7a4a",
    "srpt": "#7d5ba6",
    "inf": "#000000",
}
_OTHERS = ("#17a2a2", "#8c564b", "#d277b5", "#9aa83a", "#5b6bbf", "#3b3b6d", "#c7a252")


def color(policy: str) -> str:
    bare = policy.removesuffix("+h").removesuffix("-h")
    if bare in COLORS:
        return COLORS[bare]
    return _OTHERS[sum(policy.encode()) % len(_OTHERS)]


def dashes(policy: str) -> str:
    return "--" if policy.endswith("+h") else ":" if policy.endswith("-h") else "-"


def _figure(columns: int, rows: int = 1, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.6 * columns, height * rows), squeeze=False
    )
    for one in axes.flat:
        one.grid(alpha=0.3)
    return figure, list(axes.flat)


def _save(figure: Figure, path: Path, title: str) -> None:
    from matplotlib import pyplot

    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    output_file.write_picture(path, figure, dpi=80)
    pyplot.close(figure)


def _cases(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[tuple[Any, ...], list[Mapping[str, Any]]], dict[tuple[Any, ...], str]]:
    """Rows by case, and of each what differs between them."""
    keys = ("cluster", "model", "workload", "slo", "enforcement")
    cases = by(rows, *keys)
    differs = [at for at in range(len(keys)) if len({case[at] for case in cases}) > 1]
    titles = {
        case: ", ".join(case[at].rpartition("/")[2] for at in differs if case[at]) for case in cases
    }
    return cases, titles


def pareto(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Attained over the mean and over the p99 of TTFT / SLO, a row a case: a policy goes down and
    to the right as its load grows, and who is above and to the left is better."""
    rows = [{**row, "load": round(float(row["load"]), 4)} for row in rows]
    pictures, titles = _cases(rows)
    figure, axes = _figure(2, len(pictures), 3.3)
    from matplotlib import ticker

    for at, (case, group) in enumerate(pictures.items()):
        for axis, name in zip(axes[2 * at : 2 * at + 2], ("mean", "p99"), strict=True):
            for (policy,), points in by(group, "policy").items():
                loads = by(points, "load")
                order = [loads[load] for load in sorted(loads)]
                x = [mean(one, f"ttft_slos_{name}").mean for one in order]
                y = [mean(one, "attainment").mean for one in order]
                axis.plot(x, y, dashes(policy), color=color(policy), label=policy, marker=".")
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.xaxis.set_minor_formatter(ticker.NullFormatter())
            axis.set_ylim(0, 1.02)
            axis.set_title(titles[case], fontsize=9)
            axis.set_xlabel(f"TTFT / SLO, {name}")
            axis.set_ylabel("SLO attainment")
    axes[0].legend(fontsize=7, loc="lower left")
    _save(figure, path, title)


def attainment(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Over load, a picture a case; bands: 95 % intervals over seeds. In the titles stands what
    differs between them."""
    rows = [{**row, "load": round(float(row["load"]), 4)} for row in rows]
    pictures, titles = _cases(rows)
    columns = 2 if len(pictures) in (2, 4) else min(3, len(pictures))
    figure, axes = _figure(columns, -(-len(pictures) // columns), 3.3)
    for axis, (case, group) in zip(axes, pictures.items(), strict=False):
        for (policy,), points in by(group, "policy").items():
            loads = by(points, "load")
            order = sorted(loads)
            means = [mean(loads[load], "attainment") for load in order]
            x = [load[0] for load in order]
            y = np.array([one.mean for one in means])
            half = np.nan_to_num([one.half for one in means])
            axis.plot(x, y, dashes(policy), color=color(policy), label=policy, marker=".")
            axis.fill_between(x, y - half, y + half, color=color(policy), alpha=0.12, linewidth=0)
        axis.axhline(0.9, color="black", linewidth=0.6, linestyle=":")
        axis.set_ylim(0, 1.02)
        axis.set_title(titles[case], fontsize=9)
        axis.set_xlabel("load")
        axis.set_ylabel("SLO attainment")
    for axis in axes[len(pictures) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7, loc="lower left")
    _save(figure, path, title)


def _steps(axis: Axes, values: NDArray[np.float64], policy: str) -> None:
    ordered = np.sort(values)
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    axis.step(ordered, shares, dashes(policy), where="post", color=color(policy), label=policy)


def distributions(runs: Sequence[Run], path: Path, title: str) -> None:
    """TTFT over its target, earliness, mean collective, and utilisation of ports."""
    groups: dict[str, list[Run]] = {}
    for one in runs:
        groups.setdefault(one.point.name, []).append(one)
    figure, (ttft, early, collective, ports) = _figure(2, 2, 3.3)
    for place, (policy, members) in enumerate(groups.items()):
        _steps(ttft, np.concatenate([one.ttft_s / one.slo_s for one in members]), policy)
        _steps(early, np.concatenate([one.earliness_s / one.slo_s for one in members]), policy)
        times = 1e3 * float(np.mean([one.result["collective_mean_s"] for one in members]))
        collective.bar(place, times, color=color(policy), alpha=0.5 if "+h" in policy else 1.0)
        _steps(ports, np.concatenate([one.utilisation for one in members]), policy)
    ttft.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    ttft.set_xlim(0, 4)
    ttft.set_xlabel("TTFT / its target")
    ttft.set_ylabel("requests")
    ttft.legend(fontsize=7, loc="lower right")
    early.set_xlim(-1, 1)
    early.set_xlabel("earliness / target (left of 0: late)")
    collective.set_xticks(range(len(groups)), list(groups), rotation=60, fontsize=7)
    collective.set_ylabel("collective of a group, mean, ms")
    ports.set_xlim(0, 1)
    ports.set_xlabel("utilisation of a port")
    ports.set_ylabel("ports")
    _save(figure, path, title)
