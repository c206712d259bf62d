# SPDX-License-Identifier: Apache-2.0
"""TTFT targets: factors, fixed ones, classes."""

from __future__ import annotations

import numpy as np
import pytest

from mfs_transport import InputError
from mfs_transport.sim import slo

ALONE = np.array([0.1, 0.4, 1.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3x", [0.3, 1.2, 3.0]),
        ("0.5s", [0.5] * 3),
        ("250ms", [0.25] * 3),
        ("1.5x", [0.15, 0.6, 1.5]),
    ],
)
def test_assign__one_target(text: str, expected: list[float]):
    found, classes = slo.assign(text, ALONE, seed=0)
    assert found == pytest.approx(expected)
    assert not classes.any()


def test_assign__classes_by_their_shares():
    alone = np.full(20_000, 0.1)
    found, classes = slo.assign("tight=2x:1, loose=5x:3", alone, seed=4)
    assert classes.mean() == pytest.approx(0.75, abs=0.02)
    assert np.all(found[classes == 0] == pytest.approx(0.2))
    assert np.all(found[classes == 1] == pytest.approx(0.5))
    again, _ = slo.assign("tight=2x:1,loose=5x:3", alone, seed=4)
    assert np.array_equal(found, again)


@pytest.mark.parametrize(
    "text", ["", "3", "x", "-1x", "0s", "3y", "a=3x:0", "a=3x:b", "=3x", "a=3x,a=2x", "a=", "infx"]
)
def test_parse__names_the_forms(text: str):
    with pytest.raises(InputError, match="SLO"):
        slo.parse(text)
