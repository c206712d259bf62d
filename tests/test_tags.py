# SPDX-License-Identifier: Apache-2.0
"""Tags of what a thread posts, and the batch of what a process computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport.control import batch_current, tag_current, tag_make
from mfs_transport.native import InputError, lib


def current() -> tuple[int, int, int] | None:
    value = tag_current()
    return None if value is None else (value.request, value.stage, value.layer)


def test_tag__nests_and_ends_with_its_block(host: mfs.Host):
    request = mfs.register("r", ttft_s=1.0, host=host)
    assert current() is None
    with mfs.tag(request, stage="p2d", layer=3):
        assert current() == (request.key, lib.MFS_STAGE_P2D, 3)
        with mfs.tag("another", stage="kv_reuse"):
            assert current() == (lib.mfs_request_key(b"another"), lib.MFS_STAGE_KV_REUSE, 0)
        assert current() == (request.key, lib.MFS_STAGE_P2D, 3)
        with pytest.raises(RuntimeError), mfs.tag(None, stage="collective"):
            raise RuntimeError
        assert current() == (request.key, lib.MFS_STAGE_P2D, 3)
    assert current() is None


def test_tag__by_name_is_the_same_in_every_process(host: mfs.Host):
    assert tag_make("r", "p2d").request == mfs.register("r", host=host).key


def test_tag__belongs_to_its_thread():
    seen = []
    with mfs.tag("r", stage="p2d"):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() is not None
    assert seen == [None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("r", "p2p"), "stage 'p2p': one of kv_reuse, collective, p2d"),
        (("r", "p2d", -1), "layer -1"),
        (("", "p2d"), "request name ''"),
        ((17, "p2d"), "request 17: a Request, a name, or None"),
    ],
)
def test_tag__bad_input_is_named(arguments: tuple[Any, ...], says: str):
    with pytest.raises(InputError, match=says), mfs.tag(*arguments):
        pass
    assert current() is None


# --- the batch ---


@pytest.fixture
def no_batch() -> Iterator[None]:
    yield
    mfs.batch(None)


def test_batch__the_earliest_deadline_counts(no_batch: None):
    late, soon = mfs.register("late", ttft_s=9.0), mfs.register("soon", ttft_s=1.0)
    without = mfs.register("without")
    try:
        mfs.batch([late, soon, without], layer=3)
        assert batch_current() == (soon.key, 3)
        mfs.batch(["late", "nobody", "soon"])  # deadlines from the segment
        assert batch_current() == (soon.key, 0)
        mfs.batch(late, layer=1)
        assert batch_current() == (late.key, 1)
    finally:
        for request in (late, soon, without):
            request.finish()


def test_batch__is_of_the_process_not_the_thread(no_batch: None):
    thread = threading.Thread(target=lambda: mfs.batch("r", layer=7))
    thread.start()
    thread.join()
    assert batch_current() == (lib.mfs_request_key(b"r"), 7)


@pytest.mark.parametrize("nothing", [None, []])
def test_batch__nothing_is_known(nothing: Any, no_batch: None):
    mfs.batch("r", layer=7)
    mfs.batch(nothing)
    assert batch_current() == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "says"), [(("",), "request name"), (("r", -1), "layer -1"), (([3],), "request")]
)
def test_batch__bad_input_is_named(arguments: tuple[Any, ...], says: str):
    with pytest.raises(InputError, match=says):
        mfs.batch(*arguments)
