# SPDX-License-Identifier: Apache-2.0
"""Why a flow had its level, in words: struct mfs_why of csrc/core/why.h."""

from __future__ import annotations

from ..native import NEVER, lib

NAMES = {
    lib.MFS_WHY_ORDER: "order",
    lib.MFS_WHY_TIME: "time",
    lib.MFS_WHY_URGENT: "urgent",
    lib.MFS_WHY_BLOCKS: "blocks",
    lib.MFS_WHY_TURN: "turn",
    lib.MFS_WHY_UNDATED: "undated",
    lib.MFS_WHY_HOPELESS: "hopeless",
    lib.MFS_WHY_SHED: "shed",
    lib.MFS_WHY_LATE: "late",
    lib.MFS_WHY_PATIENCE: "patience",
}
GIVEN_UP = ("hopeless", "shed", "late")  # reasons of the last level of all


def slack(slack_ns: int) -> int | None:
    return None if slack_ns == NEVER else slack_ns


def _ms(span_ns: int) -> str:
    return f"{span_ns / 1e6:,.1f} ms"


def words(reason: str, slack_ns: int | None, rate_Bps: int, shed_for: str, request: str) -> str:
    """The reason and what it was judged by; `shed_for`: the name of that request, or ""."""
    rate = f" at {rate_Bps / 1e6:,.1f} MB/s" if rate_Bps else ""
    spare = ""
    if slack_ns is not None:
        late = f"{_ms(-slack_ns)} too late" if slack_ns < 0 else f"{_ms(slack_ns)} to spare"
        spare = f": {late}{rate}"
    if reason == "shed":
        whom = f"for {shed_for}" if shed_for else "so that others are in time"
        if shed_for and shed_for == request:
            whom = "as those that are due before it fill the port"
        return f"given up, shed {whom}"
    return {
        "order": "in the order of the policy",
        "time": f"it has time{spare}",
        "urgent": f"urgent{spare}",
        "blocks": "hosts wait for it",
        "turn": "not its turn yet",
        "undated": "no deadline",
        "hopeless": "given up, hopeless: its computing alone takes too long",
        "late": f"given up{spare}",
        "patience": "given up, but has waited long enough",
    }[reason]
