# SPDX-License-Identifier: Apache-2.0
"""The control plane: what is registered is what every process of the host reads."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport import control
from mfs_transport.control import batch_current, publish_all, tag_current, tag_make
from mfs_transport.native import NEVER, InputError, ffi, lib, now_ns

S = 1_000_000_000
MS = 1_000_000


@pytest.fixture
def host(tmp_path: Path) -> Iterator[mfs.Host]:
    with mfs.Host(str(tmp_path / "segment")) as opened:
        yield opened


def facts(host: mfs.Host, name: str) -> Any:
    """What the queues read of a request; None: they know nothing of it."""
    out = ffi.new("struct mfs_facts *")
    found = lib.mfs_request_get(host.handle, lib.mfs_request_key(name.encode()), out)
    return out if found == 0 else None


@contextmanager
def locked(host: mfs.Host) -> Iterator[None]:
    """Another process holds the segment's lock: byte 1 of the file, csrc/host/attach.h."""
    descriptor = os.open(host.path, os.O_RDWR | os.O_CLOEXEC)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1, 1, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    try:
        yield
    finally:
        os.close(descriptor)


# --- requests ---


def test_register__facts_are_in_the_segment(host: mfs.Host):
    request = mfs.register(
        "cmpl-17",
        ttft_s=0.5,
        arrival_ns=2 * S,
        layers=32,
        layer_s=0.003,
        collective_s=0.0005,
        p2d_layer_s=0.001,
        p2d_bytes=1 << 30,
        host=host,
    )
    assert host.requests() == 1
    assert request.deadline_ns == 2 * S + S // 2
    read = facts(host, "cmpl-17")
    assert (read.arrival_ns, read.deadline_ns) == (2 * S, 2 * S + S // 2)
    assert (read.layers, read.layer_ns, read.p2d_layer_ns) == (32, 3 * MS, MS)
    assert read.collective_ns == MS // 2
    assert read.p2d_left_bytes == 1 << 30


def test_register__deadline_counts_from_now(host: mfs.Host):
    before = now_ns()
    request = mfs.register("r", ttft_s=1.0, host=host)
    assert before + S <= request.deadline_ns <= now_ns() + S


def test_register__without_a_deadline(host: mfs.Host):
    assert mfs.register("r", host=host).deadline_ns == NEVER
    assert facts(host, "r").deadline_ns == NEVER


def test_register__again_replaces(host: mfs.Host):
    mfs.register("r", deadline_ns=1 * S, host=host)
    mfs.register("r", deadline_ns=2 * S, host=host)
    assert host.requests() == 1
    assert facts(host, "r").deadline_ns == 2 * S


def test_progress__reaches_the_segment_and_keeps_the_rest(host: mfs.Host):
    request = mfs.register("r", ttft_s=1.0, layers=32, layer_s=0.003, host=host)
    version = lib.mfs_request_version(host.handle)
    request.progress(layer=4, layer_s=0.005)
    request.progress(layer=5)
    read = facts(host, "r")
    assert (read.layer_now, read.layer_ns, read.layers) == (5, 5 * MS, 32)
    assert lib.mfs_request_version(host.handle) > version  # queues look again


def test_update__computed_can_be_taken_back(host: mfs.Host):
    request = mfs.register("r", host=host)
    for computed in (True, False):
        request.update(computed=computed)
        assert bool(facts(host, "r").flags & lib.MFS_REQUEST_COMPUTED) is computed


def test_finish__twice_does_no_harm_and_the_rest_is_refused(host: mfs.Host):
    request = mfs.register("r", ttft_s=1.0, host=host)
    request.finish()
    request.finish()
    assert host.requests() == 0
    assert facts(host, "r") is None
    with pytest.raises(ValueError, match="'r' is finished"):
        request.progress(layer=1)
    assert host.requests() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": ""}, ["request name ''"]),
        ({"name": "a\0b"}, ["request name 'a\\x00b'", "NUL"]),
        ({"name": 17}, ["request name 17", "text"]),
        ({"ttft_s": -1.0}, ["ttft_s -1.0", "more than 0"]),
        ({"ttft_s": 0}, ["ttft_s 0", "more than 0"]),
        ({"ttft_s": float("nan")}, ["ttft_s nan", "seconds"]),
        ({"ttft_s": float("inf")}, ["ttft_s inf", "seconds"]),
        ({"ttft_s": "fast"}, ["ttft_s 'fast'", "seconds"]),
        ({"deadline_ns": -5}, ["deadline_ns -5", "0 or more"]),
        ({"deadline_ns": 1.5}, ["deadline_ns 1.5", "nanoseconds"]),
        ({"ttft_s": 1.0, "deadline_ns": 5}, ["ttft_s and deadline_ns", "one of them"]),
        ({"layers": -1}, ["layers -1", "0 to"]),
        ({"layers": 1.5}, ["layers 1.5", "whole number"]),
        ({"layers": True}, ["layers True", "whole number"]),
        ({"layer_s": -0.1}, ["layer_s -0.1", "0 or more"]),
        ({"p2d_bytes": 2**63}, ["p2d_left_bytes", "0 to"]),
    ],
)
def test_register__bad_input_is_named(host: mfs.Host, arguments: dict[str, Any], says: list[str]):
    with pytest.raises(InputError) as caught:
        mfs.register(**{"name": "r", **arguments}, host=host)
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert host.requests() == 0


