# SPDX-License-Identifier: Apache-2.0
"""Every public call, given anything: it works, or InputError or OSError comes out of it."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import mfs_transport as mfs
from mfs_transport import checked, config, control, input_file, native, scheduler
from mfs_transport.engines import nixl
from mfs_transport.engines.vllm import deadline
from mfs_transport.observe.trace import Trace

GIVEN = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HUGE = (10**400, -(10**400), 10**5000, 2**64, 2**63, 2**63 - 1, 2**32, -1, 0, 1)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(HUGE),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["", "\ud800", "mfs\0x", "x" * 10_000, "\udcff", "p2d", "mfs", "é"]),
    st.binary(max_size=3),
    st.sampled_from([np.int64(3), np.float64("nan"), np.bool_(True), 1j, object(), len, dict]),
    st.sampled_from([np.arange(3), np.array(["a", "b"]), native.ffi.NULL]),
)
ANYTHING = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.one_of(st.none(), st.integers(), st.text(max_size=2)), SCALARS, max_size=2),
    st.tuples(SCALARS, SCALARS),
)


def survives(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """The call, and the use of what it returns where that has still to begin."""
    try:
        result = call(*arguments, **options)
        if isinstance(result, contextlib.AbstractContextManager):
            with result:
                pass
        elif inspect.isgenerator(result):
            list(result)
    except (native.InputError, OSError) as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 700
        line.encode()


def spoiled(data: st.DataObject, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """The call with one or more of its right arguments replaced by anything."""
    names = [*range(len(arguments)), *options]
    wrong = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True), "which")
    drawn = {name: data.draw(ANYTHING, str(name)) for name in wrong}
    survives(
        call,
        *(drawn.get(place, value) for place, value in enumerate(arguments)),
        **{name: drawn.get(name, value) for name, value in options.items()},
    )


KNOWN = {"layers": 4, "layer_s": 0.1, "collective_s": 0.1, "p2d_layer_s": 0.1}


@GIVEN
@given(st.data())
def test_register(host: mfs.Host, data: st.DataObject):
    options = {**KNOWN, "p2d_bytes": 5, "arrival_ns": 1, "host": host, "publish": True}
    due = data.draw(st.sampled_from([{"ttft_s": 1.0}, {"deadline_ns": 9}]))
    spoiled(data, mfs.register, "r", **due, **options)
    spoiled(data, mfs.Request, host, "r", 5, 1)


@GIVEN
@given(st.data())
def test_request(host: mfs.Host, data: st.DataObject):
    request = mfs.register("r", host=host, layers=4)
    before = bytes(native.ffi.buffer(request.facts))
    options = {**KNOWN, "layer": 1, "p2d_left_bytes": 5, "computed": True, "publish": True}
    try:
        request.update(**{name: data.draw(ANYTHING) for name in options})
    except native.InputError:
        assert bytes(native.ffi.buffer(request.facts)) == before  # all of it, or nothing
    spoiled(data, request.update, **options)
    spoiled(data, request.progress, 1, layer_s=0.1)
    assert 0 <= request.facts.layer_now <= max(4, request.facts.layers)


@GIVEN
@given(st.data())
def test_progress_and_publish(host: mfs.Host, data: st.DataObject):
    request = mfs.register("r", host=host, layers=4)
    spoiled(data, control.progress, ["r"], 1, 0.1, host, 0.1)
    spoiled(data, control.publish_all, host, [request])


@GIVEN
@given(st.data())
def test_host(host: mfs.Host, data: st.DataObject):
    spoiled(data, host.egress_rate_Bps, "eth0", at_most=True)
    spoiled(data, host.stalled, "eth0")
    spoiled(data, host.counters, process=True)
    survives(setattr, host, "policy", data.draw(ANYTHING))


@GIVEN
@given(ANYTHING.filter(lambda path: path is not None))
def test_host__path(path: Any):
    folder = Path.cwd()
    if isinstance(path, str):
        path = path.replace("/", "_")  # in this folder
    survives(mfs.Host, path)
    for made in folder.iterdir():
        if made.is_file():
            made.unlink()


@GIVEN
@given(st.data())
def test_unit_and_egress(host: mfs.Host, data: st.DataObject):
    egress = mfs.Egress(host)
    request = mfs.register("r", host=host, layers=4, ttft_s=1.0, layer_s=0.01)
    spoiled(data, mfs.Egress, host, "default")
    spoiled(data, egress.replan, 5)
    survives(mfs.Unit, data.draw(ANYTHING.filter(lambda value: value is not None)))
    unit = mfs.Unit(egress)
    spoiled(data, unit.enqueue, request)
    spoiled(data, unit.progress, request, 1, 0.1, 5)
    spoiled(data, unit.computed, request)
    spoiled(data, unit.leave, request)
    spoiled(data, unit.finish, request)
    egress.replan()


@GIVEN
@given(st.data())
def test_tag_and_batch(data: st.DataObject):
    spoiled(data, mfs.tag, "r", "p2d", 3)
    spoiled(data, mfs.batch, "r", 3)
    survives(control.tag_set, data.draw(ANYTHING))
    assert control.tag_current() is None
    mfs.batch(None)


@GIVEN
@given(st.data())
def test_scheduler(data: st.DataObject):
    facts = scheduler.Facts(deadline_ns=5)
    options = {"now_ns": 5, "untagged_permille": 50, "facts": {"r": facts}, "rate_Bps": 10}
    spoiled(data, scheduler.Queue, "mfs", **options)
    queue = scheduler.Queue("mfs", facts={"r": facts}, max_flows=8)
    tag = scheduler.Tag("r", "p2d", 1)
    spoiled(data, queue.push, tag, 100, 5)
    spoiled(data, lambda *fields: queue.push(scheduler.Tag(*fields), 100), "r", "p2d", 1)
    spoiled(data, queue.push_operation, scheduler.Operation(tag, 100))
    spoiled(data, queue.peek, 5)
    spoiled(data, queue.take, 5, 6)
    spoiled(data, queue.remove, scheduler.Operation(tag, 100))
    spoiled(data, queue.set_policy, "edf", 5, rate_Bps=10, patience=5)
    spoiled(data, queue.set_rate, 10, 5)
    spoiled(data, queue.facts.update_all, {"r": facts})
    spoiled(data, scheduler.plan_unit, [facts], 5, [1])
    spoiled(data, scheduler.plan_shed, [facts], 10, 5)
    spoiled(data, scheduler.rank_level, 5)
    spoiled(data, scheduler.rank_key, 5)
    spoiled(data, scheduler.request_key, "r")


@GIVEN
@given(st.sampled_from([f.name for f in scheduler.dataclasses.fields(scheduler.Facts)]), ANYTHING)
def test_scheduler__facts(name: str, value: Any):
    survives(scheduler.plan_unit, [scheduler.Facts(**{name: value})], 5)


class Nixl:
    """An agent that knows no wrong argument."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: object()


