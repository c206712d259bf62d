# SPDX-License-Identifier: Apache-2.0
"""The events of a trace as flows: each from when it had something to send until its last byte was
acknowledged.

    QUEUED --- MOVED ... --- LEFT ------------ COMPLETED
    begin      levels        left              end
    |------ it waits --------|-- on the wire --|
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..native import lib, text
from . import why
from .recording import COMPLETED, LEFT, QUEUED, Recording, deadline, name_of

COLUMNS = (
    *("time_ns", "kind", "pid", "port", "direction", "request", "stage", "layer"),
    *("level", "bytes_left", "bytes_sent", "deadline_ns", "given_up", "why", "slack_ns"),
    *("rate_Bps", "shed_for", "name"),
)


@dataclass
class Flow:
    """All bytes of one tag for one peer, from the first that waits to the last."""

    name: str  # of its request; "": untagged
    stage: str
    layer: int
    place: tuple[int, int]  # port and direction
    pid: int
    begin_ns: int
    left_ns: int = 0  # its last byte left the queue; the end of the trace: it still waits
    end_ns: int = 0  # that was acknowledged; left_ns where the trace does not say it
    size: int = 0
    level: int = 0
    due_ns: int | None = None
    given_up: bool = False
    left: bool = False  # the trace has seen it go
    completed: bool = False  # and acknowledged
    whole: bool = True  # it has seen it begin
    levels: list[tuple[int, int, str]] = field(default_factory=list)  # time, level and why


def flows(recording: Recording) -> list[Flow]:
    """All of them, in the order in which they began."""
    events = recording.events
    found: list[Flow] = []
    waiting: dict[tuple[int, ...], list[Flow]] = {}
    gone: dict[tuple[int, ...], list[Flow]] = {}  # and not acknowledged
    if not len(events):
        return found
    names = recording.names()
    stages = [text(lib.mfs_stage_name(stage)) for stage in range(lib.MFS_STAGE_P2D + 1)]
    first_ns, last_ns = int(events["time_ns"][0]), int(events["time_ns"][-1])
    for row in zip(*(events[one].tolist() for one in COLUMNS), strict=True):
        time_ns, kind, *key, level, left, sent, due_ns, given_up, reason = row[:14]
        if kind == COMPLETED:
            ended = _completed(gone.get(tuple(key), []), sent)
            if ended:
                ended.end_ns, ended.completed = time_ns, True
            continue
        mine = waiting.setdefault(tuple(key), [])
        if kind == QUEUED or not mine:
            pid, port, direction, request, stage, layer = key
            flow = Flow(
                name_of(row[-1], request), stages[stage], layer, (port, direction), pid,
                begin_ns=time_ns if kind == QUEUED else first_ns, whole=kind == QUEUED,
            )  # fmt: skip
            mine.append(flow)
            found.append(flow)
        flow = mine[0] if kind != QUEUED else mine[-1]
        flow.level, flow.size = level, max(flow.size, sent + left)
        flow.due_ns, flow.given_up = deadline(due_ns), flow.given_up or bool(given_up)
        if kind == LEFT:
            flow.left_ns, flow.end_ns, flow.left = time_ns, time_ns, True
            gone.setdefault(tuple(key), []).append(mine.pop(0))
        else:
            slack_ns, rate_Bps, shed_for = row[14:17]
            name = why.NAMES[reason]
            whom = names.get(shed_for, f"{shed_for:016x}") if shed_for else ""
            words = why.words(name, why.slack(slack_ns), rate_Bps, whom, flow.name)
            flow.levels.append((time_ns, level, words))
    for flow in found:
        if not flow.left:
            flow.left_ns = flow.end_ns = last_ns
    return found


def _completed(gone: list[Flow], sent: int) -> Flow | None:
    """Which of them: the oldest of that size. One whose end nobody tells stays behind."""
    at = next((index for index, flow in enumerate(gone) if flow.size == sent), 0)
    return gone.pop(at) if gone else None
