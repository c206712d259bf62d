# SPDX-License-Identifier: Apache-2.0
"""Intervals against published quantiles, and goodput on curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mfs_transport.sim import statistics


def test_interval__by_hand():
    # mean 3, s = sqrt(2.5), n = 5: 2.7764 * sqrt(2.5 / 5) = 1.9632
    found = statistics.interval([1, 2, 3, 4, 5])
    assert (found.mean, found.count) == (3.0, 5)
    assert found.half == pytest.approx(1.9632, abs=1e-4)
    assert f"{found:.2f}" == "3.00 ± 1.96"


def test_interval__one_value_or_none():
    assert f"{statistics.interval([2.0]):.1f}" == "2.0"
    assert math.isnan(statistics.interval([math.nan]).mean)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.706), (9, 2.262), (40, 2.021), (120, 1.980)]
)
def test_t95(degrees: int, expected: float):
    assert statistics.t95(degrees) == pytest.approx(expected, abs=2e-3)


def test_interval__covers_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        found = statistics.interval(draw.normal(5.0, 2.0, 10).tolist())
        hits += found.low <= 5.0 <= found.high
    assert 0.93 < hits / 2000 < 0.97


def test_paired__is_over_common_seeds():
    found = statistics.paired({1: 5.0, 2: 7.0, 3: 100.0}, {1: 4.0, 2: 6.0, 9: 0.0})
    assert (found.mean, found.half, found.count) == (1.0, 0.0, 2)


@pytest.mark.parametrize(
    ("attained", "expected"),
    [
        ([1.0, 0.95, 0.85, 0.5], 2.5),
        ([1.0, 0.89, 0.95, 0.85], 3.5),  # a dip from chance does not end it
        ([1.0, 1.0, 1.0, 1.0], 4.0),
        ([0.8, 0.7, 0.6, 0.5], None),
        ([0.9, 0.0, 0.0, 0.0], 1.0),
    ],
)
def test_crossing(attained: list[float], expected: float | None):
    found = statistics.crossing([1, 2, 3, 4], attained)
    assert found == (None if expected is None else pytest.approx(expected))
    shuffled = [3, 0, 2, 1]
    again = statistics.crossing([1 + i for i in shuffled], [attained[i] for i in shuffled])
    assert again == found


def test_bisect__from_a_bad_guess():
    asked = []

    def attained(rate: float) -> float:
        asked.append(rate)
        return 1 / (1 + (rate / 50) ** 4)

    found = statistics.bisect(attained, 1.0, 2.0, tolerance=0.001)
    assert found == pytest.approx(50 * (1 / 9) ** 0.25, rel=0.001)
    assert len(asked) < 40
