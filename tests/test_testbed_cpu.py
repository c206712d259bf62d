# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from mfs_transport.testbed import cpu

#       user nice system idle iowait irq softirq steal
BEGIN = [100, 20, 30, 400, 50, 6, 7, 8]


@pytest.mark.parametrize(
    ("more", "busy"),
    [
        ([50, 0, 0, 50, 0, 0, 0, 0], 0.5),
        ([0, 0, 25, 25, 25, 0, 25, 0], 0.5),  # the kernel's is, a wait for a disk is not
        ([10, 90, 0, 0, 0, 0, 0, 0], 0.1),  # what gives way is not
        ([10, 0, 0, 0, 0, 0, 0, 90], 1.0),  # what another guest has taken is
        ([0, 0, 0, 0, 0, 0, 0, 0], 0.0),  # no time has passed
    ],
)
def test_usage(
    more: list[int], busy: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(cpu, "STAT", str(stat))
    stat.write_text("cpu  " + " ".join(map(str, BEGIN)) + " 0 0\ncpu0 1 2 3\n")
    usage = cpu.Usage()
    after = [one + plus for one, plus in zip(BEGIN, more, strict=True)]
    stat.write_text("cpu  " + " ".join(map(str, after)) + " 0 0\ncpu0 1 2 3\n")
    assert usage.end() == pytest.approx(busy)


@pytest.mark.parametrize(
    ("late", "busy", "most_late", "bound"),
    [
        (0.02, 0.5, 0.05, False),
        (0.02, 0.5, 0.01, True),
        (0.06, 0.5, 0.05, True),
        (0.0, 0.95, 0.05, True),
    ],
)
def test_is_bound(late: float, busy: float, most_late: float, bound: bool) -> None:
    assert cpu.is_bound(late, busy, most_late) is bound
