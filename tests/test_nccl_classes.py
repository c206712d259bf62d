# SPDX-License-Identifier: Apache-2.0
"""Traffic classes of the NCCL net plug-in's connections over TCP, as the sockets have them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from nccl import toolbox
from ucx import toolbox as ucx

PROGRAM = Path(__file__).parent / "nccl" / "classes.py"

pytestmark = pytest.mark.skipif(toolbox.libucp() is None, reason="no libucx")


def dscps(tmp_path: Path, preload: bool, **more: str) -> set[int]:
    """Of UCX's connections and those by which the two sides met, which are never marked."""
    env = ucx.environment(
        preload=preload,
        MFS_SEGMENT=str(tmp_path / "segment"),
        MFS_PORT="nic-of-test",
        NCCL_SOCKET_IFNAME="lo",
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        PYTHONPATH=os.pathsep.join(sys.path),
        **more,
    )
    return set(map(int, ucx.run([sys.executable, PROGRAM, toolbox.PLUGIN], env, 60).split()))


@pytest.mark.parametrize("preload", [True, False], ids=["shim", "plug-in alone"])
def test_collectives_have_the_first_class(tmp_path: Path, preload: bool) -> None:
    """Also what the receiving side says, for which the sender waits."""
    assert dscps(tmp_path, preload, MFS_ENABLE="1", MFS_CLASSES="46,26,0") == {0, 46}


def test_of_a_communicator_for_p2d_the_last(tmp_path: Path) -> None:
    more = {"MFS_ENABLE": "1", "MFS_NCCL_STAGES": "7:p2d"}
    assert 8 in dscps(tmp_path, True, MFS_CLASSES="46,26,8", TRAFFIC_CLASS="7", **more)


def test_one_class_is_that_of_all(tmp_path: Path) -> None:
    assert dscps(tmp_path, False, MFS_CLASSES="26") == {0, 26}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"MFS_CLASSES": "46,0", "MFS_ENABLE": "0"},
        {"MFS_CLASSES": "46,0", "MFS_POLICY": "off"},
    ],
    ids=["unset", "not enabled", "no levels"],
)
def test_without(tmp_path: Path, more: dict[str, str]) -> None:
    assert dscps(tmp_path, True, **more) == {0}
