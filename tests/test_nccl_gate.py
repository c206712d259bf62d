# SPDX-License-Identifier: Apache-2.0
"""The gate in front of another net plug-in: a second copy of our own, and a small one."""

from __future__ import annotations

from pathlib import Path

import pytest
from nccl import toolbox

pytestmark = pytest.mark.skipif(toolbox.libucp() is None, reason="no libucx")


@pytest.mark.parametrize(
    "scene", ["ring", "lines", "semantics", "threads", "close", "kill", "finalize"]
)
def test_around_our_own(scene: str):
    toolbox.run(scene, MFS_NCCL_INNER=str(toolbox.second_copy()), HARNESS_SLOW="1")


@pytest.mark.parametrize("version", [7, 9, 11])
def test_around_our_own__older_tables(version: int):
    inner = str(toolbox.second_copy())
    toolbox.run("ring", version=version, MFS_NCCL_INNER=inner, HARNESS_SLOW="1", UCX_TLS="shm")


@pytest.mark.parametrize("scene", ["ring", "lines", "threads", "kill", "finalize"])
def test_around_another_of_version_8(scene: str):
    said = toolbox.run(
        scene, MFS_NCCL_INNER=str(toolbox.inner_plugin()), HARNESS_SLOW="1", WORLD_LOG="1"
    )
    assert "a gate before Inner" in said
    assert "v8" in said


def test_a_window_of_one_message():
    """Everything waits its turn, and none waits for ever."""
    inner = str(toolbox.inner_plugin())
    toolbox.run("ring", MFS_NCCL_INNER=inner, MFS_WINDOW="64k", HARNESS_SLOW="1")


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str):
    inner = str(toolbox.inner_plugin())
    for scene in ("ring", "threads"):
        toolbox.run(scene, sanitizer=sanitizer, MFS_NCCL_INNER=inner)


def test_off__the_inner_plugin_is_all_there_is():
    said = toolbox.run(
        "ring",
        MFS_NCCL_INNER=str(toolbox.inner_plugin()),
        MFS_POLICY="off",
        MFS_SEGMENT=str(toolbox.folder() / "segment-off"),
        HARNESS_SLOW="1",
        WORLD_LOG="1",
    )
    assert "policy off" in said


def test_none__is_said_and_refused(tmp_path: Path):
    missing = str(tmp_path / "none.so")
    with pytest.raises(AssertionError, match=r"MFS_NCCL_INNER=.* cannot be used"):
        toolbox.run("finalize", MFS_NCCL_INNER=missing)
