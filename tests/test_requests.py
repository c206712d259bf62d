# SPDX-License-Identifier: Apache-2.0
"""Requests: what is registered is what every process of the host reads."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from registered import MS, S, facts

import mfs_transport as mfs
from mfs_transport import control
from mfs_transport.control import publish_all
from mfs_transport.native import NEVER, InputError, lib, now_ns


@contextmanager
def locked(host: mfs.Host) -> Iterator[None]:
    """Another process holds the segment's lock: byte 1 of the file, csrc/host/attach.h."""
    descriptor = os.open(host.path, os.O_RDWR | os.O_CLOEXEC)
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1, 1, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    try:
        yield
    finally:
        os.close(descriptor)


def test_register__facts_are_in_the_segment(host: mfs.Host):
    request = mfs.register(
        "cmpl-17",
        ttft_s=0.5,
        arrival_ns=2 * S,
        layers=32,
        layer_s=0.003,
        collective_s=0.0005,
        p2d_layer_s=0.001,
        p2d_bytes=1 << 30,
        host=host,
    )
    assert host.requests() == 1
    assert request.deadline_ns == 2 * S + S // 2
    read = facts(host, "cmpl-17")
    assert (read.arrival_ns, read.deadline_ns) == (2 * S, 2 * S + S // 2)
    assert (read.layers, read.layer_ns, read.p2d_layer_ns) == (32, 3 * MS, MS)
    assert read.collective_ns == MS // 2
    assert read.p2d_left_bytes == 1 << 30


def test_register__deadline_counts_from_now(host: mfs.Host):
    before = now_ns()
    request = mfs.register("r", ttft_s=1.0, host=host)
    assert before + S <= request.deadline_ns <= now_ns() + S


def test_register__without_a_deadline(host: mfs.Host):
    assert mfs.register("r", host=host).deadline_ns == NEVER
    assert facts(host, "r").deadline_ns == NEVER


def test_register__again_replaces(host: mfs.Host):
    mfs.register("r", deadline_ns=1 * S, host=host)
    mfs.register("r", deadline_ns=2 * S, host=host)
    assert host.requests() == 1
    assert facts(host, "r").deadline_ns == 2 * S


def test_progress__reaches_the_segment_and_keeps_the_rest(host: mfs.Host):
    request = mfs.register("r", ttft_s=1.0, layers=32, layer_s=0.003, host=host)
    version = lib.mfs_request_version(host.handle)
    request.progress(layer=4, layer_s=0.005)
    request.progress(layer=5)
    read = facts(host, "r")
    assert (read.layer_now, read.layer_ns, read.layers) == (5, 5 * MS, 32)
    assert lib.mfs_request_version(host.handle) > version  # queues look again


def test_update__computed_can_be_taken_back(host: mfs.Host):
    request = mfs.register("r", host=host)
    for computed in (True, False):
        request.update(computed=computed)
        assert bool(facts(host, "r").flags & lib.MFS_REQUEST_COMPUTED) is computed


def test_finish__twice_does_no_harm_and_the_rest_is_refused(host: mfs.Host):
    request = mfs.register("r", ttft_s=1.0, host=host)
    request.finish()
    request.finish()
    assert host.requests() == 0
    assert facts(host, "r") is None
    with pytest.raises(ValueError, match="'r' is finished"):
        request.progress(layer=1)
    assert host.requests() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": ""}, ["request name ''"]),
        ({"name": "a\0b"}, ["request name 'a\\x00b'", "NUL"]),
        ({"name": 17}, ["request name 17", "text"]),
        ({"ttft_s": -1.0}, ["ttft_s -1.0", "more than 0"]),
        ({"ttft_s": 0}, ["ttft_s 0", "more than 0"]),
        ({"ttft_s": float("nan")}, ["ttft_s nan", "seconds"]),
        ({"ttft_s": float("inf")}, ["ttft_s inf", "seconds"]),
        ({"ttft_s": "fast"}, ["ttft_s 'fast'", "seconds"]),
        ({"deadline_ns": -5}, ["deadline_ns -5", "0 or more"]),
        ({"deadline_ns": 1.5}, ["deadline_ns 1.5", "nanoseconds"]),
        ({"ttft_s": 1.0, "deadline_ns": 5}, ["ttft_s and deadline_ns", "one of them"]),
        ({"layers": -1}, ["layers -1", "0 to"]),
        ({"layers": 1.5}, ["layers 1.5", "whole number"]),
        ({"layers": True}, ["layers True", "whole number"]),
        ({"layer_s": -0.1}, ["layer_s -0.1", "0 or more"]),
        ({"p2d_bytes": 2**63}, ["p2d_left_bytes", "0 to"]),
    ],
)
def test_register__bad_input_is_named(host: mfs.Host, arguments: dict[str, Any], says: list[str]):
    with pytest.raises(InputError) as caught:
        mfs.register(**{"name": "r", **arguments}, host=host)
    for part in says:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert host.requests() == 0