@pytest.mark.parametrize(("field", "value"), [("layer", -1), ("layer_s", -1.0), ("layer", 2**32)])
def test_progress__bad_input_changes_nothing(host: mfs.Host, field: str, value: Any):
    request = mfs.register("r", ttft_s=1.0, layers=32, host=host)
    with pytest.raises(InputError, match=field):
        request.update(**{"layer": 7, field: value})
    assert facts(host, "r").layer_now == 0
    request.update(layers=33)  # nor later
    assert (facts(host, "r").layer_now, facts(host, "r").layers) == (0, 33)


def test_finish__while_the_lock_is_held_is_made_good(host: mfs.Host) -> None:
    first, second = (mfs.register(name, ttft_s=1, host=host) for name in ("a", "b"))
    with locked(host):
        first.finish()
        assert host.requests() == 2
    second.finish()
    assert host.requests() == 0


def test_finish__while_the_lock_is_held_leaves_one_that_is_registered_anew(host: mfs.Host) -> None:
    with locked(host):
        mfs.register("a", ttft_s=1, host=host, publish=False).finish()
    mfs.register("a", ttft_s=1, host=host)
    mfs.register("b", ttft_s=1, host=host)
    assert host.requests() == 2


# --- the segment ---


def test_host__policy_is_shared_and_checked(host: mfs.Host):
    with mfs.Host(host.path) as other:
        other.policy = "edf"
        assert host.policy == "edf"
        with pytest.raises(InputError, match="policy 'nice': one of off, fifo"):
            other.policy = "nice"
        assert host.policy == "edf"


def test_host__that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(OSError, match="no/segment: No such file or directory"):
        mfs.Host(str(tmp_path / "no" / "segment"))


def test_host__port_that_does_not_exist(host: mfs.Host):
    with pytest.raises(InputError, match=r"port 'nic0': there is none of this name; .*none so far"):
        host.egress_rate_Bps("nic0")
    out = ffi.new("struct mfs_port **")
    for name in (b"nic0", b"nic1"):
        assert lib.mfs_port_open(host.handle, name, lib.MFS_EGRESS, out) == 0
    assert host.ports() == ["nic0", "nic1"]
    assert host.egress_rate_Bps("nic0") == 0  # nothing has been sent yet
    with pytest.raises(InputError, match=r"port 'nic2': .*; ports: nic0, nic1"):
        host.egress_rate_Bps("nic2")
    with pytest.raises(InputError, match="port 'nic2'"):
        mfs.Egress(host, "nic2")


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


@pytest.mark.parametrize("by_path", [True, False])
def test_host__a_forked_child_attaches_for_itself(tmp_path: Path, by_path: bool):
    code = """
import os, sys
import mfs_transport as mfs
host = mfs.Host(sys.argv[1]) if sys.argv[2] == "True" else mfs.default_host()
first = mfs.register("of-the-parent", ttft_s=9.0, host=host)
ends = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    mfs.register("of-the-child", ttft_s=9.0, host=host)
    os.write(ends[0][1], b"x")
    os.read(ends[1][0], 1)
    os._exit(0)
os.read(ends[0][0], 1)
print(host.requests())
os.write(ends[1][1], b"x")
os.waitpid(child, 0)
"""
    path = str(tmp_path / "segment")
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(by_path)],
        env={**os.environ, "MFS_SEGMENT": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_register__table_is_full(host: mfs.Host):
    requests = [
        mfs.register(f"request-{i}", ttft_s=9.0, host=host, publish=False)
        for i in range(lib.MFS_REQUESTS_MAX)
    ]
    publish_all(host, requests)
    assert host.requests() == lib.MFS_REQUESTS_MAX == 16384
    with pytest.raises(OSError, match=r"16384 requests are registered .* finish\(\) those"):
        mfs.register("one-more", ttft_s=9.0, host=host)
    requests[0].finish()
    mfs.register("one-more", ttft_s=9.0, host=host)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"arrival_ns": -1}, "arrival_ns -1: nanoseconds"),
        ({"arrival_ns": 2**63}, "arrival_ns 9223372036854775808: nanoseconds"),
        ({"arrival_ns": 1.5}, "arrival_ns 1.5"),
        ({"deadline_ns": True}, "deadline_ns True"),
        ({"ttft_s": 10**400}, "ttft_s 1000"),
        ({"ttft_s": [1]}, r"ttft_s \[1\]: a number of seconds"),
        ({"layer_s": float("nan")}, "layer_s nan: a number of seconds"),
        ({"layers": 10**400}, "layers 1000"),
        ({"host": "here"}, "host 'here': a Host is expected"),
    ],
)
def test_register__what_went_wrong_in_silence_or_as_another_error(
    host: mfs.Host, arguments: dict[str, Any], says: str
):
    with pytest.raises(InputError, match=says) as caught:
        mfs.register("r", **{"host": host, **arguments})
    assert len(str(caught.value)) < 300
    assert host.requests() == 0


