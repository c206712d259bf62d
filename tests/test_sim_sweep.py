# SPDX-License-Identifier: Apache-2.0
"""Sweeps: what a file asks for, what is kept, and where more loads are put."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mfs_transport import InputError
from mfs_transport.sim import point as points
from mfs_transport.sim import setting, slo, sweep, workload
from mfs_transport.sim.point import Point, Run

FILE = """
cluster = "small"
workload = ["conversation", "agent"]
load = [0.5, 1.0]
policy = ["fair", "karuna+h"]
seeds = 3
first_seed = 40
[set]
link_Gbps = 100
"""


def result(one: Point, attained: float) -> Run:
    row: dict[str, Any] = dict.fromkeys(points.FIELDS, 0)
    row.update(seed=one.seed, policy=one.name, attainment=attained, rate=10 * (one.load or 0))
    none = np.zeros(0)
    return Run(one, row, {"load": one.load}, none, none, none, none)


def test_plan__every_combination(tmp_path: Path):
    path = tmp_path / "s.toml"
    path.write_text(FILE)
    found = sweep.read(path).points
    assert len(found) == 2 * 2 * 2 * 3
    assert {one.seed for one in found} == {40, 41, 42}
    assert {one.policy for one in found} == {"fair", "karuna+h"}
    assert all(one.changes == (("link_Gbps", 100),) for one in found)
    assert len({one.key() for one in found}) == len(found)
    assert len(sweep.read(path, {"seeds": 1}).points) == 8


def test_plan__cases_stand_for_the_common_keys():
    table = {
        "load": 0.7,
        "policy": "mfs",
        "seeds": 1,
        "case": [
            {"enforcement": ["global", "sender"]},
            {"load": 0.9, "policy": [], "variant": [{"label": "K = 4", "levels": 4}]},
        ],
    }
    found = sweep.plan("s", table).points
    assert [(one.enforcement, one.load, one.name, one.options) for one in found] == [
        ("global", 0.7, "mfs", ()),
        ("sender", 0.7, "mfs", ()),
        ("global", 0.9, "K = 4", (("levels", 4),)),
    ]


def test_plan__a_variant_may_set_what_is_a_field_of_the_point():
    variant = {"label": "±30 %", "estimate_error": 0.3, "enforcement": "sender"}
    (one,) = sweep.plan("s", {"load": 1, "seeds": 1, "variant": [variant]}).points
    assert (one.estimate_error, one.enforcement, one.options) == (0.3, "sender", ())


def test_plan__a_list_in_a_variant_is_each_combination():
    variant = {
        "policy": ["edf", "edf+h"],
        "stage_first": "collective",
        "deadline_less": ["nothing", "group"],
    }
    found = sweep.plan("s", {"load": 1, "seeds": 1, "variant": [variant]}).points
    assert [(one.policy, one.name) for one in found] == [
        ("edf", "edf, stage_first=collective"),
        ("edf", "edf, stage_first=collective, deadline_less=group"),
        ("edf+h", "edf+h, stage_first=collective"),
        ("edf+h", "edf+h, stage_first=collective, deadline_less=group"),
    ]
    assert found[1].options == (("deadline_less", "group"), ("stage_first", "collective"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loads": [1]}, "unknown key 'loads'; there are cluster"),
        ({"load": "much"}, "load 'much': a number"),
        ({"workload": 3}, "workload 3: a text"),
        ({"rate": 5}, "either rate or load"),
        ({"policy": "best"}, "policy 'best': one of fair"),
        ({"policy": []}, "a policy or a variant"),
        ({"seeds": 0}, "seeds 0: a whole number from 1"),
        ({"enforcement": "nobody"}, "enforcement 'nobody': one of global"),
        ({"options": {"level": 4}}, "option 'level': one of"),
        ({"options": {"levels": "4"}}, "option levels '4'"),
        ({"options": {"inherit": 1}}, "option inherit 1"),
        ({"case": 1}, r"\[\[case\]\] is expected"),
        ({"estimate_error": 1.5}, "estimate_error 1.5"),
    ],
)
def test_plan__names_what_does_not_fit(change: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        sweep.plan("s", {"load": 0.7, "policy": "mfs", **change})


def test_read__file(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        sweep.read(tmp_path / "none.toml")
    (tmp_path / "s.toml").write_text("load =")
    with pytest.raises(InputError, match=r"s\.toml: "):
        sweep.read(tmp_path / "s.toml")


def test_store__what_is_done_is_not_missing(tmp_path: Path):
    path = tmp_path / "kept.jsonl"
    one, other = Point(load=0.5), Point(load=0.6)
    sweep.Store(path).add(result(one, 0.8))
    with path.open("a") as file:
        file.write('{"key": "half')  # the run was ended here
    store = sweep.Store(path)
    assert store.missing([one, other, other]) == [other]
    store.add(result(other, 0.7))
    again = sweep.Store(path)
    assert again.missing([one, other]) == []
    assert [row["attainment"] for row in again.table([other, one])] == [0.7, 0.8]
    assert again.other_builds == 0


def test_store__tells_builds_apart(tmp_path: Path):
    path = tmp_path / "kept.jsonl"
    sweep.Store(path).add(result(Point(), 0.8))
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "build": "another"}) + "\n")
    assert sweep.Store(path).other_builds == 1


def test_store__a_label_is_no_other_run():
    store = sweep.Store(None)
    store.add(result(Point(load=0.5), 0.8))
    (row,) = store.table([Point(load=0.5, label="ours")])
    assert row["policy"] == "ours"


def test_more_loads__between_the_points_that_cross():
    store = sweep.Store(None)
    wanted = [Point(load=load, seed=seed) for load in (0.4, 0.8, 1.2) for seed in (1, 2)]
    for one in wanted:
        assert one.load is not None
        store.add(result(one, 1.1 - one.load / 2 + 0.01 * one.seed))  # 0.9 at 0.43
    found = sweep.more_loads(wanted, store)
    assert {one.load for one in found} == {0.6}
    assert {one.seed for one in found} == {1, 2}
    high = [dataclasses.replace(one, policy="fair") for one in wanted]
    for one in high:
        store.add(result(one, 1.0))
    assert {one.load for one in sweep.more_loads(high, store)} == {1.5}


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "bench/study").glob("*.toml")))
def test_study__files_are_right_and_held_out(path: Path):
    found = sweep.read(path).points
    # those of the rule are not the ones whose tables were seen while it was tuned
    seeds = range(5000, 5008) if path.stem == "rule" else range(1000, 1010)
    used = {one.seed for one in found}
    held_out = used == set(seeds) or min(used) >= 4000  # nobody tuned on those
    assert held_out != (path.stem == "tuning")
    assert held_out or max(one.seed for one in found) < 1000
    for one in sweep.distinct(found):
        there = setting.read(one.cluster, dict(one.changes))
        there.model(one.model or there.models[0])
        slo.parse(one.slo)
        if not one.workload.startswith(("mooncake:", "azure:")):
            workload.check(one.workload)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("variant = [1, 2]", r"variant \[1, 2\]: \[\[variant\]\] is expected"),
        ("variant = 3", "variant 3: "),
        ("case = [1]", r"case \[1\]: "),
        ("case = 3", "case 3: "),
        ("set = 3", r"set 3: \[set\] is expected"),
        ("options = [1]", r"options \[1\]: "),
        ("set = {units = {a = 1}}", "'units' {'a': 1}: a number, a text or a truth value"),
        ("options = {levels = [[1]]}", r"'levels' \[1\]: a number"),
        ("model = ''", "model '': one of"),
        ("load = inf", "load inf"),
        ("seeds = 1000000000000", "1000000000000 points or more; at most"),
        ("seeds = 9999999999999", "seeds 9999999999999: at most"),
        ("first_seed = 99999999999999", "first_seed 99999999999999: at most"),
        ("seeds = " + "9" * 400, "seeds 9999"),
        ("[[variant]]\nlevels = [" + "4," * 2000 + "]\nreplicas = [" + "1," * 2000 + "]", "points"),
    ],
)
def test_plan__what_cannot_be_meant(text: str, says: str):
    base = {"load": [0.5], "policy": "mfs", "seeds": 1, "measured": 10, "warmup": 0}
    table = {**base, **tomllib.loads(text)}

    def make() -> None:
        for one in sweep.plan("here", table).points:
            points.make(one)

    with pytest.raises(InputError, match=says) as caught:
        make()
    assert len(str(caught.value)) < 600


def test_store__lines_that_are_no_results_are_left_out(tmp_path: Path):
    path = tmp_path / "kept.jsonl"
    lines = ["[" * 10_000, "9" * 5000, '{"key": [1]}', '{"key": "a"}', "3", '{"key": "b", "result"']
    path.write_text("\n".join([*lines, '{"key": "c", "result": {}, "details": {}}']) + "\n")
    assert list(sweep.Store(path).rows) == ["c"]


def test_point__a_list_of_the_cluster_can_be_set():
    point = sweep.plan("here", {"load": 0.5, "policy": "mfs", "set": {"models": ["dbrx"]}}).points[
        0
    ]
    assert points.make(point).point.model == "dbrx"
