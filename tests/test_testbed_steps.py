# SPDX-License-Identifier: Apache-2.0
"""The processes of a host keep in step."""

from __future__ import annotations

from pathlib import Path

from mfs_transport.testbed.steps import Steps


def test_together__when_the_last_one_is_through(tmp_path: Path):
    one, other = (Steps(str(tmp_path / "steps"), own, 2) for own in range(2))
    assert not one.together(8)
    assert other.together(7)
    assert not one.together(8)
    assert other.together(8)
    assert one.together(8)
    one.begin()
    other.begin()
    assert not one.together(8)
