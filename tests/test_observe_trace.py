# SPDX-License-Identifier: Apache-2.0
"""The record of flows, written by real transfers of another process, read from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mfs_transport as mfs
from mfs_transport.control import Host, tag_make
from mfs_transport.native import ffi, lib
from mfs_transport.observe.segment import look
from mfs_transport.observe.trace import Event, Trace

ROOT = Path(__file__).parent.parent


EACH = 4


def put_through(
    host: Host, request: str | None, layer: int, deadline_ns: int | None, *, known: bool = False
) -> None:
    """One operation of 1,000 bytes through a queue of the port `eth3`, promoted on its way: EACH
    events."""
    sender = ffi.new("struct mfs_sender **")
    to = ffi.new("struct mfs_destination *")
    joined = lib.mfs_sender_join(host.handle, b"eth3", lib.MFS_EGRESS, ffi.NULL, sender)
    assert joined == 0
    assert lib.mfs_sender_open(sender[0], to, ffi.NULL) == 0
    sender[0].port.rate_Bps = 10**9
    if request is not None and not known:
        mfs.register(request, deadline_ns=deadline_ns, arrival_ns=0, host=host)
    operation = ffi.new("struct mfs_op *", {"length": 1000})
    tag = tag_make(request, "p2d", layer)
    assert lib.mfs_sender_push(sender[0], operation, to, tag, 10**9) == 0
    lib.mfs_sender_publish(sender[0], 10**9)
    chunk = ffi.new("struct mfs_chunk *")
    assert lib.mfs_sender_next(sender[0], 4096, 10**10 - 10**4, chunk) == 0
    lib.mfs_sender_done(sender[0], to, 1000, 10**10 + 5 * 10**6)
    lib.mfs_sender_close(sender[0], to)
    lib.mfs_sender_leave(sender[0])


def test_read__a_request_from_queued_to_left(host: Host):
    trace = Trace(host)
    trace.on = True
    put_through(host, "cmpl-7", 2, 10**10)
    events = trace.read()
    assert [event.kind for event in events] == ["queued", "moved", "left", "completed"]
    assert {(event.request, event.stage, event.layer) for event in events} == {("cmpl-7", "p2d", 2)}
    assert {event.deadline_ns for event in events} == {10**10}
    assert events[0].level == events[1].level_before > events[1].level == events[2].level == 0
    assert [event.bytes_left for event in events] == [1000, 1000, 0, 0]
    assert [event.bytes_sent for event in events] == [0, 0, 1000, 1000]
    assert [event.why_words() for event in events] == [
        "it has time: 9,000.0 ms to spare at 1,000.0 MB/s",
        "urgent: 0.0 ms to spare at 1,000.0 MB/s",
        "",
        "5.0 ms after its deadline",
    ]
    assert {(event.port, event.direction, event.pid) for event in events} == {
        ("eth3", "egress", os.getpid())
    }
    assert trace.read() == []


def test_read__untagged_without_deadline(host: Host):
    trace = Trace(host)
    trace.on = True
    put_through(host, None, 0, None)
    events = trace.read()
    assert events[0].request == ""
    assert events[0].deadline_ns is None


def test_read__for_whom_it_was_shed(host: Host):
    trace = Trace(host)
    trace.on = True
    put_through(host, None, 0, None)  # which makes the port
    unit = mfs.Unit(mfs.Egress(host, "eth3"))
    rate = unit.egress.rate_Bps()
    for name, needs_s, ttft_s in (("large", 5, 6.0), ("pressed", 2, 6.05)):
        unit.enqueue(
            mfs.register(name, ttft_s=ttft_s, p2d_bytes=needs_s * rate, host=host, publish=False)
        )
    assert [one.shed for one in unit.queue] == [True, False]
    trace.read()
    put_through(host, "large", 0, None, known=True)
    queued = trace.read()[0]
    assert (queued.kind, queued.why, queued.given_up) == ("queued", "shed", True)
    assert queued.shed_for == "pressed"
    assert queued.why_words() == "given up, shed for pressed"


def test_read__from_now(host: Host):
    Trace(host).on = True
    put_through(host, "before", 0, 10**10)
    trace = Trace(host, from_now=True)
    put_through(host, "after", 0, 10**10)
    assert {event.request for event in trace.read()} == {"after"}


def test_read__says_what_was_overwritten(host: Host):
    trace = Trace(host)
    trace.on = True
    for index in range(lib.MFS_EVENTS_MAX // EACH + 10):
        put_through(host, f"r{index % 50}", 0, 10**10)
    events = trace.read()
    assert len(events) == lib.MFS_EVENTS_MAX
    assert trace.lost == EACH * (lib.MFS_EVENTS_MAX // EACH + 10) - lib.MFS_EVENTS_MAX


def mfs_trace(segment: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
    return subprocess.run(
        [sys.executable, "-m", "mfs_transport", "trace", *arguments],
        env={**clean, "MFS_SEGMENT": str(segment)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command__prints_and_writes_what_was_recorded(host: Host, tmp_path: Path):
    Trace(host).on = True
    put_through(host, "one", 0, 10**10)
    put_through(host, "two", 5, 10**10)
    done = mfs_trace(host.path, "--request", "two", "--json", str(tmp_path / "trace.json"))
    assert done.returncode == 0, done.stderr
    assert "two" in done.stdout
    assert "one" not in done.stdout
    rows = [line for line in done.stdout.splitlines() if not line.startswith("    ")]
    assert len(rows) == 1 + EACH
    assert "urgent: 0.0 ms to spare" in done.stdout
    written = json.loads((tmp_path / "trace.json").read_text())
    assert written["lost"] == 0
    events = [Event(**row) for row in written["results"]]
    assert [event.kind for event in events] == ["queued", "moved", "left", "completed"]
    assert {event.layer for event in events} == {5}


def test_command__nobody_there_or_nothing_recorded(host: Host, tmp_path: Path):
    done = mfs_trace(tmp_path / "nothing")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nothing was left there" in done.stderr
    done = mfs_trace(host.path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--follow" in done.stderr
    done = mfs_trace(host.path, "--seconds", "1")
    assert done.returncode == 2
    assert "--follow" in done.stderr


def test_command__follow_switches_on_and_off_again(host: Host):
    done = mfs_trace(host.path, "--follow", "--seconds", "0.1")
    assert done.returncode == 0, done.stderr
    assert not Trace(host).on


def use(segment: Path, request: str | None) -> None:
    """A process comes, does something or nothing, and is the last to go."""
    with Host(str(segment)) as host:
        if request:
            Trace(host).on = True
            put_through(host, request, 0, 10**10)
            lib.mfs_count(host.handle, lib.MFS_COUNT_CALLS, 7)


def test_command__after_the_last_process(tmp_path: Path):
    segment = tmp_path / "segment"
    use(segment, "first")
    done = mfs_trace(segment)
    assert done.returncode == 0, done.stderr
    assert "first" in done.stdout
    assert "as the last process left it" in done.stderr
    assert mfs_trace(segment, "--last").returncode == 2  # there is none before it
    assert (look(str(segment)).state, look(str(segment)).counters["calls"]) == ("idle", 7)

    use(segment, None)
    use(segment, None)  # who did nothing pushes nothing out
    done = mfs_trace(segment, "--last")
    assert "first" in done.stdout
    assert (tmp_path / "segment.last").stat().st_mode & 0o777 == 0o600

    use(segment, "second")
    use(segment, "third")
    assert "third" in mfs_trace(segment).stdout
    last = mfs_trace(segment, "--last").stdout
    assert "second" in last
    assert "first" not in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["segment", "segment.last"]


def test_command__follow_waits_for_a_process(tmp_path: Path):
    segment = tmp_path / "segment"
    clean = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "mfs_transport", "trace", "--follow", "--seconds", "60"],
        env={**clean, "MFS_SEGMENT": str(segment)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr
            assert process.stdout
            assert process.stderr.readline() == f"waiting for a process that uses {segment}\n"
            with Host(str(segment)) as host:
                assert "request" in process.stdout.readline()  # the heading: it is there
                until = time.monotonic() + 60
                while not Trace(host).on:
                    assert time.monotonic() < until
                    time.sleep(0.01)
                put_through(host, "late", 0, 10**10)
                assert "late" in process.stdout.readline()
        finally:
            process.kill()


def test_command__follow_says_that_nobody_came(tmp_path: Path):
    done = mfs_trace(tmp_path / "segment", "--follow", "--seconds", "0.1")
    assert done.returncode == 2
    assert "no process came to use it" in done.stderr
    done = mfs_trace(tmp_path / "segment", "--follow", "--last")
    assert "--last is over" in done.stderr
