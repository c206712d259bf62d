# SPDX-License-Identifier: Apache-2.0
"""A receiver that takes no bytes holds up its own transfers and no others: NIXL over real UCX."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from ucx import toolbox

pytestmark = [
    pytest.mark.nixl,
    pytest.mark.skipif(importlib.util.find_spec("nixl") is None, reason="NIXL is not installed"),
]


@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("operation", ["WRITE", "READ"])
@pytest.mark.parametrize("policy", ["off", "fifo", "mfs"])
def test_stopped_receiver(policy: str, operation: str, where: str, tmp_path: Path) -> None:
    """`off` is how it is without a queue. Whatever was stuck ends when its receiver goes on."""
    env = toolbox.environment(
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        NIXL_LOG_LEVEL="FATAL",
        NIXL_UCX_DEEPBIND="0",
        MFS_ENABLE="1",
        MFS_POLICY=policy,
        MFS_SEGMENT=str(tmp_path / "segment"),
    )
    script = toolbox.HERE / "nixl_stall.py"
    output = toolbox.run([sys.executable, script, operation, where], env, timeout=90)
    states = json.loads(output.splitlines()[-1])
    assert "PROC" in states["stuck"], "nothing was stuck"
    assert states["healthy"] == ["DONE"] * 4
    assert states["after"] == ["DONE"] * 2
