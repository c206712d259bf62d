# SPDX-License-Identifier: Apache-2.0
"""Estimates: warm-up, what is learned, what `mfs info --live` reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfs_transport.engines.vllm.estimate import (
    DEFAULT_BPS,
    Estimates,
    default_layer_s,
    read_reports,
)


def taught(*pairs: tuple[int, float], times: int = 60) -> Estimates:
    estimates = Estimates(layers=4, kv_token_bytes=4096)
    for tokens, seconds in pairs:
        for _ in range(times):
            estimates.layer_done(tokens, seconds)
    return estimates


def test_layer_s__default_until_something_was_measured():
    assert Estimates(4, 4096).layer_s(1000) == default_layer_s(1000)


def test_layer_s__linear_between_what_was_measured():
    estimates = taught((256, 0.01), (1024, 0.04))
    assert estimates.layer_s(256) == pytest.approx(0.01)
    assert estimates.layer_s(640) == pytest.approx(0.025)
    assert estimates.layer_s(1024) == pytest.approx(0.04)


def test_layer_s__outside_the_default_is_scaled():
    slow = taught((512, 10 * default_layer_s(512)))
    assert slow.layer_s(4096) == pytest.approx(10 * default_layer_s(4096))
    assert slow.layer_s(16) == pytest.approx(10 * default_layer_s(16))


def test_layer_done__forgets_what_no_longer_holds():
    estimates = taught((512, 0.05))
    for _ in range(60):
        estimates.layer_done(512, 0.01)
    assert estimates.layer_s(512) == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(0, 0.1), (-3, 0.1), (5, 0.0), (5, -1.0), (5, 1e9)]
)
def test_layer_done__what_cannot_be_is_not_learned(tokens: int, seconds: float):
    estimates = Estimates(4, 4096)
    estimates.layer_done(tokens, seconds)
    assert estimates.samples == 0


def test_alone_s__chunks_and_transfer():
    estimates = taught((512, 0.02), (128, 0.005))
    estimates.rate_Bps = 12_500_000
    computing = 4 * (2 * 0.02 + 0.005)
    assert estimates.prefill_s(2 * 512 + 128, 512) == pytest.approx(computing)
    assert estimates.alone_s(1152, 512) == pytest.approx(computing + 1152 * 4096 / 12.5e6)


def test_transfer_s__default_bandwidth_until_it_is_known():
    assert Estimates(4, 4096).transfer_s(DEFAULT_BPS) == pytest.approx(1.0)


samples = st.lists(st.tuples(st.integers(1, 1 << 18), st.floats(1e-6, 10)), max_size=30)


@given(samples, st.integers(0, 1 << 20))
def test_layer_s__is_always_a_time(pairs: list[tuple[int, float]], tokens: int):
    estimates = Estimates(4, 4096)
    for one, seconds in pairs:
        estimates.layer_done(one, seconds)
    assert 0 < estimates.layer_s(tokens) < 1e9


# --- reports ---


def test_publish__is_read_back_while_the_process_lives(tmp_path: Path):
    segment = tmp_path / "host"
    estimates = taught((512, 0.02))
    estimates.publish(str(segment), "engine-1")
    (report,) = read_reports(segment)
    assert report["engine"] == "engine-1"
    assert report["pid"] == os.getpid()
    assert report["layer_s"] == [[512, pytest.approx(0.02)]]


def test_read_reports__of_dead_processes_are_removed(tmp_path: Path):
    segment = tmp_path / "host"
    dead = tmp_path / "host.estimates-999999999.json"
    dead.write_text(json.dumps({"pid": 999999999}))
    (tmp_path / "host.estimates-1.json").write_text("half a repo")
    assert read_reports(segment) == []
    assert not dead.exists()


def test_publish__private_segment_has_no_place(tmp_path: Path):
    os.chdir(tmp_path)
    taught((512, 0.02)).publish("", "engine")
    assert list(tmp_path.iterdir()) == []
