# SPDX-License-Identifier: Apache-2.0
"""What bench/soak.py makes of its samples: does anything grow, and do the bytes add up?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mfs_transport import output_file

GROWTH_KIB_PER_H = 1024.0  # of a process's own memory, over the second half of the run
TRANSFER_BYTES_MAX = 4 << 20
SHORTEST_S = 600.0  # in less nothing can be said of growth
USES = ("alive", "processes", "ports", "senders", "requests")  # of a segment
Sample = dict[str, Any]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through these points by least squares."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def quarter(values: Sequence[Any], number: int) -> Sequence[Any]:
    """The values of the first (0) to the last (3) quarter of the run."""
    return values[len(values) * number // 4 : len(values) * (number + 1) // 4]


def grown(samples: list[Sample], seconds: float) -> list[str]:
    """What grows. The first half of the run is for warming up, so it is not looked at, but for
    its second quarter, which the last one is held against."""
    if seconds < SHORTEST_S:
        return []
    found = []
    for name in samples[-1]["processes"]:
        of = [one["processes"][name] for one in samples]
        half = len(samples) // 2
        rise = 3600 * slope(
            [(one["s"], it["own_KiB"]) for one, it in zip(samples, of, strict=True)][half:]
        )
        if rise > GROWTH_KIB_PER_H:
            found.append(f"{name}: its own memory grows by {rise:.0f} KiB an hour")
        before, last = (max(it["descriptors"] for it in quarter(of, q)) for q in (1, 3))
        if last > before:
            found.append(f"{name}: descriptors, {before} in the second quarter, {last} in the last")
    for use in USES:
        values = [one["segment"][use] for one in samples]
        before, last = (statistics.median(quarter(values, q)) for q in (1, 3))
        if last > 1.2 * before + 2:
            found.append(
                f"segment: {use}, {before:.0f} in the second quarter, {last:.0f} in the last"
            )
    return found


def left_behind(segment: dict[str, int]) -> list[str]:
    """What is in use of the segment when only the bench itself is attached."""
    wanted = {"alive": 1, "senders": 0, "requests": 0}
    return [
        f"segment at the end: {use} {segment[use]}, not {number}"
        for use, number in wanted.items()
        if segment[use] != number
    ]


def not_adding_up(totals: dict[str, int]) -> list[str]:
    found = []
    out = totals["verified_bytes"] + totals["failed_bytes"] + totals["wrong_bytes"]
    if totals["posted_bytes"] != out:
        found.append(f"bytes: {totals['posted_bytes']} in, {out} out or failed")
    if totals["wrong_bytes"]:
        found.append(f"bytes: {totals['wrong_bytes']} are wrong")
    return found


def counted_otherwise(use: dict[str, int], posted_bytes: int, kills: int) -> list[str]:
    """The segment's counters against the senders' own accounts. Who is killed may have counted a
    transfer that it has not posted any more."""
    counted = use["bytes"] + use["passed_bytes"]
    if 0 <= posted_bytes - counted <= kills * TRANSFER_BYTES_MAX:
        return []
    return [f"segment: its counters say {counted} bytes, the senders {posted_bytes}"]


def rows(samples: list[Sample]) -> list[dict[str, Any]]:
    """A row for each process that lives all the time."""
    half = len(samples) // 2
    found = []
    for name in samples[-1]["processes"]:
        of = [one["processes"][name] for one in samples]
        points = [(one["s"], it["own_KiB"]) for one, it in zip(samples, of, strict=True)][half:]
        found.append(
            {
                "process": name,
                "own_KiB_middle": of[half]["own_KiB"],
                "own_KiB_end": of[-1]["own_KiB"],
                "own_KiB_per_hour": 3600 * slope(points) if len(points) > 1 else 0.0,
                "rss_KiB_middle": of[half]["rss_KiB"],
                "rss_KiB_end": of[-1]["rss_KiB"],
                "descriptors_middle": of[half]["descriptors"],
                "descriptors_end": of[-1]["descriptors"],
                "cpu_s": of[-1]["cpu_s"],
            }
        )
    return found


def draw(document: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    samples = document["samples"]
    minutes = [one["s"] / 60 for one in samples]
    figure, axes = pyplot.subplots(2, 2, figsize=(9.2, 6.0), sharex=True)
    for name in samples[-1]["processes"]:
        of = [one["processes"][name] for one in samples]
        more = [(it["own_KiB"] - of[0]["own_KiB"]) / 1024 for it in of]
        axes[0, 0].plot(minutes, more, label=name, linewidth=1)
        axes[0, 1].plot(minutes, [it["descriptors"] for it in of], label=name, linewidth=1)
    for use in USES:
        axes[1, 0].plot(minutes, [one["segment"][use] for one in samples], label=use, linewidth=1)
    for word, label in (("verified_bytes", "verified"), ("failed_bytes", "failed: killed")):
        axes[1, 1].plot(minutes, [one["totals"][word] / 1e9 for one in samples], label=label)
    titles = (
        "own memory, MiB more than at the start",
        "descriptors",
        "in use of the segment",
        "bytes, GB",
    )
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0, 0].set_ylim(-0.5, max(2.0, axes[0, 0].get_ylim()[1]))
    for axis in axes.flat[1:]:
        axis.set_ylim(bottom=0)
    for axis in axes[1]:
        axis.set_xlabel("minutes")
    figure.suptitle(f"mixed traffic for {document['seconds'] / 3600:.2g} h", fontsize=10)
    figure.tight_layout()
    output_file.write_picture(path, figure, dpi=80)
    pyplot.close(figure)
