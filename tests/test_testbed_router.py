# SPDX-License-Identifier: Apache-2.0
"""Who serves a request, where its bytes go, and what is a batch: no hosts are needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mfs_transport.testbed.job import Job
from mfs_transport.testbed.router import Router
from mfs_transport.testbed.setting import Setting
from mfs_transport.testbed.space import Full, Space

BED = Setting(unit_sets=2, units_per_set=1, store_hosts=0, spread=False, groups=2)
ROOM = 1 << 20


def job(index: int, tokens: int = 100, cached: int = 0, **more: Any) -> Job:
    given = {"shard_bytes": 1280, "fetch_bytes": 128 * cached, "exchange_bytes": 2048}
    return Job(index, float(index), tokens, cached, 1.0, compute_s=0.1, **{**given, **more})


def router(jobs: list[Job], setting: Setting = BED, budget: int = 1, room: int = ROOM) -> Router:
    return Router(setting, jobs, room, lambda batch: 0.1 * len(batch), budget)


def of(told: list[tuple[str, dict[str, Any]]], order: str) -> dict[str, dict[str, Any]]:
    return {host: message for host, message in told if message["order"] == order}


def end(one: Router, index: int) -> None:
    """All of a request has arrived."""
    for host in dict.fromkeys(one.routes[index].decode):
        one.heard(host, {"event": "first_token", "job": index, "s": 1.0})


def test_arrive__the_unit_with_the_fewest_outstanding_new_tokens():
    jobs = [job(0, 100), job(1, 300, 250), job(2, 10), job(3, 100)]
    one = router(jobs)
    for each in jobs:
        one.arrive(each)
    # 100 new tokens at unit 0; then 50 and 10 at unit 1, which still has fewer
    assert [one.routes[index].unit for index in range(4)] == [0, 1, 1, 1]


def test_arrive__a_job_may_name_its_unit():
    one = router([job(0, unit=1)])
    one.arrive(one.jobs[0])
    assert one.routes[0].unit == 1


def test_arrive__the_decode_host_with_the_fewest_outstanding_bytes():
    jobs = [job(0, shard_bytes=12800), job(1), job(2)]
    one = router(jobs)
    for each in jobs:
        one.arrive(each)
    assert [set(one.routes[i].decode) for i in range(3)] == [{"decode0"}, {"decode1"}, {"decode1"}]
    for _ in range(2 * BED.groups):  # all of the first one has arrived
        one.heard("decode0", {"event": "delivered", "job": 0})
    # it waits for nothing now, the other for something
    assert one._decode(jobs[0], 0) == ["decode0"] * 2


@pytest.mark.parametrize(("draw", "store"), [(0.0, "prefill2"), (0.99, "decode1")])
def test_arrive__the_store_is_drawn_among_the_others(draw: float, store: str):
    one = router([job(0, cached=10, draw=draw)])
    one.arrive(one.jobs[0])
    assert one.routes[0].unit == 0
    assert one.routes[0].store == [store] * 2


def test_arrive__spread_hosts_have_a_store_and_a_decode_host_each():
    one = router([job(0, cached=10)], Setting())
    one.arrive(one.jobs[0])
    assert one.routes[0].store == ["store0", "store1"]
    assert one.routes[0].decode == ["decode0", "decode1"]


def test_arrive__stores_are_told_where_they_write():
    for fetch, told in (("pull", False), ("push", True)):
        one = router([job(0, cached=10)], replace(BED, fetch=fetch))
        routes = of(one.arrive(one.jobs[0]), "route")
        assert (one.routes[0].store[0] in routes) == told
        assert {"prefill0", "prefill1"} < set(routes)


def test_queue__a_batch_is_the_head_of_the_queue_up_to_the_budget():
    jobs = [job(i, 100) for i in range(5)]
    one = router(jobs, replace(BED, unit_sets=1), budget=200)
    begun = of(one.arrive(jobs[0]), "queue")["prefill0"]
    assert begun["begin"]
    assert [batch["jobs"] for batch in begun["batches"]] == [[0]]
    for each in jobs[1:]:
        last = of(one.arrive(each), "queue")["prefill1"]
    assert not last["begin"]
    assert [batch["jobs"] for batch in last["batches"]] == [[1, 2], [3, 4]]
    assert [batch["compute_s"] for batch in last["batches"]] == [0.2, 0.2]


def test_queue__the_next_batch_begins_when_all_hosts_have_computed():
    jobs = [job(i, 100, 10) for i in range(3)]
    one = router(jobs, replace(BED, unit_sets=1), budget=200)
    for each in jobs:
        one.arrive(each)
    assert one.heard("prefill0", {"event": "computed", "unit": 0}) == []
    told = of(one.heard("prefill1", {"event": "computed", "unit": 0}), "queue")
    assert set(told) == {"prefill0", "prefill1"}
    assert told["prefill0"]["begin"]
    assert told["prefill0"]["batches"][0]["jobs"] == [1, 2]
    assert one.units[0].outstanding == 180


def test_over__when_every_request_has_its_first_token_on_all_decode_hosts():
    one = router([job(0)], Setting())
    one.arrive(one.jobs[0])
    one.heard("decode0", {"event": "first_token", "job": 0, "s": 2.0})
    assert not one.over
    one.heard("decode1", {"event": "first_token", "job": 0, "s": 1.5})
    assert one.over
    assert one.first_token_s == {0: 2.0}


def test_memory__is_given_back_and_lacking_it_is_said():
    jobs = [job(i, shard_bytes=ROOM // 4 // BED.groups) for i in range(6)]
    one = router(jobs)
    for each in jobs[:4]:  # two shards of each, two decode hosts: now they are full
        one.arrive(each)
    with pytest.raises(Full, match=r"host decode0 has no room for 0 MiB.*smaller rate"):
        router(jobs, room=1000).arrive(jobs[0])
    with pytest.raises(Full):
        one.arrive(jobs[4])
    one = router(jobs)
    for each in jobs:
        one.arrive(each)
        end(one, each.index)


def test_space__places_do_not_overlap_and_holes_are_used_again():
    space = Space(1024)
    places = {key: space.take(key, size) for key, size in ((1, 100), (2, 256), (3, 600))}
    assert places == {1: 0, 2: 128, 3: 384}
    with pytest.raises(Full):
        space.take(4, 1)
    space.give_back(1)
    space.give_back(2)
    assert space.take(5, 384) == 0
    space.give_back(5)
    space.give_back(3)
    assert space.take(6, 1024) == 0


def test_arrive__nics_take_turns_and_all_of_them_compute():
    jobs = [job(i, cached=10, draw=0.99) for i in range(2)]
    one = router(jobs, replace(BED, nics=2))
    told = one.arrive(jobs[0]) + one.arrive(jobs[1])
    first, second = one.routes[0], one.routes[1]
    assert first.hosts == ["prefill0", "prefill2"]  # NIC 0 of the two hosts of unit 0
    assert second.hosts == ["prefill5", "prefill7"]  # NIC 1 of those of unit 1
    assert (first.decode[0], second.decode[0]) == ("decode0", "decode3")
    assert (first.store[0], second.store[0]) == ("decode2", "decode3")
    queued = {host for host, message in told if message["order"] == "queue"}
    assert queued == set(one.setting.prefill)
    for host in one.setting.of_unit(0)[:3]:
        one.heard(host, {"event": "computed", "unit": 0})
    assert one.units[0].running == [0]
    one.heard(one.setting.of_unit(0)[3], {"event": "computed", "unit": 0})
    assert one.units[0].running == []
