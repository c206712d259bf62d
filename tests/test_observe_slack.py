# SPDX-License-Identifier: Apache-2.0
"""What ports can still be given: from what senders have told, at the terminal, and over HTTP."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len
from rich.console import Console

import mfs_transport as mfs
from mfs_transport.commands import group
from mfs_transport.commands import slack as command
from mfs_transport.native import InputError, ffi, lib
from mfs_transport.observe import slack, slack_server
from mfs_transport.observe.segment import Look, Port, Sender
from mfs_transport.observe.slack import Due, PortSlack
from mfs_transport.observe.waits import Queue, Wait, Waits

MB = 1_000_000
RATE = 1000 * MB  # 1 MB a ms


def wait_of(**values: Any) -> Wait:
    row: dict[str, Any] = {
        "request": "r",
        "stage": "p2d",
        "layer": 0,
        "level": 2,
        "left_bytes": MB,
        "sent_bytes": 0,
        "inflight_bytes": 0,
        "wait_s": 0.0,
        "still_s": 0.0,
        "peer": "",
        "peer_s": None,
        "due_s": None,
        "laxity_s": None,
        "finish_s": None,
        "p2d_left_bytes": 0,
        "given_up": False,
        "why": "turn",
    }
    return Wait(**{**row, **values})


def found_of(*rows: Wait, inflight: int = 0, unlisted: int = 0, **queue: Any) -> PortSlack:
    """A port with one sender."""
    sender = Sender("1", 1, 2, inflight, 0, False, 0.0)
    told: dict[str, Any] = {
        "process": "1",
        "port": "nic0",
        "direction": "egress",
        "still": False,
        "age_s": 0.0,
        "told_s": 0.05,
        "flows": len(rows),
        "inflight_bytes": inflight,
        "stalled": 0,
        "left_bytes": sum(row.left_bytes for row in rows) + unlisted,
        "level": 2,
        "better": None,
        "better_level": None,
        "waits": list(rows),
    }
    look = Look(Path("segment"), "live", ports=[Port("nic0", "egress", RATE, 0, 0, [sender])])
    (port,) = slack.of(Waits(look, [Queue(**{**told, **queue})], 0)).ports
    return port


# --- the rule over what was told ---


def test_flows_that_are_due_bound_what_is_added() -> None:
    port = found_of(
        wait_of(stage="kv_reuse", left_bytes=3 * MB, finish_s=0.005),
        wait_of(stage="collective", left_bytes=4 * MB, finish_s=0.02),
        inflight=MB,
    )
    assert port.bytes_by(0.004) == MB  # 5 ms less 3 MB and what is in flight
    assert port.bytes_by(0.03) == 22 * MB
    assert port.soonest_s(2 * MB) == pytest.approx(0.006)
    assert (port.late_bytes, port.undated_bytes, port.told_s) == (0, 0, 0.05)


def test_stage_3_is_all_that_its_request_still_delivers() -> None:
    layers = [
        wait_of(layer=i, left_bytes=MB, finish_s=0.05, p2d_left_bytes=20 * MB) for i in (0, 1)
    ]
    assert found_of(*layers).bytes_by(0.05) == 30 * MB
    behind = [dataclasses.replace(one, p2d_left_bytes=MB) for one in layers]
    assert found_of(*behind).bytes_by(0.05) == 48 * MB  # at least what is queued
    others = [
        dataclasses.replace(one, request=name) for one, name in zip(layers, "ab", strict=True)
    ]
    assert found_of(*others).bytes_by(0.05) == 10 * MB


def test_what_goes_behind_everything_takes_nothing() -> None:
    port = found_of(
        wait_of(request="", left_bytes=500 * MB),
        wait_of(left_bytes=500 * MB, finish_s=0.6, given_up=True),
        wait_of(stage="kv_reuse", left_bytes=7 * MB, finish_s=-0.1),
    )
    assert port.bytes_by(0.01) == 10 * MB
    assert (port.undated_bytes, port.late_bytes) == (1000 * MB, 7 * MB)


def test_what_has_no_row_goes_first() -> None:
    assert found_of(wait_of(), unlisted=4 * MB, flows=99).bytes_by(0.01) == 6 * MB


@pytest.mark.parametrize("queue", [{"still": True}, {"told_s": slack.STALE_S + 0.1}])
def test_nothing_is_promised_for_a_sender_that_stands_still(queue: dict[str, Any]) -> None:
    port = found_of(wait_of(finish_s=0.1), **queue)
    assert port.stale
    assert (port.bytes_by(0.1), port.soonest_s(1)) == (None, None)
    assert port.as_dict((0.1,), 1)["room"] == [{"by_s": 0.1, "bytes": None}]


# --- a live segment ---


@contextmanager
def at_work(path: Path) -> Iterator[Callable[[], None]]:
    """A host and a sender with 30 MB of a request that is due in 60 s. It looks at its queue when
    what is yielded is called."""
    with mfs.Host(str(path)) as host:
        host.policy = "edf"
        request = mfs.register("cmpl-17", ttft_s=60.0, host=host)
        out = ffi.new("struct mfs_sender **")
        assert lib.mfs_sender_join(host.handle, b"nic0", lib.MFS_EGRESS, ffi.NULL, out) == 0
        sender, to = out[0], ffi.new("struct mfs_destination *")
        operations = [ffi.new("struct mfs_op *", {"length": 15 * MB}) for _ in range(2)]
        tag = ffi.new("struct mfs_tag *", {"request": request.key, "stage": lib.MFS_STAGE_P2D})
        assert lib.mfs_sender_open(sender, to, ffi.NULL) == 0
        begun_ns = mfs.native.now_ns() - 1_000_000_000
        for operation in operations:
            assert lib.mfs_sender_push(sender, operation, to, tag, begun_ns) == 0
        chunk = ffi.new("struct mfs_chunk *")
        now_ns = begun_ns
        for _ in range(1000):  # until its window is full, and it has told what waits
            if lib.mfs_sender_next(sender, 0, now_ns, chunk) != 0 and now_ns > begun_ns:
                break
            now_ns = mfs.native.now_ns()

        def looks() -> None:
            lib.mfs_sender_next(sender, 0, mfs.native.now_ns(), chunk)

        yield looks
        del operations, to, tag


def test_live__what_waits_is_what_is_told(tmp_path: Path) -> None:
    until = time.monotonic() + 60
    with at_work(tmp_path / "segment") as looks:
        while True:  # a machine that is busy lets the sender seem to stand still
            looks()
            (port,) = slack.slack(str(tmp_path / "segment")).ports
            if not port.stale:
                break
            assert time.monotonic() < until
    assert (port.port, port.direction) == ("nic0", "egress")
    known = sum(one.bytes for one in port.dues) + port.first_bytes
    assert 29 * MB <= known <= 31 * MB  # what left since it was told is in flight as well
    assert 0 < port.dues[0].by_s < 60
    room = port.bytes_by(60.0)
    if port.rate_Bps:
        assert room == pytest.approx(60 * port.rate_Bps - known, rel=0.05)
    else:
        assert room is None


# --- the command, once ---


def run(segment: Path, *arguments: str) -> Result:
    env = {"MFS_SEGMENT": str(segment), "COLUMNS": "80"}
    return CliRunner().invoke(group, ["slack", *arguments], env=env)


def test_once__a_table_that_fits(tmp_path: Path) -> None:
    with at_work(tmp_path / "segment"):
        shown = run(tmp_path / "segment", "--once", "--by", "0.05,61", "--bytes", "1000")
    assert shown.exit_code == 0, shown.output
    assert "nic0 out" in shown.output
    assert "by 61 s" in " ".join(shown.output.split())
    assert max(map(cell_len, shown.output.splitlines())) <= 80


def test_once__as_json(tmp_path: Path) -> None:
    with at_work(tmp_path / "segment"):
        told = json.loads(run(tmp_path / "segment", "--once", "--json").stdout)
    assert told["segment"]["state"] == "live"
    assert [one["by_s"] for one in told["ports"][0]["room"]] == list(slack.GRID_S)
    assert "soonest_s" not in told["ports"][0]


def test_once__a_segment_that_is_not_there(tmp_path: Path) -> None:
    shown = run(tmp_path / "none", "--once")
    assert (shown.exit_code, "there is none yet" in " ".join(shown.output.split())) == (0, True)
    told = json.loads(run(tmp_path / "none", "--once", "--json").stdout)
    assert (told["segment"]["state"], told["ports"]) == ("none", [])
    (tmp_path / "file").write_text("Dear reader")
    (tmp_path / "file").chmod(0o600)
    told = json.loads(run(tmp_path / "file", "--once", "--json").stdout)
    assert told["segment"]["state"] == "unusable"
    assert told["segment"]["reason"]


@pytest.mark.parametrize(
    "arguments",
    [("--once", "--by", "soon"), ("--once", "--bytes", "-1"), ("--json",), ("--by", "1")],
)
def test_arguments_that_do_not_fit(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run(tmp_path / "none", *arguments)
    assert isinstance(result.exception, InputError)
    assert "\n" not in str(result.exception)


def test_table__late_and_unknown() -> None:
    ports = [
        slack.make(RATE, 0, [Due(-1.0, MB)], port="mlx5_bond_0.private", told_s=1.5, stale=True),
        slack.make(0, 0, [], port="lo"),
        slack.make(400_000 * MB, 0, [Due(1.0, 300_000 * MB)], port="mlx5_1"),
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(command.table(ports, command.SHOWN_S, 1 << 30))
    text = out.getvalue()
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "2,000.0" in text  # of the third port by 5 ms
    assert "nan" not in text


# --- over HTTP ---


@contextmanager
def serving(segment: Path) -> Iterator[str]:
    with slack_server.Server("127.0.0.1", 0, str(segment)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_http__what_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path / "segment") as url:
        status, told = get(url)
        assert (status, told["segment"]["state"]) == (200, "none")
        with at_work(tmp_path / "segment"):
            threading.Event().wait(2 * slack_server.LOOK_S)  # answers are of one look for so long
            status, told = get(f"{url}?by=0.25,2&bytes=1000000")
        assert (status, told["segment"]["state"]) == (200, "live")
        assert [one["by_s"] for one in told["ports"][0]["room"]] == [0.25, 2.0]
        assert "soonest_s" in told["ports"][0]


@pytest.mark.parametrize(
    "query",
    [
        *("by", "by=", "by=0", "by=-1", "by=nan", "by=1e9", "by=1,,2", "by=1;2", "by=0x1"),
        *("bytes=", "bytes=0", "bytes=-5", "bytes=1e6", "bytes=9999999999999999999", "bytes=%FF"),
        *("by=1&by=2", "deadline=1", "=", "a=1&" * 9, "by=" + ",".join(["1"] * 65), "x" * 3000),
    ],
)
def test_http__queries_that_cannot_be_understood(tmp_path: Path, query: str) -> None:
    with serving(tmp_path / "none") as url:
        status, told = get(f"{url}?{query}")
        assert status == 400
        assert list(told) == ["error"]
        assert "\n" not in told["error"]
        assert len(told["error"]) < 500
        assert get(url)[0] == 200


def test_http__other_paths_and_other_talk(tmp_path: Path) -> None:
    with serving(tmp_path / "none") as url:
        assert get(url.replace("/slack", "/metrics"))[0] == 404
        place = urllib.request.urlparse(url).netloc.split(":")  # type: ignore[attr-defined]
        for garbage in (
            b"\r\n\r\n",
            b"\0" * 100 + b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"POST /slack HTTP/1.1\r\n\r\n",
        ):
            with socket.create_connection((place[0], int(place[1])), timeout=60) as peer:
                peer.sendall(garbage)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
        assert get(url)[0] == 200


def test_http__a_crowd_is_let_go_and_the_next_one_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_server, "MOST_CLIENTS", 2)
    with serving(tmp_path / "none") as url:
        place = url.removeprefix("http://").partition("/")[0].split(":")
        there = (place[0], int(place[1]))
        crowd = [socket.create_connection(there, timeout=60) for _ in range(3)]
        assert crowd[2].recv(1) == b""  # the first two have the places, and say nothing
        for peer in crowd:
            peer.close()
        until = time.monotonic() + 60
        while True:  # their threads see that they have gone
            try:
                assert get(url)[0] == 200
                break
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < until


def test_http__an_address_that_is_none() -> None:
    for address, port in (("203.0.113.1", 0), ("no such host", 0)):
        with pytest.raises(InputError, match=r"address .*, port 0: "):
            slack_server.Server(address, port, "")
