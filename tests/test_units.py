# SPDX-License-Identifier: Apache-2.0
"""What the queues of units imply for their requests, and what of it is published."""

from __future__ import annotations

import pytest
from registered import MS, S, facts

import mfs_transport as mfs
from mfs_transport.native import NEVER, ffi, lib


def test_egress__rate_where_another_process_moves_the_data(
    host: mfs.Host, monkeypatch: pytest.MonkeyPatch
):
    """Which of the host's ports that uses is not known here: at most what the fastest carries."""
    out = ffi.new("struct mfs_port **")
    rates = {b"nic0": 1_000_000, b"nic1": 3_000_000}
    egress = mfs.Egress(host)
    assert (egress.port, egress.rate_Bps()) == ("default", 0)  # nothing has been sent yet
    for name in rates:
        assert lib.mfs_port_open(host.handle, name, lib.MFS_EGRESS, out) == 0
    monkeypatch.setattr(host, "_rate_Bps", lambda name, *_: rates[name.encode()])
    assert egress.rate_Bps() == 3_000_000
    assert mfs.Egress(host, "nic0").rate_Bps() == 1_000_000
    monkeypatch.setenv("UCX_NET_DEVICES", "nic0")
    assert egress.rate_Bps() == 1_000_000  # the process says it by now
    monkeypatch.setenv("UCX_NET_DEVICES", "nic2")
    assert egress.rate_Bps() == 0


def unit_of(host: mfs.Host, *requests: mfs.Request) -> mfs.Unit:
    unit = mfs.Unit(mfs.Egress(host))
    for request in requests:
        unit.enqueue(request)
    return unit


def waiting(host: mfs.Host, name: str, deadline_ms: int, layers: int = 10) -> mfs.Request:
    """A request that computes for layers * 10 ms, of a time that starts at 0."""
    return mfs.register(
        name,
        deadline_ns=deadline_ms * MS,
        arrival_ns=0,
        layers=layers,
        layer_s=0.010,
        host=host,
        publish=False,
    )


def test_unit__hopeless_is_who_cannot_make_it_behind_the_others(host: mfs.Host):
    first, second, third = (
        waiting(host, "first", 100),
        waiting(host, "second", 199),
        waiting(host, "third", 300),
    )
    unit = unit_of(host, first, second, third)
    unit.egress.replan(at_ns=0)
    assert [one.hopeless for one in (first, second, third)] == [False, True, False]
    assert facts(host, "second").flags & lib.MFS_REQUEST_HOPELESS
    # when the first takes less than was thought, the second has hope again
    first.update(layers=9)
    unit.egress.replan(at_ns=0)
    assert not second.hopeless


def test_unit__a_batch_is_computed_together(host: mfs.Host):
    """As in the simulator: test_a_batch_is_computed_together."""
    a, b, c = waiting(host, "a", 130), waiting(host, "b", 130), waiting(host, "c", 240)
    unit = mfs.Unit(mfs.Egress(host))
    unit.enqueue(a, b)
    unit.enqueue(c)
    unit.egress.replan(at_ns=0)
    assert [one.hopeless for one in (a, b, c)] == [False] * 3
    assert [one.facts.start_ns for one in (a, b, c)] == [0, 0, 100 * MS]
    assert facts(host, "a").next_start_ns == 130 * MS  # b is due
    unit.egress.replan(at_ns=31 * MS)
    assert [one.hopeless for one in (a, b, c)] == [True, True, False]


def test_unit__form_says_anew_what_is_a_batch(host: mfs.Host):
    egress = mfs.Egress(host)
    unit = mfs.Unit(egress)
    requests = [mfs.register(f"r{i}", ttft_s=10, layers=2, layer_s=1, host=host) for i in range(3)]
    unit.enqueue(*requests)
    assert unit.batches()[0] == [3]
    unit.form([1, 2])
    assert unit.batches()[0] == [1, 2]
    # who computes in the second batch starts when the first is through, 2 layers later
    starts = [request.facts.start_ns for request in requests]
    assert starts[1] == starts[2]
    assert starts[1] - starts[0] == pytest.approx(2e9, rel=0.01)
    with pytest.raises(mfs.InputError, match="batches of 2 requests together: 3 wait or compute"):
        unit.form([2])


