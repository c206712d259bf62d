# SPDX-License-Identifier: Apache-2.0
"""Workers of one host with a NIC each, emulated: each has a port of its own."""

from __future__ import annotations

from pathlib import Path

import benches
import pytest

from mfs_transport.testbed import network

REASON = network.why_not_namespaces()

pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no network namespaces: {REASON}")


def test_bench(tmp_path: Path) -> None:
    """bench/nics.py, short: that it runs, and what its file says."""
    pytest.importorskip("nixl")
    arguments = (
        "--nics",
        "2",
        "--rounds",
        "1",
        "--size",
        "1",
        "--system",
        "own",
        "--system",
        "one",
    )
    document, _ = benches.measured("nics", tmp_path, *arguments)
    own, one = document["results"]
    assert own["senders"] == {"eth0": 1, "eth1": 1}  # nobody else is in the order of either
    assert one["senders"] == {"nic": 2}
    for result in (own, one):
        assert len(result["times_alone"]) == 2
        assert result["alone_ms"] >= 1e3 * 2**20 / document["link_Bps"]
        assert 0 < result["used"] <= 1.05