@pytest.mark.parametrize(("field", "value"), [("layer", -1), ("layer_s", -1.0), ("layer", 2**32)])
def test_progress__bad_input_changes_nothing(host: mfs.Host, field: str, value: Any):
    request = mfs.register("r", ttft_s=1.0, layers=32, host=host)
    with pytest.raises(InputError, match=field):
        request.update(**{"layer": 7, field: value})
    assert facts(host, "r").layer_now == 0
    request.update(layers=33)  # nor later
    assert (facts(host, "r").layer_now, facts(host, "r").layers) == (0, 33)


def test_finish__while_the_lock_is_held_is_made_good(host: mfs.Host) -> None:
    first, second = (mfs.register(name, ttft_s=1, host=host) for name in ("a", "b"))
    with locked(host):
        first.finish()
        assert host.requests() == 2
    second.finish()
    assert host.requests() == 0


def test_finish__while_the_lock_is_held_leaves_one_that_is_registered_anew(host: mfs.Host) -> None:
    with locked(host):
        mfs.register("a", ttft_s=1, host=host, publish=False).finish()
    mfs.register("a", ttft_s=1, host=host)
    mfs.register("b", ttft_s=1, host=host)
    assert host.requests() == 2


def test_register__table_is_full(host: mfs.Host):
    requests = [
        mfs.register(f"request-{i}", ttft_s=9.0, host=host, publish=False)
        for i in range(lib.MFS_REQUESTS_MAX)
    ]
    publish_all(host, requests)
    assert host.requests() == lib.MFS_REQUESTS_MAX == 16384
    with pytest.raises(OSError, match=r"16384 requests are registered .* finish\(\) those"):
        mfs.register("one-more", ttft_s=9.0, host=host)
    requests[0].finish()
    mfs.register("one-more", ttft_s=9.0, host=host)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"arrival_ns": -1}, "arrival_ns -1: nanoseconds"),
        ({"arrival_ns": 2**63}, "arrival_ns 9223372036854775808: nanoseconds"),
        ({"arrival_ns": 1.5}, "arrival_ns 1.5"),
        ({"deadline_ns": True}, "deadline_ns True"),
        ({"ttft_s": 10**400}, "ttft_s 1000"),
        ({"ttft_s": [1]}, r"ttft_s \[1\]: a number of seconds"),
        ({"layer_s": float("nan")}, "layer_s nan: a number of seconds"),
        ({"layers": 10**400}, "layers 1000"),
        ({"host": "here"}, "host 'here': a Host is expected"),
    ],
)
def test_register__what_went_wrong_in_silence_or_as_another_error(
    host: mfs.Host, arguments: dict[str, Any], says: str
):
    with pytest.raises(InputError, match=says) as caught:
        mfs.register("r", **{"host": host, **arguments})
    assert len(str(caught.value)) < 300
    assert host.requests() == 0


def test_progress__past_the_layers_is_refused(host: mfs.Host):
    request = mfs.register("r", host=host, layers=4)
    request.progress(layer=4)  # none is left
    for told in (request.progress, lambda layer: control.progress(["s", "r"], layer, host=host)):
        with pytest.raises(InputError, match="layer 5: a whole number from 0 to 4"):
            told(5)
    assert facts(host, "r").layer_now == 4


def test_progress__one_name_is_no_list_of_letters(host: mfs.Host):
    with pytest.raises(InputError, match="names 'cmpl': a list is expected"):
        control.progress("cmpl", 1, host=host)