def test_unit__urgency_is_inherited_from_those_behind(host: mfs.Host):
    relaxed, urgent = waiting(host, "relaxed", 10_000), waiting(host, "urgent", 250)
    unit = unit_of(host, relaxed, urgent)
    unit.egress.replan(at_ns=0)
    # the urgent one must start at 250 - 100 ms, so the one before it must be done by then
    assert facts(host, "relaxed").next_start_ns == 150 * MS
    assert facts(host, "urgent").next_start_ns == NEVER
    unit.finish(urgent)
    unit.egress.replan(at_ns=0)
    assert facts(host, "relaxed").next_start_ns == NEVER


def test_unit__a_hopeless_one_lends_no_urgency(host: mfs.Host):
    relaxed, doomed = waiting(host, "relaxed", 10_000), waiting(host, "doomed", 150)
    unit_of(host, relaxed, doomed).egress.replan(at_ns=0)
    assert doomed.hopeless
    assert facts(host, "relaxed").next_start_ns == NEVER


def test_unit__computed_in_time_after_all_is_not_hopeless(host: mfs.Host):
    """The queue thought that it could not: what is left of it is for the policy to judge."""
    first, second = waiting(host, "first", 100), waiting(host, "second", 150)
    unit = unit_of(host, first, second)
    unit.egress.replan(at_ns=0)
    assert second.hopeless
    unit.computed(second)
    unit.egress.replan(at_ns=120 * MS)
    assert not second.hopeless
    assert not facts(host, "second").flags & lib.MFS_REQUEST_HOPELESS
    unit.egress.replan(at_ns=151 * MS)
    assert second.hopeless


def test_unit__computed_owes_nothing_to_those_behind(host: mfs.Host):
    relaxed, urgent = waiting(host, "relaxed", 10_000), waiting(host, "urgent", 250)
    unit = unit_of(host, relaxed, urgent)
    unit.egress.replan(at_ns=0)
    assert relaxed.facts.next_start_ns == 150 * MS
    unit.computed(relaxed)
    assert facts(host, "relaxed").next_start_ns == NEVER


def test_unit__leave_keeps_it_registered(host: mfs.Host):
    request = waiting(host, "r", 100)
    unit = unit_of(host, request)
    unit.leave(request)
    assert (unit.queue, unit.sending, unit.batches()) == ([], [], ([], []))
    assert host.requests() == 1
    assert unit._batch == {}


def test_unit__progress_and_computed(host: mfs.Host):
    request = mfs.register("r", ttft_s=100.0, layers=10, layer_s=0.01, host=host, publish=False)
    unit = unit_of(host, request)
    unit.progress(request, layer=3, layer_s=0.02, p2d_left_bytes=5000)
    read = facts(host, "r")
    assert (read.layer_now, read.layer_ns, read.p2d_left_bytes) == (3, 20 * MS, 5000)
    assert (unit.queue, unit.sending) == ([request], [])
    unit.computed(request)
    assert (unit.queue, unit.sending) == ([], [request])
    assert facts(host, "r").flags & lib.MFS_REQUEST_COMPUTED
    unit.finish(request)
    assert host.requests() == 0


def test_unit__sheds_the_largest_when_the_egress_is_overloaded(
    host: mfs.Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mfs.Egress, "rate_Bps", lambda egress: 1_000_000)  # 1 MB/s
    sizes = {"small": 100_000, "large": 800_000, "medium": 300_000}
    requests = [
        mfs.register(name, deadline_ns=1 * S, p2d_bytes=size, host=host, publish=False)
        for name, size in sizes.items()
    ]
    unit = unit_of(host, *requests)
    unit.egress.replan(at_ns=0)
    assert [one.shed for one in requests] == [False, True, False]
    assert facts(host, "large").flags & lib.MFS_REQUEST_SHED
    # when there is room again it comes back
    unit.finish(requests[2])
    unit.egress.replan(at_ns=0)
    assert not requests[1].shed


