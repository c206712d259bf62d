# SPDX-License-Identifier: Apache-2.0
"""mfs_transport.scheduler: what Python hands to C and gets back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mfs_transport.native import NEVER, InputError, config_rows
from mfs_transport.scheduler import (
    UNTAGGED,
    Facts,
    FactsTable,
    Queue,
    Tag,
    params_make,
    plan_shed,
    plan_unit,
    request_key,
)

BENCH = Path(__file__).parent.parent / "bench" / "core.py"


def test_facts_survive_the_way_there_and_back() -> None:
    table = FactsTable()
    facts = Facts(
        deadline_ns=5, arrival_ns=1, layers=4, layer_now=2, slo_class=7, shed=True, computed=True
    )
    table["r"] = facts
    assert table["r"] == facts
    assert table[request_key("r")] == facts
    assert len(table) == 1
    del table["r"]
    with pytest.raises(KeyError):
        _ = table["r"]
    with pytest.raises(KeyError):
        del table["r"]


def test_two_queues_read_one_table() -> None:
    table = FactsTable()
    queues = [Queue("edf", facts=table) for _ in range(2)]
    for queue in queues:
        queue.push(Tag("late", "p2d"), 100)
        queue.push(Tag("soon", "p2d"), 100)
    table.update_all({"late": Facts(deadline_ns=20), "soon": Facts(deadline_ns=10)})
    for queue in queues:
        chunk = queue.take(128)
        assert chunk is not None
        assert chunk.operation.tag.request == "soon"
        assert chunk.last


def test_counters_and_emptiness() -> None:
    queue = Queue("mfs")
    assert (len(queue), queue.peek(), queue.take(128), queue.next_ns) == (0, None, None, NEVER)
    operation = queue.push(UNTAGGED, 300)
    assert queue.counters.bytes == 300
    assert queue.peek() is not None
    chunk = queue.take(200)
    assert chunk is not None
    assert (chunk.offset, chunk.length, chunk.last, chunk.level) == (0, 128, False, 7)
    assert operation.taken == 128
    queue.remove(operation)
    assert queue.counters.flows == 0
    with pytest.raises(OSError, match="remove"):
        queue.remove(operation)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="policy 'fastest': one of off, fifo"):
        Queue("fastest")
    with pytest.raises(InputError, match="parameter 'speed': one of"):
        Queue("mfs", speed=3)
    with pytest.raises(InputError, match="stage 'fourth': one of"):
        Queue("mfs").push(Tag("r", "fourth"), 1)
    with pytest.raises(OSError, match="queue"):
        Queue("mfs", levels=3)
    with pytest.raises(OSError, match="push"):
        Queue("mfs").push(UNTAGGED, 0)


def test_patience_has_one_default() -> None:
    """The table of MFS_ variables says in words what core has as a number."""
    (row,) = (row for row in config_rows() if row.name == "MFS_PATIENCE")
    assert int(row.default) == params_make().patience


def test_plan_of_a_unit_and_shedding() -> None:
    first = Facts(deadline_ns=1000, layers=10, layer_ns=10)
    second = Facts(deadline_ns=150, layers=10, layer_ns=10)
    planned = plan_unit([first, second], now_ns=0)
    assert [one.hopeless for one in planned] == [False, True]
    assert [one.start_ns for one in planned] == [0, 100]
    assert not second.hopeless  # what was given is not touched
    together = plan_unit([first, second], now_ns=0, batches=[2])
    assert [one.hopeless for one in together] == [False, False]
    with pytest.raises(InputError, match=r"batches \[1\]: sizes, in all 2"):
        plan_unit([first, second], now_ns=0, batches=[1])
    kept, shed = plan_shed(
        [Facts(deadline_ns=30, p2d_left_bytes=20), Facts(deadline_ns=40, p2d_left_bytes=30)],
        rate_Bps=1_000_000_000,
        now_ns=0,
    )
    assert (kept.shed, shed.shed) == (False, True)
    with pytest.raises(OSError, match="rate 0"):
        plan_shed([], rate_Bps=0, now_ns=0)


def test_bench_core(tmp_path: Path) -> None:
    report = tmp_path / "core.json"
    subprocess.run(
        [
            *(sys.executable, str(BENCH), "--pairs", "1000", "--runs", "1"),
            *("--no-instructions", "--json", str(report)),
        ],
        check=True,
        capture_output=True,
    )
    data = json.loads(report.read_text())
    assert data["schema_version"] == 1
    assert data["environment"]["cpus"] >= 1
    assert len(data["results"]) == 10
    for row in data["results"]:
        assert row["allocations"] == 0
        assert row["bytes_per_operation"] <= 128
        assert row["ns_per_pair"] > 0
