# SPDX-License-Identifier: Apache-2.0
"""Where points are run; processes that die and Dask are in test_cli_sim."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from mfs_transport import InputError
from mfs_transport.sim import execute
from mfs_transport.sim.point import Point
from mfs_transport.sim.sweep import Store

POINTS = [Point(load=0.8, warmup=5, measured=20, seed=seed) for seed in range(3)]


def test_each__nothing_to_do():
    assert list(execute.each([], jobs=2)) == []


def test_each__here_in_order_with_progress():
    asked: list[int] = []
    wanted = [dataclasses.replace(one, measured=2000) for one in POINTS]
    found = list(execute.each(wanted, 1, progress=lambda requests, _: asked.append(requests)))
    assert [run.point.seed for run in found] == [0, 1, 2]
    assert asked
    assert max(asked) <= 2005


def test_each__a_bad_point_ends_it_as_it_would_here():
    wanted = [POINTS[0], dataclasses.replace(POINTS[1], cluster="moon")]
    with pytest.raises(InputError, match="cluster 'moon'"):
        list(execute.each(wanted, jobs=2))


def test_each__dask_is_an_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)  # as if it were not there
    with pytest.raises(InputError, match=r"pip install mfs-transport\[dask\]"):
        list(execute.each(POINTS, dask="tcp://127.0.0.1:1"))


def test_missing__runs_what_the_store_lacks_and_tells_how_far_it_is():
    store = Store(None)
    told: list[tuple[float, int]] = []
    wanted = [dataclasses.replace(one, measured=2000) for one in POINTS]
    found = execute.missing(wanted, store, 1, None, lambda done, of: told.append((done, of)))
    assert [run.point.seed for run in found] == [0, 1, 2]
    assert store.missing(wanted) == []
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {of for _, of in told} == {3}
    assert {0, 1, 2, 3} <= {done for done, _ in told}
    assert any(0 < done < 1 for done, _ in told)
    assert execute.missing(wanted, store, 1, None, lambda *_: None) == []