def test_egress__units_that_share_it_are_shed_together(
    host: mfs.Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mfs.Egress, "rate_Bps", lambda egress: 1_000_000)  # 1 MB/s
    egress = mfs.Egress(host)
    units = [mfs.Unit(egress), mfs.Unit(egress)]
    requests = [
        mfs.register(name, deadline_ns=1 * S, p2d_bytes=size, host=host, publish=False)
        for name, size in (("small", 400_000), ("large", 700_000))
    ]
    for unit, request in zip(units, requests, strict=True):
        unit.queue.append(request)
    egress.replan(at_ns=0)
    # either would have room alone
    assert [one.shed for one in requests] == [False, True]


def test_egress__units_compute_on_their_own(host: mfs.Host):
    egress = mfs.Egress(host)
    units = [mfs.Unit(egress), mfs.Unit(egress)]
    requests = [waiting(host, "a", 100), waiting(host, "b", 100)]
    for unit, request in zip(units, requests, strict=True):
        unit.queue.append(request)
    egress.replan(at_ns=0)
    assert [one.hopeless for one in requests] == [False, False]


def test_paper__red_of_what_is_computed_together(host: mfs.Host):
    host.policy = "mfs_paper"
    deadlines = {"tight": 100, "loose": 500, "looser": 600, "alone": 50}
    requests = [waiting(host, name, at) for name, at in deadlines.items()]
    unit = mfs.Unit(mfs.Egress(host))
    unit.enqueue(*requests[:3])
    unit.enqueue(requests[3])
    # the largest gap is behind the first of three: f = 1/3
    red = 100 / 3 + 500 * 2 / 3
    assert [facts(host, name).red_ns / MS for name in deadlines] == [
        *[pytest.approx(red)] * 3,
        pytest.approx(50),
    ]
    unit.finish(requests[0])
    assert facts(host, "loose").red_ns / MS == pytest.approx(550)
    host.policy = "mfs"
    unit.egress.replan(at_ns=0)
    assert facts(host, "loose").red_ns == NEVER


def test_paper__drops_the_heaviest_while_a_batch_would_be_late(
    host: mfs.Host, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mfs.Egress, "rate_Bps", lambda egress: 1_000_000)  # 1 MB/s
    host.policy = "mfs_paper"
    sizes = {"early": 500_000, "small": 100_000, "large": 800_000, "late": 100_000}
    requests = [
        mfs.register(
            name,
            deadline_ns=(3 if name == "late" else 1) * S,
            arrival_ns=0,
            p2d_bytes=size,
            layers=10,
            layer_s=0.03,  # 0.3 s of computing
            host=host,
            publish=False,
        )
        for name, size in sizes.items()
    ]
    unit = mfs.Unit(mfs.Egress(host))
    unit.enqueue(requests[0])
    unit.enqueue(*requests[1:3])
    unit.enqueue(requests[3])
    unit.egress.replan(at_ns=0)
    # 0.3 + 0.5 s is in time; 0.3 + 1.4 s is not, 0.3 + 0.6 s is; then there is room to 3 s
    assert [one.shed for one in requests] == [False, False, True, False]
    assert facts(host, "large").flags & lib.MFS_REQUEST_SHED
    assert not any(one.hopeless for one in requests)
    # all computed: 1.4 s are still too much
    for request in requests:
        unit.computed(request)
    unit.egress.replan(at_ns=0)
    assert [one.shed for one in requests] == [False, False, True, False]
    # what is left of it is little: it comes back
    unit.progress(requests[2], p2d_left_bytes=300_000)
    unit.egress.replan(at_ns=0)
    assert [one.shed for one in requests] == [False, False, False, False]
