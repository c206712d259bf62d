# SPDX-License-Identifier: Apache-2.0
"""A trace in a file, and in the Trace Event Format, held against the rules of that format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mfs_transport.control import Host
from mfs_transport.native import NEVER, InputError, ffi, lib
from mfs_transport.observe import recording
from mfs_transport.observe.export import chrome
from mfs_transport.observe.recording import (
    COMPLETED,
    EVENT,
    LEFT,
    MOVED,
    QUEUED,
    Port,
    Recording,
)


def checked(text: str) -> list[dict[str, Any]]:
    """Events of a file that keeps to the format: each has what its kind needs, times do not run
    back, and each slice that begins ends once, behind its beginning."""
    events: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    under_way: Counter[Any] = Counter()
    named, used, at = set(), set(), 0.0
    for event in events:
        if event["ph"] == "M":
            assert event["name"] == "process_name"
            assert isinstance(event["args"]["name"], str)
            named.add(event["pid"])
            continue
        assert event["ph"] in ("b", "n", "e", "i")
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["id"], int)
        assert event["name"]
        assert event["ts"] >= at
        at = event["ts"]
        used.add(event["pid"])
        if event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
            continue
        key = (event["cat"], event["id"], event["pid"], event["name"])
        assert under_way[key] == (0 if event["ph"] == "b" else 1), event
        under_way[key] += {"b": 1, "n": 0, "e": -1}[event["ph"]]
    assert set(under_way.values()) <= {0}
    assert named == used
    return events


def event(time_ns: int, kind: int, request: int = 7, **values: Any) -> NDArray[np.void]:
    made = np.zeros(1, EVENT)
    made["time_ns"], made["kind"], made["request"] = time_ns, kind, request
    made["stage"], made["deadline_ns"] = lib.MFS_STAGE_P2D, NEVER
    for name, value in values.items():
        made[name] = value
    return made


def text_of(*events: NDArray[np.void]) -> str:
    return "".join(chrome(Recording(np.concatenate(events), {0: Port("eth0", 10**9)})))


def test_layout__is_that_of_the_ring():
    assert ffi.sizeof("struct mfs_event") == EVENT.itemsize
    assert EVENT.names
    for name in EVENT.names:
        assert ffi.offsetof("struct mfs_event", name) == EVENT.fields[name][1]  # type: ignore[index]


def test_chrome__a_track_a_port_and_a_track_a_request():
    events = checked(
        text_of(
            event(1000, QUEUED, name=b'say "hi"\\', bytes_left=10, level=3, deadline_ns=2_001_000),
            event(2500, MOVED, name=b'say "hi"\\', bytes_left=10, level=1),
            event(4001, LEFT, name=b'say "hi"\\', bytes_sent=10, level=1),
            event(5000, QUEUED, request=0, bytes_left=5),
            event(6000, LEFT, request=0),
        )
    )
    tracks = {one["pid"]: one["args"]["name"] for one in events if one["ph"] == "M"}
    assert sorted(tracks.values()) == ["port eth0 out", 'request say "hi"\\']
    first = [one for one in events if one["ph"] != "M"][:2]
    assert [tracks[one["pid"]] for one in first] == ["port eth0 out", 'request say "hi"\\']
    assert first[0]["args"] == {"pid": 0, "due_ms": 2.0, "level": 3, "left": 10, "sent": 0}
    assert [one["ts"] for one in events if one["ph"] == "e"] == [3.001, 3.001, 5.0]
    assert [one["name"] for one in events if one["ph"] == "b"] == [
        'say "hi"\\ p2d 0',
        "p2d 0",
        "(untagged) p2d 0",
    ]


def test_chrome__a_mark_where_the_last_byte_was_acknowledged():
    events = checked(
        text_of(
            event(1000, QUEUED, request=1),
            event(2000, LEFT, request=1),
            event(3000, COMPLETED, request=1),
            event(4000, COMPLETED, request=2),  # its beginning is not there
        )
    )
    marks = [(one["ts"], one["name"]) for one in events if one["ph"] == "i"]
    assert marks == [(2.0, f"{1:016x} p2d 0"), (2.0, "p2d 0")]


def test_chrome__what_began_before_and_what_has_not_ended():
    events = checked(
        text_of(
            event(1000, LEFT, request=1),
            event(2000, QUEUED, request=2),
            event(2500, QUEUED, request=2),
            event(3000, LEFT, request=2),
            event(3500, MOVED, request=3),
        )
    )
    assert Counter(one["ph"] for one in events) == {"b": 8, "n": 2, "e": 8, "M": 4}


def test_load__what_was_written(tmp_path: Path):
    path = tmp_path / "run.mfst"
    made = Recording(event(1, QUEUED, name=b"r"), {3: Port("mlx5_0", 5)})
    recording.write(path, made)
    with path.open("ab") as out:
        out.write(b"half of an event")
    found = recording.load(path)
    assert found.ports == made.ports
    assert found.events.tobytes() == made.events.tobytes()


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[1]\n", b"\xff\n", b'{"format":"mfs-trace 3"}\n'])
def test_load__of_some_other_file(data: bytes, tmp_path: Path):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InputError, match="no trace of this version"):
        recording.load(tmp_path / "file")


def mfs_trace(segment: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
    return subprocess.run(
        [sys.executable, "-m", "mfs_transport", "trace", *map(str, arguments)],
        env={**clean, "MFS_SEGMENT": str(segment)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_commands__record_and_export(tmp_path: Path):
    segment = tmp_path / "segment"
    with Host(str(segment)) as host:
        done = mfs_trace(segment, "record", tmp_path / "run.mfst", "--seconds", "0.1")
        assert done.returncode == 0, done.stderr
        assert "0 events" in done.stdout
        done = mfs_trace(segment, "export", tmp_path / "run.json", "--from", tmp_path / "run.mfst")
        assert done.returncode == 2
        assert "nothing is recorded" in done.stderr
        lib.mfs_event_trace(host.handle, True)
        sender = ffi.new("struct mfs_sender **")
        to, operation = ffi.new("struct mfs_destination *"), ffi.new("struct mfs_op *")
        operation.length = 100
        assert lib.mfs_sender_join(host.handle, b"eth3", lib.MFS_EGRESS, ffi.NULL, sender) == 0
        assert lib.mfs_sender_open(sender[0], to, ffi.NULL) == 0
        tag = ffi.new("struct mfs_tag *", {"request": 5, "stage": lib.MFS_STAGE_P2D})
        assert lib.mfs_sender_push(sender[0], operation, to, tag, 1000) == 0
        lib.mfs_sender_publish(sender[0], 1000)
        assert lib.mfs_sender_remove(sender[0], operation, 2000) == 0
        lib.mfs_sender_close(sender[0], to)
        lib.mfs_sender_leave(sender[0])
    done = mfs_trace(segment, "export", tmp_path / "run.json")  # after the last process
    assert done.returncode == 0, done.stderr
    events = checked((tmp_path / "run.json").read_text())
    assert {one["args"]["name"] for one in events if one["ph"] == "M"} == {
        "port eth3 out",
        f"request {5:016x}",
    }


@pytest.mark.slow
def test_export__a_million_events(tmp_path: Path):
    """Its time is in docs/operations.md."""
    count = 1_000_000
    events = np.zeros(count, EVENT)
    events["time_ns"] = np.arange(count) * 1000
    events["kind"] = np.tile([QUEUED, MOVED, MOVED, LEFT], count // 4)
    events["request"] = 1 + np.arange(count) // 4 % 5000
    events["name"] = [b"chatcmpl-%d" % one for one in events["request"]]
    recording.write(tmp_path / "run.mfst", Recording(events, {0: Port("eth0")}))
    done = mfs_trace(
        tmp_path / "none", "export", tmp_path / "run.json", "--from", tmp_path / "run.mfst"
    )
    assert done.returncode == 0, done.stderr
    assert len(checked((tmp_path / "run.json").read_text())) == 2 * count + 5001
