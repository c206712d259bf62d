# SPDX-License-Identifier: Apache-2.0
"""`mfs dump`: a hang made on purpose is named from another terminal, and by the log."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console
from ucx import toolbox

import mfs_transport as mfs
from mfs_transport.commands import dump, group
from mfs_transport.observe.segment import Look
from mfs_transport.observe.waits import Queue, Wait, Waits, reason

LIMIT_S = 60.0

needs_nixl = pytest.mark.skipif(
    importlib.util.find_spec("nixl") is None, reason="NIXL is not installed"
)


def wait_for(what: Callable[[], Any]) -> Any:
    """Its first answer that is true."""
    until = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)
    return found


def mfs_dump(segment: Path, *arguments: str) -> str:
    """As in another terminal."""
    return toolbox.run(
        [sys.executable, "-m", "mfs_transport", "dump", *arguments],
        toolbox.environment(preload=False, MFS_SEGMENT=str(segment), COLUMNS="80"),
    )


def rows(segment: Path) -> list[dict[str, Any]]:
    told = json.loads(mfs_dump(segment, "--json"))
    return [{**wait, **queue} for queue in told["queues"] for wait in queue["waits"]]


@contextmanager
def stuck(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    env = toolbox.environment(
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        NIXL_LOG_LEVEL="FATAL",
        NIXL_UCX_DEEPBIND="0",
        MFS_ENABLE="1",
        MFS_SEGMENT=str(folder / "segment"),
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, toolbox.HERE / "nixl_dump.py", *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "stuck\n", (folder / "log").read_text()
            yield process
        finally:
            process.kill()  # also if it is stopped


@pytest.mark.nixl
@needs_nixl
def test_a_stopped_peer_is_named(tmp_path: Path):
    """By `mfs dump` and by the log; and still when the process that waits is stopped as well."""
    segment = tmp_path / "segment"
    with stuck(tmp_path) as process:
        (row,) = wait_for(lambda: [one for one in rows(segment) if one["why"] == "stalled"])
        assert (row["request"], row["stage"], row["layer"]) == ("cmpl-17", "p2d", 3)
        assert (row["peer"], row["process"], row["stalled"]) == ("sick", str(process.pid), 1)
        assert row["left_bytes"] > 0
        assert 0 < row["laxity_s"] < 600
        wait_for(lambda: rows(segment)[0]["peer_s"] > row["peer_s"])
        log = tmp_path / "log"
        line = wait_for(lambda: [one for one in log.read_text().splitlines() if "no bytes" in one])
        assert "sick takes no bytes since" in line[0]
        assert "the oldest of request cmpl-17, stage p2d, layer 3" in line[0]

        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: rows(segment)[0]["told_s"] > dump.OLD_S)
        (row,) = rows(segment)
        assert (row["request"], row["peer"], row["still"]) == ("cmpl-17", "sick", True)
        assert row["age_s"] >= row["told_s"] - 1 > 0
        text = mfs_dump(segment, str(process.pid))
        for word in ("cmpl-17", "p2d", "sick", "has not looked at its queue since", "s ago"):
            assert word in " ".join(text.split()), text
        assert max(map(len, text.splitlines())) <= 80
        process.send_signal(signal.SIGCONT)

        assert process.stdin
        assert process.stdout
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "DONE\n"
        assert [one for one in rows(segment) if one["left_bytes"]] == []


@pytest.mark.nixl
@needs_nixl
@pytest.mark.parametrize("size", ["30000", "120000"])  # in one piece at once, and in chunks
def test_a_transfer_that_is_wholly_in_flight_is_named(tmp_path: Path, size: str):
    """Nothing is queued, so the queue is not looked at for its own sake."""
    segment = tmp_path / "segment"
    with stuck(tmp_path, size):
        (row,) = wait_for(
            # A row from before the first byte left says nothing of the peer yet.
            lambda: [one for one in rows(segment) if one["stalled"] and (one["peer_s"] or 0) > 1.5]
        )
        assert (row["request"], row["stage"], row["layer"]) == ("cmpl-17", "p2d", 3)
        assert (row["peer"], row["why"], row["flows"]) == ("sick", "flight", 0)
        assert (row["left_bytes"], row["sent_bytes"]) == (0, int(size))
        assert row["wait_s"] >= 1.5
        assert row["reason"].startswith("sick: takes no bytes since")
        text = " ".join(mfs_dump(segment).split())
        assert "nothing is queued" in text
        assert "cmpl-17 p2d" in text
        log = tmp_path / "log"
        line = wait_for(lambda: [one for one in log.read_text().splitlines() if "no bytes" in one])
        assert f"{size} bytes are in flight to it (the oldest of request cmpl-17" in line[0]


# --- what is shown ---


def wait_of(**values: Any) -> Wait:
    row: dict[str, Any] = {
        "request": "chatcmpl-0123456789abcdef0123456789abcdef-0",
        "stage": "collective",
        "layer": 79,
        "level": 2,
        "left_bytes": 123456789012,
        "sent_bytes": 987654321098,
        "inflight_bytes": 131072,
        "wait_s": 12345.6,
        "still_s": 12345.6,
        "peer": "decode-host-17.example.org",
        "peer_s": 3.25,
        "due_s": -1.0,
        "laxity_s": -12345.678,
        "finish_s": -2.0,
        "p2d_left_bytes": 0,
        "given_up": True,
        "why": "stalled",
    }
    return Wait(**{**row, **values})


def queue_of(waits: list[Wait], **values: Any) -> Queue:
    row: dict[str, Any] = {
        "process": "4194304@prefill-0",
        "port": "mlx5_bond_0",
        "direction": "egress",
        "still": False,
        "age_s": 0.01,
        "told_s": 0.05,
        "flows": len(waits),
        "left_bytes": sum(one.left_bytes for one in waits),
        "inflight_bytes": 131072,
        "stalled": 0,
        "level": 3,
        "better": None,
        "better_level": None,
    }
    return Queue(**{**row, "waits": waits, **values})


@pytest.mark.parametrize(
    ("wait", "queue", "words"),
    [
        ({}, {}, "decode-host-17.example.org: takes no bytes since 3.2 s"),
        ({"peer": ""}, {}, "its receiver: takes no bytes since 3.2 s"),
        ({"why": "flight", "peer_s": None}, {}, "decode-host-17.example.org: takes no bytes"),
        (
            {"why": "flight", "peer_s": 0.2},
            {},
            "decode-host-17.example.org: all of it is in flight",
        ),
        (
            {"why": "flight", "peer_s": 0.2, "sent_bytes": 0},
            {},
            "decode-host-17.example.org: takes no bytes since 0.2 s",
        ),
        (
            {"why": "flight"},
            {"still": True, "age_s": 2.0},
            "decode-host-17.example.org: no byte was seen to arrive since 3.2 s",
        ),
        ({"why": "slow"}, {}, "decode-host-17.example.org: is slower than the port"),
        ({"why": "others"}, {"better": "7", "better_level": 0}, "process 7: sends level 0 first"),
        ({"why": "others"}, {}, "more urgent transfers of another process"),
        ({"why": "window"}, {}, "room in the window: 0.1 MB are in flight"),
        ({"why": "turn"}, {}, "more urgent transfers of its process"),
        (
            {"why": "turn"},
            {"still": True, "age_s": 5.0},
            "process 4194304@prefill-0: has not looked at its queue since 5.0 s",
        ),
    ],
)
def test_reason__in_words(wait: dict[str, Any], queue: dict[str, Any], words: str):
    assert reason(queue_of([], **queue), wait_of(**wait)) == words


@pytest.mark.parametrize("width", [80, 200])
def test_screen__fits(width: int):
    kinds = ("stalled", "flight", "window", "others", "turn")
    queues = [queue_of([wait_of(why=why) for why in kinds], flows=4096, told_s=7.0)] * 2
    found = Waits(Look(Path("/segment"), "live"), queues, left_out=3)
    out = io.StringIO()
    Console(file=out, width=width).print(dump.screen(found, queues))
    text = out.getvalue()
    assert "4,092 more" in " ".join(text.split())
    assert "7.0 s ago" in text
    assert "3 senders" in text
    assert "…" not in text
    for line in text.splitlines():
        assert cell_len(line) <= width, line


def test_screen__a_hundred_thousand_flows():
    """As many rows as somebody reads: the oldest of all, under their senders."""
    queues = [
        queue_of(
            [wait_of(why="turn", wait_s=1000.0 - 3 * row - at) for row in range(32)],
            flows=391,
            process=f"{1000 + at}",
        )
        for at in range(256)
    ]
    out = io.StringIO()
    found = Waits(Look(Path("/segment"), "live"), queues, 0)
    Console(file=out, width=200).print(dump.screen(found, queues))
    lines = out.getvalue().splitlines()
    ages = [float(line.split()[0]) for line in lines if "chatcmpl" in line]
    assert len(ages) == 100
    assert max(ages) == 1000.0
    shown = sum(line.startswith("process ") for line in lines)
    more = next(line for line in lines if "senders more" in line)
    assert f"and {256 - shown} senders more, with {391 * (256 - shown):,} flows" in more
    least = sorted((one.wait_s for queue in queues for one in queue.waits), reverse=True)[99]
    assert min(ages) >= least
    assert len(lines) < 100 + 6 * shown


def test_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MFS_SEGMENT", str(tmp_path / "segment"))
    with mfs.Host(str(tmp_path / "segment")):
        done = CliRunner().invoke(group, ["dump"], catch_exceptions=False)
        assert (done.exit_code, done.stdout) == (0, "nothing waits\n")
        done = CliRunner().invoke(group, ["dump", "1"])
        assert f"these do: {os.getpid()}" in str(done.exception)
    done = CliRunner().invoke(group, ["dump"])
    assert "no process uses it" in str(done.exception)
