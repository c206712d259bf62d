# SPDX-License-Identifier: Apache-2.0
"""Pictures of `mfs testbed compare`. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import output_file
from ..sim.plots import color
from ..sim.report import by, mean
from .results import valid

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Attainment over the rate, with what the simulator predicts (dashed); at the highest rate TTFT
    and earliness of requests over their targets, and collectives; the busiest port of one run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = valid(rows)
    figure, axes = pyplot.subplots(3, 2, figsize=(9.2, 9.6))
    (over, ttft), (early, collective), (port, unused) = axes
    unused.set_visible(False)
    most = max((row["rate"] for row in rows), default=0.0)
    for place, ((policy,), group) in enumerate(by(rows, "policy").items()):
        look = {"color": color(policy)}
        rates = by(group, "rate")
        x = sorted(rate for (rate,) in rates)
        for field, style in (("attainment", "-"), ("predicted_attainment", "--")):
            means = [mean(rates[(rate,)], field) for rate in x]
            label = policy if field == "attainment" else None
            over.plot(x, [one.mean for one in means], style, marker=".", label=label, **look)
        last = [row for row in group if row["rate"] == most]
        if not last:
            continue
        line = last[0].get("port_line", [])  # of the first seed
        port.plot([at for at, _ in line], [share for _, share in line], linewidth=0.8, **look)
        slo = np.concatenate([row["slo_s"] for row in last])
        reached = np.concatenate([row["ttft_s"] for row in last]) / slo
        shares = np.arange(1, len(reached) + 1) / len(reached)
        ttft.step(np.sort(reached), shares, where="post", **look)
        early.step(np.sort(1 - reached), shares, where="post", **look)
        for field, left, alpha in (("", -0.2, 1.0), ("predicted_", 0.2, 0.4)):
            height = 1e3 * mean(last, f"{field}collective_mean_s").mean
            collective.bar(place + left, height, width=0.4, alpha=alpha, **look)
    over.set_ylim(0, 1.02)
    over.set_xlabel("requests/s (dashed: simulated)")
    over.set_ylabel("SLO attainment")
    if rows:
        over.legend(fontsize=7, loc="lower left")
    ttft.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    ttft.set_xlim(0, 4)
    ttft.set_xlabel(f"TTFT / its target, at {most:g} requests/s")
    ttft.set_ylabel("requests")
    early.set_xlim(-1, 1)
    early.set_xlabel("earliness / target (left of 0: late)")
    names = [policy for (policy,) in by(rows, "policy")]
    collective.set_xticks(range(len(names)), names, rotation=60, fontsize=7)
    collective.set_ylabel("collective of a group, ms (light: simulated)")
    port.set_ylim(0, 1.05)
    port.set_xlabel("s (as in the cluster), first seed")
    port.set_ylabel("link of the busiest prefill NIC")
    for axis in (over, ttft, early, collective, port):
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    output_file.write_picture(path, figure, dpi=80)
    pyplot.close(figure)
