# SPDX-License-Identifier: Apache-2.0
"""`mfs top`: rates between two looks, since when something waits, and how it is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

import mfs_transport as mfs
from mfs_transport.commands import group, top
from mfs_transport.native import ffi, lib
from mfs_transport.observe.rates import Watch, folded
from mfs_transport.observe.segment import Look, Port, Process, Sender


def found(bytes_done: int, level: int | None = 2, count: int = 1, still_s: float = 0.0) -> Look:
    """A host of `count` processes with a sender each on one port."""
    counters = {"bytes": bytes_done, "deferred": bytes_done // 1000, "faults": 0}
    senders = [
        Sender(str(100 + n), 100 + n, level, 1000, 0, still_s > 0, still_s) for n in range(count)
    ]
    port = Port("nic0", "egress", 10**9, 2 * 10**6, count * bytes_done, senders)
    return Look(
        Path("/segment"),
        "live",
        policy="mfs",
        requests={"waiting": 12345, "given_up": 1},
        processes={
            str(100 + n): Process(str(100 + n), 100 + n, 0, "", counters) for n in range(count)
        },
        ports=[port],
    )


def test_watch__rates_are_of_the_time_between():
    watch = Watch()
    (port,), (process,) = watch.update(found(1000), 10.0)
    assert (port.moved_Bps, process.moved_Bps, process.deferred_per_s) == (None, None, None)
    (port,), (process,) = watch.update(found(5000), 12.0)
    assert (port.moved_Bps, process.moved_Bps, process.deferred_per_s) == (2000, 2000, 2)


def test_watch__a_count_that_went_back_is_another_ones():
    watch = Watch()
    watch.update(found(5000), 10.0)
    (port,), (process,) = watch.update(found(1000), 11.0)
    assert (port.moved_Bps, process.moved_Bps) == (None, None)


def test_watch__since_when_something_waits():
    watch = Watch()
    waits = []
    for now_s, level in ((1.0, 2), (3.0, 0), (4.0, None), (5.0, 3), (9.0, 3)):
        (port,), _ = watch.update(found(0, level), now_s)
        waits.append(port.waits_s)
    assert waits == [0.0, 2.0, None, 0.0, 4.0]


def test_folded__those_in_trouble_are_shown_and_the_others_summed():
    watch = Watch()
    watch.update(found(0, count=128), 0.0)
    _, processes = watch.update(found(1000, count=128), 1.0)
    trouble = watch.update(found(2000, still_s=7.0), 2.0)[1]
    shown, others = folded([*processes, *trouble], 10)
    assert (len(shown), others) == (10, 120)
    assert shown[0].still_s == 7.0
    assert shown[-1].pid is None
    assert shown[-1].inflight_bytes == 120 * 1000
    assert shown[-1].moved_Bps == 120 * 1000
    assert folded(processes, 128) == (processes, 0)


@pytest.mark.parametrize("width", [80, 200])
def test_screen__of_128_processes_fits(width: int):
    watch = Watch()
    watch.update(found(0, count=128), 0.0)
    look = found(10**12, count=128, still_s=123456.7)
    ports, processes = watch.update(look, 1.0)
    out = io.StringIO()
    Console(file=out, width=width).print(top.screen(look, ports, processes, 20))
    text = out.getvalue()
    assert len(text.splitlines()) < 40
    assert "109 others" in text
    assert "nic0 out" in text
    assert "…" not in text
    assert "nan" not in text
    for line in text.splitlines():
        assert cell_len(line) <= width, line


def run(path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("MFS_SEGMENT", str(path))
    done = CliRunner().invoke(
        group, ["top", "--interval", "0.1", *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.stdout


def test_once__of_a_live_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with mfs.Host(str(tmp_path / "segment")) as host:
        out = ffi.new("struct mfs_sender **")
        assert lib.mfs_sender_join(host.handle, b"nic0", lib.MFS_EGRESS, ffi.NULL, out) == 0
        text = run(tmp_path / "segment", monkeypatch, "--once")
        told: dict[str, Any] = json.loads(run(tmp_path / "segment", monkeypatch, "--json"))
    assert "nic0 out" in text
    assert "1 process;" in text
    (port,) = told["ports"]
    assert (port["port"], port["direction"], port["moved_Bps"]) == ("nic0", "egress", 0.0)
    assert (port["level"], port["waits_s"]) == (None, None)
    assert len(told["processes"]) == 1


def test_once__where_no_segment_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "there is none yet" in run(tmp_path / "segment", monkeypatch)
    told = json.loads(run(tmp_path / "segment", monkeypatch, "--json"))
    assert told["segment"]["state"] == "none"
    assert told["ports"] == []