def test_progress__past_the_layers_is_refused(host: mfs.Host):
    request = mfs.register("r", host=host, layers=4)
    request.progress(layer=4)  # none is left
    for told in (request.progress, lambda layer: control.progress(["s", "r"], layer, host=host)):
        with pytest.raises(InputError, match="layer 5: a whole number from 0 to 4"):
            told(5)
    assert facts(host, "r").layer_now == 4


def test_progress__one_name_is_no_list_of_letters(host: mfs.Host):
    with pytest.raises(InputError, match="names 'cmpl': a list is expected"):
        control.progress("cmpl", 1, host=host)


def test_host__closed(tmp_path: Path):
    host = mfs.Host(str(tmp_path / "segment"))
    host.close()
    host.close()
    with pytest.raises(ValueError, match="closed"):
        host.requests()


OTHER = """
import sys
import mfs_transport as mfs
host = mfs.Host(sys.argv[1])
request = mfs.register("of-the-child", ttft_s=9.0, layers=7, host=host)
print(host.policy, host.requests(), flush=True)
sys.stdin.readline()
if sys.argv[2] == "kill":
    import os
    os.kill(os.getpid(), 9)
request.finish()
"""


@pytest.mark.parametrize("end", ["finish", "kill"])
def test_host__several_processes_see_the_same(host: mfs.Host, end: str):
    host.policy = "srpt"
    mfs.register("of-the-parent", ttft_s=9.0, host=host)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, host.path, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "srpt 2\n"
        assert facts(host, "of-the-child").layers == 7
        child.stdin.write("\n")
        child.stdin.close()
        assert child.wait(timeout=60) == (0 if end == "finish" else -9)
    if end == "kill":
        # what a dead process held is given back when the next one attaches to its place
        with mfs.Host(host.path):
            pass
    assert facts(host, "of-the-child") is None
    assert facts(host, "of-the-parent") is not None
    assert host.requests() == 1


# --- units ---


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


# --- tags ---


def current() -> tuple[int, int, int] | None:
    value = tag_current()
    return None if value is None else (value.request, value.stage, value.layer)


def test_tag__nests_and_ends_with_its_block(host: mfs.Host):
    request = mfs.register("r", ttft_s=1.0, host=host)
    assert current() is None
    with mfs.tag(request, stage="p2d", layer=3):
        assert current() == (request.key, lib.MFS_STAGE_P2D, 3)
        with mfs.tag("another", stage="kv_reuse"):
            assert current() == (lib.mfs_request_key(b"another"), lib.MFS_STAGE_KV_REUSE, 0)
        assert current() == (request.key, lib.MFS_STAGE_P2D, 3)
        with pytest.raises(RuntimeError), mfs.tag(None, stage="collective"):
            raise RuntimeError
        assert current() == (request.key, lib.MFS_STAGE_P2D, 3)
    assert current() is None


def test_tag__by_name_is_the_same_in_every_process(host: mfs.Host):
    assert tag_make("r", "p2d").request == mfs.register("r", host=host).key


def test_tag__belongs_to_its_thread():
    seen = []
    with mfs.tag("r", stage="p2d"):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() is not None
    assert seen == [None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("r", "p2p"), "stage 'p2p': one of kv_reuse, collective, p2d"),
        (("r", "p2d", -1), "layer -1"),
        (("", "p2d"), "request name ''"),
        ((17, "p2d"), "request 17: a Request, a name, or None"),
    ],
)
def test_tag__bad_input_is_named(arguments: tuple[Any, ...], says: str):
    with pytest.raises(InputError, match=says), mfs.tag(*arguments):
        pass
    assert current() is None


# --- the batch ---


@pytest.fixture
def no_batch() -> Iterator[None]:
    yield
    mfs.batch(None)


def test_batch__the_earliest_deadline_counts(no_batch: None):
    late, soon = mfs.register("late", ttft_s=9.0), mfs.register("soon", ttft_s=1.0)
    without = mfs.register("without")
    try:
        mfs.batch([late, soon, without], layer=3)
        assert batch_current() == (soon.key, 3)
        mfs.batch(["late", "nobody", "soon"])  # deadlines from the segment
        assert batch_current() == (soon.key, 0)
        mfs.batch(late, layer=1)
        assert batch_current() == (late.key, 1)
    finally:
        for request in (late, soon, without):
            request.finish()


def test_batch__is_of_the_process_not_the_thread(no_batch: None):
    thread = threading.Thread(target=lambda: mfs.batch("r", layer=7))
    thread.start()
    thread.join()
    assert batch_current() == (lib.mfs_request_key(b"r"), 7)


@pytest.mark.parametrize("nothing", [None, []])
def test_batch__nothing_is_known(nothing: Any, no_batch: None):
    mfs.batch("r", layer=7)
    mfs.batch(nothing)
    assert batch_current() == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"), [(("",), "request name"), (("r", -1), "layer -1"), (([3],), "request")]
)
def test_batch__bad_input_is_named(arguments: tuple[Any, ...], says: str):
    with pytest.raises(InputError, match=says):
        mfs.batch(*arguments)
