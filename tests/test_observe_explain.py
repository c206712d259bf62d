# SPDX-License-Identifier: Apache-2.0
"""`mfs explain`: pieces without gaps, and the cause that a reader of the trace would name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from test_observe_export import event

from mfs_transport.commands import group
from mfs_transport.native import InputError, lib
from mfs_transport.observe import recording
from mfs_transport.observe.explain import beside_table, story, summary
from mfs_transport.observe.flows import flows
from mfs_transport.observe.recording import COMPLETED, LEFT, MOVED, QUEUED, Port, Recording

MS = 1_000_000
P2D, FETCH = lib.MFS_STAGE_P2D, lib.MFS_STAGE_KV_REUSE


def run() -> Recording:
    """`late` fetches, computes, and waits to deliver while `first` has the port."""
    mine = {"request": 1, "name": b"late", "deadline_ns": 100 * MS}
    other = {"request": 2, "name": b"first", "level": 1, "deadline_ns": 95 * MS}
    events = [
        event(0, QUEUED, stage=FETCH, layer=3, bytes_left=10**6, level=0, **mine),
        event(10 * MS, LEFT, stage=FETCH, layer=3, bytes_sent=10**6, level=0, **mine),
        event(14 * MS, COMPLETED, stage=FETCH, layer=3, bytes_sent=10**6, level=0, **mine),
        event(30 * MS, QUEUED, stage=P2D, bytes_left=2 * 10**6, level=3, **mine),
        event(31 * MS, QUEUED, stage=P2D, bytes_left=70 * 10**6, **other),
        event(90 * MS, LEFT, stage=P2D, bytes_sent=70 * 10**6, **other),
        event(92 * MS, QUEUED, stage=P2D, port=1, request=3, name=b"elsewhere", bytes_left=5),
        event(93 * MS, LEFT, stage=P2D, port=1, request=3, name=b"elsewhere", bytes_sent=5),
        event(110 * MS, LEFT, stage=P2D, bytes_sent=2 * 10**6, level=3, **mine),
        event(112 * MS, COMPLETED, stage=P2D, bytes_sent=2 * 10**6, level=3, **mine),
    ]
    return Recording(np.concatenate(events), {0: Port("eth0", 10**9), 1: Port("eth1", 10**9)})


def test_story__pieces_without_gaps():
    one = story(run(), "late")
    assert [(piece.what, piece.layer) for piece in one.pieces] == [
        ("fetch", 3),
        ("wire", 0),
        ("compute", 0),
        ("deliver", 0),
        ("wire", 0),
    ]
    parts = {"fetch": 0.01, "wire": 0.006, "compute": 0.016, "deliver": 0.08}
    assert one.totals == pytest.approx(parts)
    assert one.alone_s == pytest.approx(0.001 + 0.002 + 0.016)
    assert one.acknowledged
    assert [flow.name for flow in one.beside] == ["first"]


def test_summary__names_what_went_first():
    one = story(run(), "late")
    text = summary(one)
    assert text.startswith(
        "request late: 112 ms from its first transfer until its last byte was ack"
    )
    assert "(19 ms alone), 12 ms late; most of it deliver." in text
    assert "It waited 80 ms for new KV to reach the decode host" in text
    assert "deliver 70 MB (1)." in text
    out = io.StringIO()
    Console(file=out, width=80).print(beside_table(one))
    assert "first" in out.getvalue()
    assert "0.005" in out.getvalue()  # it had so much to spare
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_story__of_what_nobody_acknowledged():
    """As where the trace ends, or a transport does not tell."""
    found = run()
    found.events = found.events[:-1]
    one = story(found, "late")
    assert (one.acknowledged, one.whole) == (False, True)
    assert one.totals["deliver"] == pytest.approx(0.08)
    assert "until its last byte had left the queue" in summary(one)


def test_story__why_it_was_given_up():
    """The first reason counts, with the figures by which it was judged."""
    mine = {"request": 1, "name": b"late", "deadline_ns": 100 * MS, "stage": P2D}
    late = {"why": lib.MFS_WHY_LATE, "slack_ns": -30 * MS, "rate_Bps": 25 * 10**6}
    shed = {"why": lib.MFS_WHY_SHED, "slack_ns": -40 * MS, "shed_for": 2}
    events = [
        event(0, QUEUED, bytes_left=10, level=2, why=lib.MFS_WHY_TIME, slack_ns=MS, **mine),
        event(1, QUEUED, request=2, name=b"other", stage=P2D, bytes_left=5),
        event(5 * MS, MOVED, bytes_left=10, level=8, **late, **mine),
        event(6 * MS, MOVED, bytes_left=10, level=8, **shed, **mine),
        event(200 * MS, LEFT, bytes_sent=10, level=8, **mine),
    ]
    found = Recording(np.concatenate(events), {})
    assert "100 ms late, given up: 30.0 ms too late at 25.0 MB/s;" in summary(story(found, "late"))
    found.events = np.delete(found.events, 2)
    assert "given up, shed for other;" in summary(story(found, "late"))


def test_flows__that_are_under_way_at_a_time():
    """Of one tag to several peers: each completion goes to the flow of its size."""
    mine = {"request": 1, "name": b"r", "stage": P2D}
    events = [
        event(0, QUEUED, bytes_left=10, **mine),
        event(1, QUEUED, bytes_left=20, **mine),
        event(2, LEFT, bytes_sent=10, **mine),
        event(3, LEFT, bytes_sent=20, **mine),
        event(4, COMPLETED, bytes_sent=20, **mine),
    ]
    first, second = flows(Recording(np.concatenate(events), {}))
    assert (first.begin_ns, first.left_ns, first.end_ns, first.completed) == (0, 2, 2, False)
    assert (second.begin_ns, second.left_ns, second.end_ns, second.completed) == (1, 3, 4, True)


def test_story__of_what_is_not_there():
    with pytest.raises(InputError, match="request x: not in the trace, which has elsewhere, first"):
        story(run(), "x")


def test_story__of_half_a_trace():
    found = run()
    found.events = found.events[1:-2]
    one = story(found, "late")
    assert not one.whole
    assert "does not have all flows whole" in summary(one)
    assert one.pieces[-1].end_ns == 93 * MS


def test_command(tmp_path: Path):
    recording.write(tmp_path / "run.mfst", run())
    arguments = ["explain", "late", "--from", str(tmp_path / "run.mfst")]
    done = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "most of it deliver" in " ".join(done.stdout.split())
