# SPDX-License-Identifier: Apache-2.0
"""Whose port a connection of the NCCL plug-in leads to: engines say who they are when they meet, so
an agent hears of them, and what they want of far ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nccl import toolbox

from mfs_transport.native import ffi, lib, text

pytestmark = pytest.mark.skipif(toolbox.libucp() is None, reason="no libucx")

S = 10**9


@contextmanager
def attached(segment: Path) -> Iterator[Any]:
    host = ffi.new("struct mfs_host **")
    assert lib.mfs_host_open(str(segment).encode(), host) == 0
    yield host[0]
    lib.mfs_host_close(host[0])


def watch(host: Any, scene: threading.Thread) -> tuple[dict[int, str], int]:
    """As an agent, until the scene ends: each worker is at a far port of its own, and nothing may
    go there for the first moment. The workers with their ports, and how many far ports had claims.
    """
    own = ffi.new("struct mfs_far_own[]", lib.MFS_FAR_OWN_MAX)
    claims = ffi.new("struct mfs_claim[]", lib.MFS_FAR_PORTS_MAX)
    far = ffi.new("uint32_t *")
    ports: dict[int, int] = {}
    names: dict[int, str] = {}
    wanted: set[int] = set()
    limits = 300
    while scene.is_alive():
        assert lib.mfs_far_attend(host, 5 * S) == 0
        for row in own[0 : lib.mfs_far_own(host, own, len(own))]:
            uid = int(row.uid)
            if uid in names:
                continue
            assert lib.mfs_far_port(host, 1 + len(ports), b"far", far) == 0
            assert lib.mfs_far_worker(host, uid, far[0], lib.MFS_FAR_NONE) == 0
            ports[uid], names[uid] = far[0], text(row.port)
        for port in ports.values() if limits else ():
            lib.mfs_far_limit(host, port, 0, -3600 * S, S)
        limits = max(0, limits - len(ports))
        for claim in claims[0 : lib.mfs_far_claims(host, lib.mfs_now_ns(), claims, len(claims))]:
            if claim.inflight_bytes or claim.waiting_bytes or claim.done_bytes:
                wanted.add(int(claim.far))
        time.sleep(0.001)
    return names, len(wanted)


def test_engines_are_entered_and_their_peers_known(tmp_path: Path):
    segment = tmp_path / "segment"
    failed: list[BaseException] = []

    def ring() -> None:
        try:
            toolbox.run("ring", MFS_SEGMENT=str(segment), MFS_PORT="nic", MFS_PEERS="b")
        except BaseException as error:
            failed.append(error)

    with attached(segment) as host:
        scene = threading.Thread(target=ring)
        scene.start()
        names, wanted = watch(host, scene)
        scene.join()
        assert not failed
        assert len(names) == 3  # ranks of the ring, an engine each
        assert set(names.values()) == {"nic"}
        assert wanted == 3
        own = ffi.new("struct mfs_far_own[1]")
        assert lib.mfs_far_own(host, own, 1) == 0  # and taken out
