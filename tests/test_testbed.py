# SPDX-License-Identifier: Apache-2.0
"""The test bed's parts that need no hosts: traces, schedules, the emulated cluster."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from mfs_transport import InputError
from mfs_transport.testbed import network, schedule, trace
from mfs_transport.testbed.channel import Channel
from mfs_transport.testbed.llama import Llama

GOOD = {"timestamp": 5, "input_length": 1000, "output_length": 3, "hash_ids": [0, 1]}


def write(path: Path, *rows: object) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_shipped_trace_is_what_make_writes(tmp_path: Path) -> None:
    trace.make(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == trace.SHIPPED.read_bytes()
    rows = trace.read(trace.SHIPPED)
    assert len(rows) == 512
    assert 1500 < sum(row.tokens for row in rows) / len(rows) < 2500
    assert 0.4 < sum(row.cached for row in rows) / sum(row.tokens for row in rows) < 0.6


def test_cached_part_is_the_longest_known_prefix(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl",
        GOOD | {"hash_ids": [0, 1, 2], "input_length": 1536},
        GOOD | {"hash_ids": [0, 1, 9], "input_length": 1536},  # two blocks known
        GOOD | {"hash_ids": [1, 0], "input_length": 1024},  # both known
        GOOD | {"hash_ids": [7, 0], "input_length": 1024},  # the first is new
    )
    # all blocks known: at least one token is computed
    assert [row.cached for row in trace.read(path)] == [0, 1024, 1023, 0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: a JSON object"),
        (GOOD | {"input_length": "many"}, "line 2: input_length 'many': a number"),
        (GOOD | {"input_length": 0}, "line 2: input_length 0: a whole number from 1"),
        (GOOD | {"timestamp": -1}, "line 2: timestamp -1: 0 or more"),
        (GOOD | {"hash_ids": 3}, "line 2: hash_ids 3: a list"),
        (GOOD | {"hash_ids": ["a"]}, "line 2: hash_ids: whole numbers"),
        ({"timestamp": 1}, "line 2: input_length None: a number"),
        (GOOD | {"hash_ids": [0]}, ""),  # of the last block, which is not full, no id
        (GOOD | {"hash_ids": [0, 1, 2]}, "line 2: hash_ids has 3 blocks for input_length 1000"),
        (GOOD | {"hash_ids": list(range(63))}, "not of 512 tokens; say how many: FILE,block=16"),
        (GOOD | {"timestamp": 5.5}, "line 2: timestamp 5.5 is no whole number of milliseconds"),
        (GOOD | {"timestamp": float("nan")}, "line 2: timestamp nan"),
        (GOOD | {"input_length": 10**400}, "line 2: input_length 1000"),
        ("[" * 10_000, "line 2: not JSON that we take: nested too deeply"),
        ('{"timestamp": ' + "9" * 5000, "line 2: not JSON"),
    ],
)
def test_broken_line_is_named(tmp_path: Path, row: object, says: str) -> None:
    path = write(tmp_path / "t.jsonl", GOOD, row)
    if not says:
        assert len(trace.read(path)) == 2
        return
    with pytest.raises(InputError) as error:
        trace.read(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_split__the_form_is_behind_the_file() -> None:
    for text, path, form in (
        ("a.jsonl", "a.jsonl", trace.Form()),
        ("a.jsonl,block=16,unit=s", "a.jsonl", trace.Form(16, "s")),
        ("a,unit=ms", "a", trace.Form(512, "ms")),
        ("a,b=1.jsonl,unit=s,block=32", "a,b=1.jsonl", trace.Form(32, "s")),
    ):
        assert trace.split(text) == (Path(path), form)
    for text, says in (
        ("a,block=16", "say what timestamps are"),
        ("a,block=0,unit=s", "block '0'"),
        ("a,block=x,unit=s", "block 'x'"),
        ("a,unit=us", "unit 'us': one of ms, s"),
        ("a,unit=s,unit=ms", "given twice"),
    ):
        with pytest.raises(InputError, match=says):
            trace.split(text)


def test_stream__blocks_of_16_tokens_and_seconds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.jsonl",
        GOOD | {"timestamp": 0.25, "input_length": 48, "hash_ids": [0, 1, 2]},
        GOOD | {"timestamp": 1.5, "input_length": 40, "hash_ids": [0, 1, 9]},
    )
    rows = trace.read(path, trace.Form(16, "s"))
    assert [(row.timestamp_s, row.cached) for row in rows] == [(0.25, 0), (1.5, 32)]
    with pytest.raises(InputError, match="line 1: hash_ids has 3 blocks for input_length 48"):
        trace.read(path)


def test_trace_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        trace.read(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no requests"):
        trace.read(write(tmp_path / "empty.jsonl", ""))


@pytest.mark.parametrize("load", [0.3, 0.9])
def test_schedule_has_the_load_that_was_asked_for(load: float) -> None:
    llama = Llama()
    setting = llama.setting
    rows = trace.read(trace.SHIPPED)
    jobs = schedule.make(rows, llama, load, 8.0, seed=3, most_tokens=4096)
    sent = [2 * setting.groups * job.shard_bytes for job in jobs]
    wanted = load * setting.link_Bps * 8.0
    assert sum(sent) - sent[-1] < wanted <= sum(sent)
    assert [job.arrival_s for job in jobs] == sorted(job.arrival_s for job in jobs)
    assert jobs[0].arrival_s > 0.0
    assert jobs[-1].arrival_s < 8.0
    assert max(job.tokens for job in jobs) <= 4096
    assert {job.unit for job in jobs} <= set(range(setting.units))


def test_schedule_is_the_seeds() -> None:
    rows = trace.read(trace.SHIPPED)
    one, again, other = (schedule.make(rows, Llama(), 0.7, 5.0, seed, 12288) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_target_is_a_multiple_of_the_time_alone() -> None:
    llama = Llama(slo_factor=2.5)
    for job in schedule.make(trace.read(trace.SHIPPED), llama, 0.5, 5.0, 0, 12288):
        assert job.slo_s == pytest.approx(2.5 * llama.alone_s(job.tokens, job.cached))


def test_time_alone_without_cache() -> None:
    """Every group computes, then exchanges; stage 3 of all but the last is sent meanwhile
    when computing takes at least as long as sending."""
    llama = Llama(overhead_s=0.0, flops=Llama.flops / 4)
    compute = llama.compute_s(2000, 0)
    send = llama.link_s(llama.shard_bytes(2000))
    assert compute > send
    groups = llama.setting.groups
    assert llama.alone_s(2000, 0) == pytest.approx(groups * (compute + send) + send)


def test_time_alone_is_at_least_what_the_ports_need() -> None:
    llama = Llama(overhead_s=0.0)
    for tokens, cached in ((300, 0), (2000, 1999), (8000, 4096)):
        sent = 2 * llama.setting.groups * llama.link_s(llama.shard_bytes(tokens))
        assert llama.alone_s(tokens, cached) >= sent


def test_link_bounds() -> None:
    assert network.check_link(200) == 25e6
    for mbit in (0, -3, 1e9):
        with pytest.raises(InputError, match="Mbit/s"):
            network.check_link(mbit)


def test_missing_tool_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.shutil, "which", lambda tool: None)
    assert "util-linux" in (network.why_not_namespaces() or "")


@pytest.mark.parametrize("unread", [False, True])
def test_channel__whose_other_end_has_gone_is_over(unread: bool) -> None:
    """Also where that one had not read all: then the kernel says that the connection was reset."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours.detach())
    if unread:
        channel.send({"event": "left"})
    theirs.close()
    assert channel.ended()
    with pytest.raises(EOFError):
        channel.receive()
    with pytest.raises(EOFError):
        channel.send({})
