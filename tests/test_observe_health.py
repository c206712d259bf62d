# SPDX-License-Identifier: Apache-2.0
"""What processes have warned of, and which of them look too seldom at their queue: seen from
outside, by info, top and doctor."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_top import found as a_look

from mfs_transport.control import Host
from mfs_transport.diagnose.environment import check_health
from mfs_transport.native import ffi, lib
from mfs_transport.observe import health
from mfs_transport.observe.segment import Look, Sender, Warned, look

MS = 10**6


def mfs(segment: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
    return subprocess.run(
        [sys.executable, "-m", "mfs_transport", *arguments],
        env={**clean, "MFS_SEGMENT": str(segment), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_warned__is_seen_from_outside_and_stays(tmp_path: Path):
    segment = tmp_path / "segment"
    with Host(str(segment)) as host:
        for peer in ("sick", "decode1"):
            words = f"{peer} takes no bytes since 1.0 s"
            lib.mfs_warned_note(host.handle, b"%s takes no bytes", words.encode())
        lib.mfs_warned_note(host.handle, b"no room", b"the queue took no more")
        one, other = sorted(look(str(segment)).warned, key=lambda one: -one.count)
        assert (one.text, one.count) == ("decode1 takes no bytes since 1.0 s", 2)
        assert one.process == str(os.getpid())
        assert one.first_s >= one.last_s >= other.last_s >= 0
        text = " ".join(mfs(segment, "info", "--live").split())
        assert "2 times, process" in text
        assert "decode1 takes no bytes since 1.0 s" in text
        assert "the queue took no more" in mfs(segment, "top", "--once")
        told = json.loads(mfs(segment, "top", "--once", "--json"))
        assert {one["count"] for one in told["warned"]} == {1, 2}
    text = " ".join(mfs(segment, "info").split())  # when the last process has gone
    assert "What went wrong" in text
    assert "the queue took no more" in text


def test_late__how_long_a_process_does_not_look(tmp_path: Path):
    """One that looks every 20 ms, with more waiting than fits; told from its own looks."""
    sender, to = ffi.new("struct mfs_sender **"), ffi.new("struct mfs_destination *")
    chunk, operation = ffi.new("struct mfs_chunk *"), ffi.new("struct mfs_op *")
    with Host(str(tmp_path / "segment")) as host:
        joined = lib.mfs_sender_join(host.handle, b"eth3", lib.MFS_EGRESS, ffi.NULL, sender)
        assert joined == 0
        assert lib.mfs_sender_open(sender[0], to, ffi.NULL) == 0
        sender[0].port.rate_Bps = 10**9
        now_ns = lib.mfs_now_ns()
        operation.length = 1 << 40
        tag = ffi.new("struct mfs_tag *")
        assert lib.mfs_sender_push(sender[0], operation, to, tag, now_ns) == 0
        for _ in range(120):
            now_ns += 20 * MS
            left = min(to.inflight_bytes, 20 * MS)  # what 1 GB/s carries in that time
            if left:
                lib.mfs_sender_done(sender[0], to, left, now_ns)
            while lib.mfs_sender_next(sender[0], 0, now_ns, chunk) == 0:
                pass
        (port,) = look(host.path).ports
        (one,) = port.senders
        assert one.away_s == pytest.approx(0.02, rel=0.1)
        assert one.covers_s > 0.001
        assert lib.mfs_sender_remove(sender[0], operation, now_ns) == 0
        lib.mfs_sender_close(sender[0], to)
        lib.mfs_sender_leave(sender[0])


def late_look(away_s: float, covers_s: float, level: int | None = 2) -> Look:
    found = a_look(10**6)
    sender = Sender("7", 7, level, 0, 0, False, 0.0, away_s, covers_s)
    return dataclasses.replace(found, ports=[dataclasses.replace(found.ports[0], senders=[sender])])


def test_late__in_words():
    assert health.late(late_look(0.04, 0.002)) == [
        "process 7 looks at its queue every 40.0 ms, and its window covers 2.0 ms: it is short of "
        "a core, or calls its transport too seldom"
    ]
    for found in (late_look(0.001, 0.002), late_look(0.04, 0.0), late_look(0.04, 0.002, None)):
        assert health.late(found) == []


def test_doctor__says_it_and_stays_well():
    found = late_look(0.04, 0.002)
    warned = [Warned("no room", 3, 99999.0, 7300.0, "7"), Warned("x", 1, 1.0, 1.0, "8")]
    checks = check_health(dataclasses.replace(found, warned=warned))
    assert [(one.name, one.status) for one in checks] == [("cores", "ok"), ("warned", "ok")]
    assert "every 40.0 ms" in checks[0].reason
    assert checks[1].reason == "2 h ago, 3 times, process 7 last: no room (and 1 other kinds)"
    assert check_health(a_look(10**6)) == []
