# SPDX-License-Identifier: Apache-2.0
"""The shim tells to which hosts its process is connected, if somebody wants to know."""

from __future__ import annotations

from pathlib import Path

import pytest
from ucx import toolbox


def run(case: str, folder: Path, sanitizer: str = "", **variables: str) -> None:
    program = toolbox.program("contacts", toolbox.fake_ucp(), sanitizer, tags=True)
    segment = str(folder / "segment")
    toolbox.run(
        [program, case],
        toolbox.environment(
            preload=not sanitizer, MFS_ENABLE="1", MFS_SEGMENT=segment, **variables
        ),
    )


@pytest.mark.parametrize("case", ["sockets", "address"])
def test_connections_come_and_go(case: str, tmp_path: Path):
    run(case, tmp_path, MFS_PEERS="connections")


@pytest.mark.parametrize("peers", ["", "decode-0,decode-1"])
def test_nothing_is_told_without_the_word(peers: str, tmp_path: Path):
    run("nobody", tmp_path, MFS_PEERS=peers)
