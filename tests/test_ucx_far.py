# SPDX-License-Identifier: Apache-2.0
"""Which port of another host an endpoint leads to, on real UCX: a limit for that port holds back
what is put there, and the agent hears of what waits."""

from __future__ import annotations

from pathlib import Path

import pytest
from ucx import toolbox

TRANSPORTS = {
    "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
    "shm": {"UCX_TLS": "shm,self"},
}


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return toolbox.environment(
        MFS_ENABLE="1",
        MFS_SEGMENT=str(tmp_path / "segment"),
        MFS_PORT="nic-of-test",
        MFS_UNTAGGED_SHARE="0",
        MFS_LEASE="20s",  # however long the machine lets us wait
        **more,
    )


@pytest.mark.parametrize("case", ["gone", "silent"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_limit_of_the_port_at_the_other_end(transport: str, case: str, tmp_path: Path) -> None:
    library = toolbox.wheel("lib")
    if library is None:
        pytest.skip("no libucx")
    program = toolbox.program("far", library / "libucp.so.0", tags=True)
    env = environment(tmp_path, MFS_PEERS="b", **TRANSPORTS[transport])
    toolbox.run([program, case], env)


def test_nothing_is_asked_without_an_agent(tmp_path: Path) -> None:
    """Nobody is to come, nobody is there: no worker is entered."""
    library = toolbox.wheel("lib")
    if library is None:
        pytest.skip("no libucx")
    program = toolbox.program("far", library / "libucp.so.0", tags=True)
    with pytest.raises(AssertionError, match=r"mfs_far_own\(host, own, 4\) == 2"):
        toolbox.run([program, "gone"], environment(tmp_path, **TRANSPORTS["shm"]))
