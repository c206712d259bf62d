# SPDX-License-Identifier: Apache-2.0
"""What the vLLM demo shows: a row for each policy and SLO class, a plot, JSON."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import output_file
from .replay import Done, Run

if TYPE_CHECKING:
    from ...terminal import Table

COLORS = {"stock": "#444444", "off": "#888888", "mfs": "#c2352b"}


def classes_of(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(one.job.slo.name for run in runs for one in run.done))


def policies_of(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(run.policy for run in runs))


def of_class(run: Run, name: str) -> list[Done]:
    return [one for one in run.done if one.job.slo.name == name]


def attainment(done: list[Done]) -> float:
    """Share of the requests whose first token came within their class's TTFT."""
    return sum(one.ttft_s <= one.job.slo.ttft_s for one in done) / len(done) if done else math.nan


def mismatched(done: list[Done], expected: dict[str, str]) -> int:
    """Requests whose output is not that of the aggregated run; failed ones count."""
    return sum(bool(one.error) or one.text != expected[one.job.prompt] for one in done)


def record(policy: str, name: str, runs: list[Run], expected: dict[str, str]) -> dict[str, Any]:
    """One policy and class over all its runs."""
    mine = [run for run in runs if run.policy == policy]
    done = [one for run in mine for one in of_class(run, name)]
    times = [one.ttft_s for one in done if math.isfinite(one.ttft_s)]
    return {
        "policy": policy,
        "slo_class": name,
        "attainment": attainment(done),
        "attainment_by_run": [attainment(of_class(run, name)) for run in mine],
        "ttft_mean_s": statistics.fmean(times) if times else None,
        "ttft_p50_s": float(np.percentile(times, 50)) if times else None,
        "ttft_p99_s": float(np.percentile(times, 99)) if times else None,
        "slo_ttft_s": done[0].job.slo.ttft_s,
        "requests": len(done),
        "failed": sum(bool(one.error) for one in done),
        "mismatched_outputs": mismatched(done, expected),
    }


def records(runs: list[Run], expected: dict[str, str]) -> list[dict[str, Any]]:
    return [
        record(policy, name, runs, expected)
        for name in classes_of(runs)
        for policy in policies_of(runs)
    ]


def costs(runs: list[Run]) -> list[dict[str, Any]]:
    """What each run took: time, and processor time of each server."""
    return [
        {"policy": run.policy, "seed": run.seed, "seconds": run.seconds, "cpu_s": run.cpu_s}
        for run in runs
    ]


def table(rows: list[dict[str, Any]]) -> Table:
    from ...terminal import Column, Table

    result = Table(
        Column("\nclass", left=True),
        Column("\nsystem", left=True),
        *(Column(one) for one in ("wanted\ns", "in time\n%")),
        Column("each run\n%", 4),
        Column("TTFT s\nmean"),
        Column("\np50", 3),
        Column("\np99"),
        Column("requests\n", 1),
        Column("other\noutputs", 2),
    )
    for row in rows:
        each = [100 * one for one in row["attainment_by_run"]]
        times = [row[key] for key in ("ttft_mean_s", "ttft_p50_s", "ttft_p99_s")]
        result.add_row(
            row["slo_class"],
            row["policy"],
            f"{row['slo_ttft_s']:.2f}",
            f"{100 * row['attainment']:.0f}",
            f"{min(each):.0f}–{max(each):.0f}",
            *(f"{one:.2f}" if one is not None else "-" for one in times),
            str(row["requests"]),
            str(row["mismatched_outputs"]),
        )
    return result


def plot(runs: list[Run], path: Path, title: str) -> None:
    """Distribution of TTFT over the TTFT wanted, a picture for each class."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = classes_of(runs)
    figure, axes = pyplot.subplots(1, len(names), figsize=(5.5 * len(names), 4.2), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for policy in policies_of(runs):
            done = [one for run in runs if run.policy == policy for one in of_class(run, name)]
            reached = np.sort([one.ttft_s / one.job.slo.ttft_s for one in done])
            axis.step(
                reached,
                100 * np.arange(1, len(reached) + 1) / len(reached),
                where="post",
                color=COLORS.get(policy, "#4a7a4a"),
                label=f"{policy}: {100 * attainment(done):.0f} % in time",
                linewidth=1.8,
            )
        axis.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        axis.set_xlim(0, 4)
        axis.set_ylim(0, 100)
        wanted = next(run for run in runs).done
        slo = next(one.job.slo for one in wanted if one.job.slo.name == name)
        axis.set_title(f"{name}: a first token within {slo.ttft_s:g} s", fontsize=10)
        axis.set_xlabel("TTFT / TTFT wanted")
        axis.set_ylabel("requests, %")
        axis.legend(loc="lower right")
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    output_file.write_picture(path, figure, dpi=110)
    pyplot.close(figure)
