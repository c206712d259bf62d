# SPDX-License-Identifier: Apache-2.0
"""Means over seeds with 95 % intervals, paired differences, and goodput.

The interval of n values is mean ± t s / sqrt(n), t of Student with n - 1 degrees of freedom.
Policies run on the same requests, so they are compared seed by seed: the interval of the
differences is narrower than that of the means.

Goodput: the highest rate at which at least 90 % are attained. Between two rates that were
run the attainment is taken as linear; `bisect` runs new ones until it is known closely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# two-sided 95 % of Student's t by degrees of freedom; 1/df between the last ones
_T95 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)
_T_INFINITE = 1.9600
TARGET = 0.9


@dataclass(frozen=True)
class Interval:
    """Mean and half width of its 95 % interval; the half width of one value is NaN."""

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def __format__(self, digits: str) -> str:
        if not math.isfinite(self.mean):
            return "-"
        if math.isnan(self.half):
            return format(self.mean, digits)
        return f"{self.mean:{digits}} ± {self.half:{digits}}"


def t95(degrees: int) -> float:
    """Quantile 0.975 of Student's t."""
    if degrees < 1:
        return math.nan
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    last = len(_T95)
    return _T_INFINITE + (_T95[-1] - _T_INFINITE) * last / degrees


def interval(values: Sequence[float]) -> Interval:
    """Of the values that are numbers; all NaN gives NaN."""
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    count = len(known)
    if count == 0:
        return Interval(math.nan, math.nan, 0)
    half = math.nan
    if count > 1:
        half = t95(count - 1) * float(known.std(ddof=1)) / math.sqrt(count)
    return Interval(float(known.mean()), half, count)


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Interval:
    """Ours minus theirs, over the seeds that both have."""
    return interval([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def crossing(
    rates: Sequence[float], attained: Sequence[float], target: float = TARGET
) -> float | None:
    """Highest rate with `attained` >= target, linear between points; None if there is none.

    The attainment is first made to fall (each value is lifted to the largest behind it), so
    that a dip from chance does not end the search. When all points attain it the highest
    rate is returned: the answer is at least that, and the caller has to run higher ones.
    """
    order = np.argsort(rates)
    x = np.asarray(rates, dtype=float)[order]
    y = np.asarray(attained, dtype=float)[order]
    y = np.maximum.accumulate(y[::-1])[::-1]
    over = np.flatnonzero(y >= target)
    if len(over) == 0:
        return None
    last = int(over[-1])
    if last + 1 == len(x):
        return float(x[last])
    share = (y[last] - target) / (y[last] - y[last + 1])
    return float(x[last] + share * (x[last + 1] - x[last]))


def bisect(
    attained: Callable[[float], float],
    low: float,
    high: float,
    target: float = TARGET,
    tolerance: float = 0.02,
) -> float:
    """Rate at which the attainment falls to `target`, within `tolerance` of it (relative).

    `low` and `high` are a first guess: they are moved apart by halves and doubles, twelve
    times at most, until the attainment is above at `low` and below at `high`.
    """
    for _ in range(12):
        if attained(low) >= target:
            break
        low, high = low / 2, low
    for _ in range(12):
        if attained(high) < target:
            break
        low, high = high, high * 2
    while high - low > tolerance * low:
        middle = (low + high) / 2
        if attained(middle) >= target:
            low = middle
        else:
            high = middle
    return (low + high) / 2
