# SPDX-License-Identifier: Apache-2.0
"""One point: made ready, run, measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mfs_transport import InputError
from mfs_transport.sim import explain, point
from mfs_transport.sim.point import Point

SHORT = Point(load=0.8, warmup=10, measured=80, seed=3)


def test_split_label():
    assert point.split_label("karuna") == ("karuna", None)
    assert point.split_label("karuna+h") == ("karuna", True)
    assert point.split_label("mfs-h") == ("mfs", False)
    with pytest.raises(InputError, match=r"policy 'best\+h': one of fair"):
        point.split_label("best+h")


def test_key__tells_runs_apart_and_not_their_names():
    assert SHORT.key() == dataclasses.replace(SHORT, label="ours").key()
    others = {"seed": 4, "policy": "fair", "load": 0.9, "options": (("levels", 4),)}
    keys = {dataclasses.replace(SHORT, **{k: v}).key() for k, v in others.items()}  # type: ignore[arg-type]
    assert len(keys | {SHORT.key()}) == 5


def test_make__deadlines_are_times_the_ttft_alone():
    case = point.make(SHORT)
    alone = np.array(
        [
            point.engine.closed_form_ttft_s(case.setting.cluster, case.model, int(n), int(p))
            for n, p in zip(case.requests.tokens, case.requests.prefix, strict=True)
        ]
    )
    assert case.slo_s == pytest.approx(3 * alone)
    assert case.requests.deadline_s == pytest.approx(case.requests.arrival_s + 3 * alone)
    assert case.load == pytest.approx(0.8)
    mean_gap = float(np.diff(case.requests.arrival_s).mean())
    assert case.rate * mean_gap == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("cluster", ["small", "small-alone", "paper-testbed"])
def test_run__far_apart_every_request_takes_what_it_takes_alone(cluster: str):
    found = point.run(Point(cluster=cluster, rate=1e-3, slo="1.001x", warmup=0, measured=20))
    assert found.result["attainment"] == 1.0
    # a fetch that goes in front of a collective can end a little sooner than the closed form
    assert np.median(found.ttft_s / found.slo_s) == pytest.approx(1 / 1.001, rel=1e-6)
    assert found.result["shed"] == 0


def test_run__same_seed_same_result_and_other_seed_another():
    one, again = point.run(SHORT), point.run(SHORT)
    assert np.array_equal(one.ttft_s, again.ttft_s)
    assert not np.array_equal(one.ttft_s, point.run(dataclasses.replace(SHORT, seed=4)).ttft_s)


def test_run__figures_fit_together():
    run = point.run(dataclasses.replace(SHORT, slo="tight=2x:0.5,loose=5x:0.5", load=1.2))
    result, details = run.result, run.details
    assert tuple(result) == point.FIELDS
    json.dumps([result, details], allow_nan=False)
    in_time = run.ttft_s <= run.slo_s
    assert result["attainment"] == pytest.approx(in_time.mean())
    assert result["earliness_mean_s"] == pytest.approx((run.slo_s - run.ttft_s)[in_time].mean())
    by_class = details["attainment_by_class"]
    assert set(by_class) == {"tight", "loose"}
    assert min(by_class.values()) <= result["attainment"] <= max(by_class.values())
    assert result["ttft_p50_s"] == pytest.approx(np.median(run.ttft_s))
    assert details["requests"] == 80
    worst = max(run.ttft_s / run.slo_s)
    assert details["ttft_slos_mean"] == pytest.approx((run.ttft_s / run.slo_s).mean())
    assert details["ttft_slos_p50"] == pytest.approx(np.median(run.ttft_s / run.slo_s))
    assert details["ttft_slos_p99"] <= details["ttft_slos_most"] == worst
    assert result["ttft_p99_s"] <= details["ttft_most_s"] == max(run.ttft_s)
    assert 0 < details["utilisation"] <= details["utilisation_most"] <= 1


def test_run__no_network_limit_is_never_worse():
    for policy in ("fair", "mfs"):
        ours = point.run(dataclasses.replace(SHORT, policy=policy, load=1.0))
        ceiling = point.run(dataclasses.replace(SHORT, policy="inf", load=1.0))
        assert ceiling.result["attainment"] >= ours.result["attainment"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cluster": "moon"}, "cluster 'moon'"),
        ({"rate": 3.0}, "only one of them"),
        ({"load": None}, "a rate above 0"),
        ({"enforcement": "nobody"}, "enforcement 'nobody'"),
        ({"changes": (("links", 3),)}, "unknown key 'links'"),
        ({"options": (("policy", "mfs"),)}, "option 'policy': one of"),
    ],
)
def test_make__names_what_does_not_fit(change: dict[str, object], says: str):
    with pytest.raises(InputError, match=says):
        point.make(dataclasses.replace(SHORT, **change))  # type: ignore[arg-type]


def test_run__a_files_own_times(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    rows = [
        {"timestamp": 200 * i, "input_length": 900 + i, "output_length": 1, "hash_ids": [i]}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = point.run(
        Point(workload=f"mooncake:{path}", times="trace", warmup=0, measured=30, cluster="small")
    )
    assert found.result["rate"] == pytest.approx(30 / (29 * 0.2), rel=0.01)
    assert found.result["attainment"] == 1.0


# --- explain ---


@pytest.fixture(scope="module")
def traced() -> tuple[point.Case, point.engine.Outcome]:
    case = point.make(dataclasses.replace(SHORT, load=1.2, policy="fair"))
    outcome = point.engine.simulate(
        case.setting.cluster, case.model, case.requests, case.options, trace=True
    )
    return case, outcome


def test_story__pieces_fill_the_ttft_without_gaps(traced: tuple[point.Case, point.engine.Outcome]):
    case, outcome = traced
    for request in range(0, 90, 9):
        story = explain.story(case, outcome, request)
        ends = [story.arrival_s, *(piece.end_s for piece in story.pieces)]
        starts = [*(piece.start_s for piece in story.pieces), story.first_token_s]
        assert ends == pytest.approx(starts)
        assert sum(story.totals.values()) == pytest.approx(outcome.ttft_s[request])
        computed = [piece for piece in story.pieces if piece.what == "compute"]
        assert [piece.group for piece in computed] == list(range(case.model.groups))
        assert all(piece.seconds > 0 for piece in story.pieces)


def test_story__says_who_used_the_ports(traced: tuple[point.Case, point.engine.Outcome]):
    case, outcome = traced
    late = [explain.story(case, outcome, one) for one in explain.latest(case, outcome)[:20]]
    assert all(story.first_token_s > story.deadline_s for story in late)
    assert all(" late; most of it" in explain.summary(story) for story in late)
    disturbed = [story for story in late if story.beside]
    assert disturbed
    assert all(size > 0 and requests > 0 for _, requests, size in disturbed[0].beside)
    assert "others used the same ports" in explain.summary(disturbed[0])
    took, idle = disturbed[0].worst[0][2:]
    assert took > idle > 0


def test_latest__by_how_much_they_missed(traced: tuple[point.Case, point.engine.Outcome]):
    case, outcome = traced
    late = explain.latest(case, outcome)
    over = (outcome.ttft_s - case.slo_s)[late]
    assert np.all(np.diff(over) <= 0)
    assert len(late) == 80


def test_run__is_of_the_point_that_was_asked_for():
    """Without a model too: a sweep that names none did not find its own results."""
    asked = Point(load=0.5, warmup=5, measured=20)
    run = point.run(asked)
    assert run.point == asked
    assert run.result["model"]


def test_parted__each_field_is_in_one_of_the_two():
    row = {**dict.fromkeys(point.FIELDS, 1), "hosts": 2}
    parted = point.parted([row])
    assert parted == {"results": [dict.fromkeys(point.FIELDS, 1)], "details": [{"hosts": 2}]}
