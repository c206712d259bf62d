# SPDX-License-Identifier: Apache-2.0
"""What one request of a trace waited for, in the words of `mfs sim explain`.

The time from its first transfer to its last byte in a queue is cut, without gaps, into

    collective   a collective of it is in a queue
    fetch        none is, and cached KV is
    deliver      neither is, and new KV is
    compute      nothing of it is in a queue: it computes, or its bytes are on the wire
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from ..native import InputError
from ..sim.explain import WORDS
from ..sim.report import span
from ..terminal import Column, Table, number
from .recording import LEFT, QUEUED, Recording, deadline, name_of

STAGES = ("deliver", "fetch", "collective", "deliver")  # enum mfs_stage; untagged counts as p2d
FIRST = ("collective", "fetch", "deliver")  # of several at a time, what the others wait for


@dataclass
class Flow:
    name: str
    stage: str
    layer: int
    place: tuple[int, int]  # port and direction
    begin_ns: int
    end_ns: int
    size: int
    level: int
    due_ns: int | None
    given_up: bool


@dataclass(frozen=True)
class Piece:
    what: str
    layer: int
    begin_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


@dataclass(frozen=True)
class Story:
    request: str
    pieces: list[Piece]
    due_ns: int | None
    given_up: bool
    alone_s: float | None  # its transfers one after another, and what it computed; None: not known
    longest: Piece | None  # for what moves
    beside: list[Flow]  # others' on the same ports in that, those that went first at the top
    whole: bool  # its beginning is in the trace, and its end

    @property
    def totals(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for piece in self.pieces:
            found[piece.what] = found.get(piece.what, 0.0) + piece.seconds
        return found


def flows(recording: Recording) -> tuple[list[Flow], bool]:
    """All of them, and whether each has its beginning and its end in the trace."""
    columns = (
        *("time_ns", "kind", "pid", "port", "direction", "request", "stage", "layer"),
        *("level", "bytes_left", "bytes_sent", "deadline_ns", "given_up", "name"),
    )
    events = recording.events
    under_way: dict[tuple[int, ...], list[Flow]] = {}
    found: list[Flow] = []
    whole = True
    start_ns = int(events["time_ns"][0]) if len(events) else 0
    for row in zip(*(events[one].tolist() for one in columns), strict=True):
        time_ns, kind, *key, level, left, sent, due_ns, given_up, name = row
        mine = under_way.setdefault(tuple(key), [])
        if kind == QUEUED or not mine:
            whole = whole and kind == QUEUED
            _, port, direction, request, stage, layer = key
            flow = Flow(
                name=name_of(name, request),
                stage=STAGES[stage],
                layer=layer,
                place=(port, direction),
                begin_ns=time_ns if kind == QUEUED else start_ns,
                end_ns=time_ns,
                size=sent + left,
                level=level,
                due_ns=deadline(due_ns),
                given_up=bool(given_up),
            )
            mine.append(flow)
            found.append(flow)
        flow = mine[0]
        flow.end_ns, flow.level, flow.size = time_ns, level, max(flow.size, sent + left)
        flow.due_ns, flow.given_up = deadline(due_ns), bool(given_up)
        if kind == LEFT:
            mine.pop(0)
    for mine in under_way.values():  # what still waits at the end
        for flow in mine:
            flow.end_ns, whole = int(events["time_ns"][-1]), False
    return found, whole


def cut(mine: list[Flow]) -> list[Piece]:
    """Without gaps, in order."""
    times = sorted({at for flow in mine for at in (flow.begin_ns, flow.end_ns)})
    pieces: list[Piece] = []
    for begin_ns, end_ns in itertools.pairwise(times):
        now = [one for one in mine if one.begin_ns <= begin_ns and one.end_ns >= end_ns]
        best = min(now, key=lambda one: (FIRST.index(one.stage), one.layer), default=None)
        what, layer = (best.stage, best.layer) if best else ("compute", 0)
        if pieces and (pieces[-1].what, pieces[-1].layer) == (what, layer):
            pieces[-1] = Piece(what, layer, pieces[-1].begin_ns, end_ns)
        else:
            pieces.append(Piece(what, layer, begin_ns, end_ns))
    return pieces


def story(recording: Recording, request: str) -> Story:
    """InputError: the trace has nothing of it."""
    every, whole = flows(recording)
    mine = [one for one in every if one.name == request]
    if not mine:
        near = sorted({one.name for one in every if one.name})
        shown = ", ".join(near[:5]) + (f" and {len(near) - 5} more" if len(near) > 5 else "")
        raise InputError(f"request {request}: not in the trace, which has {shown or 'none'}")
    pieces = cut(mine)
    waits = [one for one in pieces if one.what != "compute"]
    longest = max(waits, key=lambda one: one.seconds, default=None)
    rates = [recording.port(one.place[0]).rate_Bps for one in mine]
    alone_s = None
    if all(rates):
        alone_s = sum(one.size / rate for one, rate in zip(mine, rates, strict=True))
        alone_s += sum(one.seconds for one in pieces if one.what == "compute")
    last = max(mine, key=lambda one: one.end_ns)
    return Story(
        *(request, pieces, last.due_ns, any(one.given_up for one in mine), alone_s, longest),
        beside=_beside(every, mine, longest) if longest else [],
        whole=whole,
    )


def _beside(every: list[Flow], mine: list[Flow], piece: Piece) -> list[Flow]:
    """Of others, what left in that time on the ports where this one waited; by level."""
    places = {
        one.place for one in mine if one.begin_ns < piece.end_ns and one.end_ns > piece.begin_ns
    }
    found = [
        one
        for one in every
        if one.name != mine[0].name
        and one.place in places
        and one.begin_ns < piece.end_ns
        and piece.begin_ns < one.end_ns <= piece.end_ns
    ]
    return sorted(found, key=lambda one: (one.level, -one.size))


def summary(one: Story) -> str:
    """In words: late or not, what took most, and what went meanwhile."""
    begin_ns, end_ns = one.pieces[0].begin_ns, one.pieces[-1].end_ns
    alone = "" if one.alone_s is None else f" ({span(one.alone_s)} alone)"
    verdict = "no deadline"
    if one.due_ns is not None:
        late_s = (end_ns - one.due_ns) / 1e9
        verdict = f"{span(late_s)} late" if late_s > 0 else f"{span(-late_s)} to spare"
    if one.given_up:
        verdict += ", given up"
    most = max(one.totals, key=lambda name: one.totals[name])
    shares = ", ".join(f"{name} {span(time)}" for name, time in one.totals.items())
    text = (
        f"request {one.request}: {span((end_ns - begin_ns) / 1e9)} from its first transfer until "
        f"its last byte had left the queue{alone}, {verdict}; most of it {most}. {shares}."
    )
    if one.longest is not None:
        words = WORDS[one.longest.what].format(group=one.longest.layer)
        text += f" It waited {span(one.longest.seconds)} for {words}"
        parts = []
        for stage in FIRST:
            same = [flow for flow in one.beside if flow.stage == stage]
            if same:
                size = sum(flow.size for flow in same) / 1e6
                amount = f"{size / 1e3:.2g} GB" if size >= 100 else f"{size:.2g} MB"
                parts.append(f"{stage} {amount} ({len({flow.name for flow in same})})")
        if parts:
            text += "; meanwhile others used the same ports (number of requests): "
            text += ", ".join(parts) + "."
        else:
            text += "; nothing of others left the same ports meanwhile."
    if not one.whole:
        text += " The trace does not have all flows whole: what is overwritten is not counted."
    return text


def beside_table(one: Story, most: int = 10) -> Table:
    """Those that went first."""
    made = Table(
        Column("went meanwhile", left=True, fold=True),
        Column("stage", left=True),
        *(Column(name) for name in ("layer", "MB", "level", "had to spare s")),
    )
    for flow in one.beside[:most]:
        spare = None if flow.due_ns is None else (flow.due_ns - flow.end_ns) / 1e9
        made.add_row(
            *(flow.name or "(untagged)", flow.stage, str(flow.layer), f"{flow.size / 1e6:,.1f}"),
            *(str(flow.level), number(spare, ".3f")),
        )
    return made
