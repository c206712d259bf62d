# SPDX-License-Identifier: Apache-2.0
"""Is the shim, or the NCCL plug-in, in the way of transfers, and if not, why? For `mfs doctor`.

environment   what can be said of variables, libraries and the segment
transfer      the program that moves bytes and compares them
shim          starts it, and judges what came of it
program       the same of a program of the user's
nccl          the net plug-in
pod           what a pod shares with its node
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Status = Literal["ok", "FAIL", "skipped"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One row of the report."""

    name: str
    status: Status
    reason: str
    remedy: str = ""
