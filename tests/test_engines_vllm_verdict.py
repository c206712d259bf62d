# SPDX-License-Identifier: Apache-2.0
"""What travels with a request, so that its decode host follows who decides about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from small_connector import facts, output, request

from mfs_transport import control
from mfs_transport.engines.vllm import interface
from mfs_transport.native import ffi, lib

pytest_plugins = ("small_connector",)


@pytest.fixture
def agent() -> Iterator[int]:
    """This host has an agent of that name."""
    handle = control.default_host().handle
    assert lib.mfs_far_attend(handle, 10**10) == 0
    lib.mfs_verdict_attend(handle, 77)
    yield 77
    lib.mfs_far_depart(handle)


@pytest.mark.usefixtures("agent")
def test_verdict__prefill_hands_on_who_decides_and_what(scheduler: Any):
    one = request("v", {"do_remote_decode": True, "mfs_deadline_ms": 9000})
    scheduler.on_new_request(one)
    scheduler._mfs_side.active["v"].request.facts.flags |= lib.MFS_REQUEST_SHED
    _, params = scheduler.request_finished(one, [1])
    key = lib.mfs_request_key(b"v")
    assert params["mfs_owner"] == f"{77:016x}-{key:016x}"
    assert params["mfs_given_up"] == "shed"


def test_verdict__nothing_is_handed_on_without_an_agent(scheduler: Any):
    one = request("v", {"do_remote_decode": True, "mfs_deadline_ms": 9000})
    scheduler.on_new_request(one)
    _, params = scheduler.request_finished(one, [1])
    assert params.keys() == {"remote_block_ids", "mfs_left_ms", "mfs_slo_class"}


PREFILLED = {
    "do_remote_prefill": True,
    "mfs_left_ms": 700,
    "mfs_owner": f"{5:016x}-{6:016x}",
    "mfs_given_up": "hopeless",
}


@pytest.mark.usefixtures("agent")
def test_verdict__decode_follows_and_tells_workers_of_other_hosts(scheduler: Any, worker: Any):
    scheduler.on_new_request(request("w", PREFILLED))
    assert facts("w").flags & lib.MFS_REQUEST_HOPELESS
    scheduler.on_new_request(request("own", {"mfs_deadline_ms": 9000}))
    meta = scheduler.build_connector_meta(output(w=1, own=1))
    message = getattr(meta, interface.MESSAGE)
    own = f"{77:016x}-{lib.mfs_request_key(b'own'):016x}"
    assert message["owners"]["w"] == {"mfs_owner": PREFILLED["mfs_owner"]}
    assert message["owners"]["own"] == {"mfs_owner": own}
    for name in ("w", "own"):
        scheduler._mfs_side.gone(name)
    worker.bind_connector_metadata(meta)  # as on a host that knows neither
    rows = ffi.new("struct mfs_follow[4]")
    count = lib.mfs_verdict_follows(control.default_host().handle, rows, 4)
    assert {(row.owner, row.key) for row in rows[0:count]} == {
        (5, 6)
    }  # the other is this host's own


@pytest.mark.usefixtures("agent")
def test_verdict__of_no_use_is_said_and_the_request_is_served(
    scheduler: Any, capfd: pytest.CaptureFixture[str]
):
    scheduler.on_new_request(request("bad", {**PREFILLED, "mfs_owner": "me"}))
    assert "mfs_owner 'me'" in capfd.readouterr().err
    assert facts("bad").flags & ~lib.MFS_REQUEST_COMPUTED == 0
