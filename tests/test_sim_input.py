# SPDX-License-Identifier: Apache-2.0
"""The simulator's public calls and files, given anything: they work, or it is one InputError."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from test_public_calls import ANYTHING, GIVEN, own_folder, spoiled, survives

from mfs_transport import input_file
from mfs_transport.native import InputError
from mfs_transport.sim import engine, models, setting, slo, sweep, workload
from mfs_transport.sim import point as points
from mfs_transport.sim.point import Point
from mfs_transport.testbed import trace

__all__ = ["own_folder"]  # a fixture that every test here uses

CLUSTER = engine.Cluster(units=1, unit_hosts=1, decode_hosts=1)
MODEL = models.unit_model("dbrx", "a100", 8)
REQUESTS = {
    "arrival_s": np.array([0.0, 1.0]),
    "tokens": np.array([100, 200]),
    "prefix": np.array([0, 50]),
    "deadline_s": np.array([1.0, np.inf]),
    "store_draw": np.array([0.1, 0.2]),
}


@GIVEN
@given(st.data())
def test_functions(data: st.DataObject):
    spoiled(data, models.find, "dbrx")
    spoiled(data, models.gpu_flops, "a100")
    spoiled(data, models.unit_model, "dbrx", "a100", 8, groups=8, hosts=1, across="auto")
    spoiled(data, slo.parse, "3x")
    spoiled(data, workload.check, "agent")
    spoiled(data, workload.rows, "agent", 4, 0)
    spoiled(data, workload.make, "agent", 1.0, 0, warmup=1, measured=2, times="poisson")
    spoiled(data, points.split_label, "mfs+h")
    spoiled(data, setting.read, "small")
    spoiled(data, trace.split, "a,block=16,unit=s")


@GIVEN
@given(st.sampled_from([field.name for field in dataclasses.fields(Point)]), ANYTHING)
def test_point(name: str, value: Any):
    if name in ("changes", "options"):
        return  # made by `frozen`
    point = dataclasses.replace(Point(warmup=0, measured=2, load=0.5), **{name: value})
    survives(points.make, point)


@GIVEN
@given(st.text(max_size=4) | st.sampled_from(list(points.OPTIONS)), ANYTHING)
def test_point__options(name: str, value: Any):
    def run() -> None:
        options = points.frozen("options", {name: value})
        points.run(Point(warmup=0, measured=2, load=0.5, options=options))

    survives(run)


@GIVEN
@given(st.text(max_size=4) | st.sampled_from([*setting._NUMBERS, *setting._WORDS]), ANYTHING)
def test_setting(name: str, value: Any):
    survives(setting.read, "small", {name: value})


@GIVEN
@given(
    st.dictionaries(
        st.sampled_from([*sweep.AXES, *sweep._COUNTS, *sweep._TABLES, "wrong"]),
        ANYTHING,
        max_size=3,
    )
)
def test_sweep(table: dict[str, Any]):
    survives(sweep.plan, "here", {"load": 0.5, "policy": "mfs", "seeds": 1, **table})


@GIVEN
@given(st.sampled_from(list(REQUESTS)), ANYTHING)
def test_simulate__requests(name: str, value: Any):
    requests = engine.Requests(**{**REQUESTS, name: value})
    survives(engine.simulate, CLUSTER, MODEL, requests)


# --- files ---

ROW = {"timestamp": 5, "input_length": 600, "output_length": 3, "hash_ids": [0, 1]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


def lines_of(rows: list[Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


ROWS = st.lists(
    st.dictionaries(st.sampled_from([*ROW, "x"]), JSON, max_size=2).map(
        lambda more: {**ROW, **more}
    ),
    max_size=3,
).map(lines_of)


def cut(whole: bytes) -> st.SearchStrategy[bytes]:
    """A file with some bytes of it replaced, left out or doubled."""
    place = st.integers(0, len(whole))
    return st.tuples(place, place, st.binary(max_size=4)).map(
        lambda cuts: whole[: cuts[0]] + cuts[2] + whole[cuts[1] :]
    )


AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,10,5\n"


@GIVEN
@given(st.one_of(st.binary(max_size=60), ROWS, cut(lines_of([ROW, ROW]))))
@example(b"[" * 100_000)
@example(b'{"timestamp": 1e400, "input_length": 9, "hash_ids": []}')
@example(b'{"timestamp": 1, "input_length": 1' + b"0" * 400 + b', "hash_ids": []}')
def test_trace__mooncake(content: bytes):
    path = Path("trace.jsonl")
    path.write_bytes(content)
    for form in (trace.MOONCAKE, trace.Form(16, "s")):
        survives(trace.read, path, form)


@GIVEN
@given(st.one_of(st.binary(max_size=60), cut(AZURE)))
@example(AZURE.replace(b",10,", b"," + b"9" * 5000 + b","))
@example(AZURE.replace(b"2024", b"0000"))
@example(AZURE.replace(b"2024", b"0001").replace(b"+00:00", b"+23:59"))
@example(AZURE.replace(b",10,", b',"' + b"x" * 200_000 + b'",'))
@example(AZURE.replace(b"\n", b"\r"))
@example(AZURE.replace(b"10", "١".encode()))
def test_trace__azure(content: bytes):
    path = Path("trace.csv")
    path.write_bytes(content)
    survives(lambda: list(workload.stream_azure(path)))


TOML = (
    b'about = "x"\nunits = 8\nunit_hosts = 2\ndecode_hosts = 16\nlink_Gbps = 200\n[set]\na = [1]\n'
)


@GIVEN
@given(st.one_of(st.binary(max_size=60), cut(TOML)))
@example(b"x = " + b"[" * 10_000)
@example(b"x = " + b"9" * 5_000)
@example(b"x = 1979-05-27T07:32:00Z\nunits = 1\ndecode_hosts = 1")
def test_toml(content: bytes):
    path = Path("./file.toml")
    path.write_bytes(content)
    survives(input_file.toml, path, "here")
    survives(setting.read, "./file.toml")
    survives(sweep.read, path)


@GIVEN
@given(st.one_of(st.text(max_size=20), JSON.map(json.dumps)))
def test_json__values_of_the_command_line(document: str):
    try:
        value = input_file.parse_value(document, "here")
    except InputError:
        return
    survives(points.frozen, "here", {"a": value})