@GIVEN
@given(st.data())
def test_nixl(data: st.DataObject):
    spoiled(data, nixl.Agent, Nixl(), lambda *_: None)
    agent, handle = nixl.Agent(Nixl()), object()
    spoiled(data, agent.tag, handle, "r", "p2d", 3)
    spoiled(data, agent.transfer, handle)
    spoiled(data, agent.initialize_xfer, "WRITE", [], [], "peer", b"done")
    spoiled(data, agent.release_xfer_handle, handle)
    wrong = data.draw(ANYTHING)
    odd = nixl.Agent(Nixl(), lambda *_: wrong)
    survives(lambda: odd.transfer(odd.initialize_xfer("WRITE", [], [], "peer")))


@GIVEN
@given(st.data())
def test_trace(host: mfs.Host, data: st.DataObject):
    spoiled(data, Trace, host, from_now=True)
    survives(setattr, Trace(host), "on", data.draw(ANYTHING))


@GIVEN
@given(st.data())
def test_vllm_deadline(data: st.DataObject):
    spoiled(data, deadline.parse_classes, "tight=3x")
    params = {key: data.draw(ANYTHING) for key in ("mfs_left_ms", "mfs_deadline_ms")}
    survives(deadline.due, {}, {**params, "mfs_slo_class": data.draw(ANYTHING)}, {}, 0.0, float)


@GIVEN
@given(st.data())
def test_config(data: st.DataObject):
    spoiled(data, config.parse_assignment, "a=b")
    spoiled(data, config.of_tools, "MFS_PYTHON")
    spoiled(data, config.read_file, Path("none.toml"))
    pairs = st.dictionaries(st.text(max_size=3) | st.sampled_from(["MFS_PORT"]), st.text())
    survives(config.resolve, data.draw(pairs), data.draw(pairs))
    spoiled(data, native.config_check, "MFS_PORT", "x")
    spoiled(data, native.config_number, "MFS_LOG", "1")
    spoiled(data, native.config_gone, "MFS_LOG")
    spoiled(data, native.policy, "mfs")
    spoiled(data, native.stage_number, "p2d")
    spoiled(data, input_file.parse_json, "[1]", "here")
    spoiled(data, input_file.parse_toml, "a = 1", "here")


@GIVEN
@given(st.data())
def test_checked(data: st.DataObject):
    value = data.draw(ANYTHING)
    for one in (checked.whole, checked.moment, checked.deadline, checked.seconds, checked.truth):
        survives(one, value, "what")
    survives(checked.several, value, "what")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here meets a segment, a file or a variable of others."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in [name for name in os.environ if name.startswith("MFS_")]:
        monkeypatch.delenv(name)
