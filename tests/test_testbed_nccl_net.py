# SPDX-License-Identifier: Apache-2.0
"""The NCCL net plug-in's table as the test bed declares it."""

from __future__ import annotations

import re

from test_structure import CSRC, without_comments

from mfs_transport.testbed import nccl_net


def members(text: str) -> list[str]:
    """Names of a table's functions, in order."""
    return re.findall(r"\(\*(\w+)\)\(", text)


def test_declarations__are_the_first_members_of_the_header():
    header = without_comments((CSRC / "nccl" / "net.h").read_text())
    table = header[header.index("struct mfs_nccl_table_v12 {") :]
    ours = members(nccl_net.DECLARATIONS)
    assert ours == members(table)[: len(ours)]
    assert "close_listen" in ours
