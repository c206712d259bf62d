# SPDX-License-Identifier: Apache-2.0
"""Judges a sweep: where ours is at least as good as each other policy, and where it is not.

A case is a cluster, model, workload, SLO and enforcement; a point of it, one load. At each
point ours is set against every other policy, seed by seed:

    better   the 95 % interval of the differences lies above 0
    even     it holds 0, or the mean difference is less than one request in a thousand
    worse    it lies below 0

The same for the mean and the p99 of TTFT and of TTFT / SLO, where the difference is what ours saves
of theirs (0.1: ours takes a tenth less).

and over the loads of a case

    half     ours / fair at the load where fair attains half (linear between loads)
    best     the largest ours / fair of all loads
    goodput  highest rate with 90 % attained over that of another, mean over seeds

And of a sweep of variants the best of each policy: the one of highest score, the mean attainment
over all points. With and without the hopeless rule it is one policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..terminal import Column, Table, number
from . import report, statistics
from .point import Point, split_label
from .report import Row, by, mean
from .statistics import Interval

CASE = ("cluster", "model", "workload", "slo", "enforcement", "estimate_error")
CEILING = "inf"
NEGLIGIBLE = 1e-3
ATTAINED = "attainment"
MEASURES = {
    ATTAINED: "attained",
    "ttft_mean_s": "TTFT mean",
    "ttft_p99_s": "TTFT p99",
    "ttft_slos_mean": "TTFT / SLO mean",
    "ttft_slos_p99": "TTFT / SLO p99",
}
"""What is judged, and what it is called."""


@dataclass(frozen=True)
class Verdict:
    """Ours against one policy at one point."""

    case: tuple[Any, ...]
    load: float
    other: str
    ours: float
    theirs: float
    apart: Interval
    measure: str = ATTAINED

    @property
    def word(self) -> str:
        if abs(self.apart.mean) < NEGLIGIBLE or math.isnan(self.apart.half):
            return "even"
        if self.apart.low > 0:
            return "better"
        return "worse" if self.apart.high < 0 else "even"


@dataclass(frozen=True)
class Summary:
    """Of a case; NaN where it was not run or never happens."""

    case: tuple[Any, ...]
    half: float
    best: float
    best_load: float
    utilisation: float
    """Of the busiest kind of port, at our goodput."""
    goodput: dict[str, Interval]
    """Ours over that of each other policy."""


@dataclass(frozen=True)
class Best:
    """Of the variants of a policy."""

    policy: str
    untuned: float
    """Score of the policy as it is; NaN if it was not run."""
    name: str
    score: float
    variants: int


def bests(done: Iterable[tuple[Point, float]]) -> list[Best]:
    """From points with what they attained; each variant at the same ones."""
    scores: dict[str, dict[str, list[float]]] = {}
    for point, attained in done:
        named = scores.setdefault(split_label(point.policy)[0], {})
        named.setdefault(point.name, []).append(attained)
    found = []
    for policy, named in scores.items():
        means = {name: float(np.mean(values)) for name, values in named.items()}
        name = max(means, key=lambda one: means[one])
        found.append(Best(policy, means.get(policy, math.nan), name, means[name], len(means)))
    return found


def _load(row: Row) -> float:
    return round(float(row["load"]), 6)


def _apart(mine: list[Row], theirs: list[Row], measure: str) -> Interval:
    """Above 0: ours is better."""
    found = statistics.paired(report.seeds(mine, measure), report.seeds(theirs, measure))
    if measure == ATTAINED:
        return found
    saves = -1 / max(mean(theirs, measure).mean, 1e-9)
    return Interval(found.mean * saves, found.half * abs(saves), found.count)


def verdicts(
    rows: Iterable[Row], ours: str = "mfs", ceiling: str = CEILING, measure: str = ATTAINED
) -> list[Verdict]:
    """Each point against each other policy, the ceiling left out."""
    found = []
    for case, group in by(rows, *CASE).items():
        for load in sorted({_load(row) for row in group}):
            here = by((row for row in group if _load(row) == load), "policy")
            mine = here.pop((ours,), [])
            if not mine:
                continue
            for (other,), theirs in here.items():
                if other == ceiling:
                    continue
                means = mean(mine, measure).mean, mean(theirs, measure).mean
                apart = _apart(mine, theirs, measure)
                if apart.count > 0:
                    found.append(Verdict(case, load, other, *means, apart, measure))
    return found


def _curve(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    loads = sorted({_load(row) for row in rows})
    means = [mean([row for row in rows if _load(row) == load], "attainment").mean for load in loads]
    return loads, means


def summary(case: tuple[Any, ...], rows: Sequence[Row], ours: str = "mfs") -> Summary:
    """What the loads of one case say together."""
    policies = {policy: group for (policy,), group in by(rows, "policy").items()}
    half = best = best_load = math.nan
    if ours in policies and "fair" in policies:
        fair, mine = _curve(policies["fair"]), _curve(policies[ours])
        common = sorted(set(fair[0]) & set(mine[0]))
        ratios = {
            load: mine[1][mine[0].index(load)] / max(fair[1][fair[0].index(load)], 1e-3)
            for load in common
        }
        if ratios:
            best_load = max(ratios, key=lambda load: ratios[load])
            best = ratios[best_load]
        if min(fair[1]) < 0.5 < max(fair[1]):
            at = statistics.crossing(fair[0], fair[1], 0.5)
            if at is not None:
                half = float(np.interp(at, *mine)) / 0.5
    rates = report.goodputs(rows)
    utilisation, ratio = math.nan, {}
    if ours in rates:
        middle = statistics.interval(list(rates[ours].values())).mean
        near = min(policies[ours], key=lambda row: abs(float(row["rate"]) - middle))
        utilisation = float(near["utilisation"])
        for other, theirs in rates.items():
            pairs = [
                rates[ours][s] / theirs[s] for s in rates[ours].keys() & theirs.keys() if theirs[s]
            ]
            if other != ours:
                ratio[other] = statistics.interval(pairs)
    return Summary(case, half, best, best_load, utilisation, ratio)


def summaries(rows: Iterable[Row], ours: str = "mfs") -> list[Summary]:
    return [summary(case, group, ours) for case, group in by(rows, *CASE).items()]


def words(case: tuple[Any, ...]) -> str:
    cluster, model, work, slo, enforcement, error = case
    text = f"{cluster}, {model}, {work.rpartition('/')[2]}, {slo}, {enforcement}"
    return text + (f", ±{100 * error:.0f} %" if error else "")


def counts(found: Sequence[Verdict]) -> Table:
    """Better, even and worse, a line each other policy and what is judged."""
    words_column = Column("in", left=True)
    table = Table("against", words_column, "better", "even", "worse", "mean difference", "worst")
    for other, measure in dict.fromkeys((one.other, one.measure) for one in found):
        here = [one for one in found if (one.other, one.measure) == (other, measure)]
        table.add_row(
            other,
            MEASURES[measure],
            *(str(sum(one.word == word for one in here)) for word in ("better", "even", "worse")),
            f"{np.mean([one.apart.mean for one in here]):+.3f}",
            f"{min(one.apart.mean for one in here):+.3f}",
        )
    return table


def losses(found: Sequence[Verdict]) -> Table:
    """The points at which another policy is better, the largest loss first."""
    table = Table(
        Column("case", fold=True),
        *("load", "ours"),
        Column("other", left=True),
        Column("attains", 1),
        "difference",
    )
    lost = sorted((one for one in found if one.word == "worse"), key=lambda one: one.apart.mean)
    for one in lost:
        apart = f"{one.apart.mean:+.3f} ± {one.apart.half:.3f}"
        cells = (f"{one.load:.3g}", f"{one.ours:.3f}", one.other, f"{one.theirs:.3f}", apart)
        table.add_row(words(one.case), *cells)
    return table


def promises(found: Sequence[Summary], others: Sequence[str] = ("fair", "karuna")) -> Table:
    """A line a case: the ratios that an evaluation is judged by."""
    names = [*others, CEILING]
    table = Table(
        Column("case", fold=True),
        Column("at fair's half", 2),
        Column("at best", 1),
        *(f"goodput / {one}" for one in names),
        Column("ports", 0),
    )
    for one in found:
        cells = [f"{one.goodput[name]:.2f}" if name in one.goodput else "" for name in names]
        table.add_row(
            words(one.case),
            "" if math.isnan(one.half) else f"{one.half:.2f}",
            "" if math.isnan(one.best) else f"{one.best:.2f} at {one.best_load:.3g}",
            *cells,
            "" if math.isnan(one.utilisation) else f"{one.utilisation:.2f}",
        )
    return table


def tuned(found: Sequence[Best]) -> Table:
    """A line a policy: its best variant, and the score without and with it."""
    table = Table("policy", "variants", "as it is", "best", Column("variant", fold=True))
    for one in found:
        plain = "" if math.isnan(one.untuned) else f"{one.untuned:.3f}"
        table.add_row(one.policy, str(one.variants), plain, number(one.score, ".3f"), one.name)
    table.add_row("all", str(sum(one.variants for one in found)))
    return table
