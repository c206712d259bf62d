# SPDX-License-Identifier: Apache-2.0
"""What one request of a trace waited for, in the words of `mfs sim explain`.

The time from its first transfer until its last byte was acknowledged is cut, without gaps, into

    collective   a collective of it is in a queue
    fetch        none is, and cached KV is
    deliver      neither is, and new KV is
    wire         nothing of it is in a queue, and bytes of it are in flight
    compute      neither: it computes, or waits for its unit
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from .. import pieces as cutting
from ..native import InputError
from ..sim.report import span
from ..terminal import Column, Table, number
from .flows import Flow, flows
from .recording import Recording

STAGES = {"kv_reuse": "fetch", "collective": "collective"}  # others deliver
FIRST = ("collective", "fetch", "deliver")  # of several at a time, what the others wait for
MOVES = (*FIRST, "wire")
WORDS = {**cutting.WORDS, "wire": "its bytes in flight"}


def kind_of(flow: Flow) -> str:
    return STAGES.get(flow.stage, "deliver")


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
    given_up: str  # why, when it was first; "": it never was
    alone_s: float | None  # its transfers one after another, and what it computed; None: not known
    longest: Piece | None  # for what moves
    beside: list[Flow]  # others' on the same ports in that, those that went first at the top
    whole: bool  # its beginning is in the trace, and its end
    acknowledged: bool  # it is known when its last byte was

    @property
    def totals(self) -> dict[str, float]:
        return cutting.totals(self.pieces)

    @property
    def late_s(self) -> float | None:
        """Below 0: it had so much to spare. None: it has no deadline."""
        return None if self.due_ns is None else (self.pieces[-1].end_ns - self.due_ns) / 1e9


def cut(mine: list[Flow]) -> list[Piece]:
    """Without gaps, in order."""
    times = sorted({at for one in mine for at in (one.begin_ns, one.left_ns, one.end_ns)})
    pieces: list[Piece] = []
    for begin_ns, end_ns in itertools.pairwise(times):
        waits = [one for one in mine if one.begin_ns <= begin_ns and one.left_ns >= end_ns]
        best = min(waits, key=lambda one: (FIRST.index(kind_of(one)), one.layer), default=None)
        what, layer = (kind_of(best), best.layer) if best else ("compute", 0)
        if not best and any(one.begin_ns <= begin_ns and one.end_ns >= end_ns for one in mine):
            what = "wire"
        if pieces and (pieces[-1].what, pieces[-1].layer) == (what, layer):
            pieces[-1] = Piece(what, layer, pieces[-1].begin_ns, end_ns)
        else:
            pieces.append(Piece(what, layer, begin_ns, end_ns))
    return pieces or [Piece("wire", 0, times[0], times[-1])]


def story(recording: Recording, request: str, every: list[Flow] | None = None) -> Story:
    """every: the recording's flows, for who asks for several requests. InputError: the trace has
    nothing of it."""
    every = flows(recording) if every is None else every
    mine = [one for one in every if one.name == request]
    if not mine:
        near = sorted({one.name for one in every if one.name})
        shown = ", ".join(near[:5]) + (f" and {len(near) - 5} more" if len(near) > 5 else "")
        raise InputError(f"request {request}: not in the trace, which has {shown or 'none'}")
    pieces = cut(mine)
    waits = [one for one in pieces if one.what in MOVES]
    longest = max(waits, key=lambda one: one.seconds, default=None)
    rates = [recording.port(one.place[0]).rate_Bps for one in mine]
    alone_s = None
    if all(rates):
        alone_s = sum(one.size / rate for one, rate in zip(mine, rates, strict=True))
        alone_s += sum(one.seconds for one in pieces if one.what == "compute")
    last = max(mine, key=lambda one: one.end_ns)
    return Story(
        *(request, pieces, last.due_ns, _given_up(mine), alone_s, longest),
        beside=_beside(every, mine, longest) if longest else [],
        whole=all(one.whole and one.left for one in mine),
        acknowledged=last.completed,
    )


def _given_up(mine: list[Flow]) -> str:
    """Why it was given up first."""
    said = [row for one in mine for row in one.levels if row[2].startswith("given up")]
    if said:
        return min(said)[2]
    return "given up" if any(one.given_up for one in mine) else ""


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
        and piece.begin_ns < one.left_ns <= piece.end_ns
    ]
    return sorted(found, key=lambda one: (one.level, -one.size))


def summary(one: Story) -> str:
    """In words: late or not, what took most, and what went meanwhile."""
    begin_ns, end_ns = one.pieces[0].begin_ns, one.pieces[-1].end_ns
    alone = "" if one.alone_s is None else f" ({span(one.alone_s)} alone)"
    until = "was acknowledged" if one.acknowledged else "had left the queue"
    verdict = cutting.verdict(one.late_s)
    if one.given_up:
        verdict += f", {one.given_up}"
    text = (
        f"request {one.request}: {span((end_ns - begin_ns) / 1e9)} from its first transfer until "
        f"its last byte {until}{alone}, {verdict}; most of it {cutting.most(one.pieces)}. "
        f"{cutting.shares(one.pieces)}."
    )
    if one.longest is not None:
        words = WORDS[one.longest.what].format(group=one.longest.layer)
        text += f" It waited {span(one.longest.seconds)} for {words}"
        parts = []
        for stage in FIRST:
            same = [flow for flow in one.beside if kind_of(flow) == stage]
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
        spare = None if flow.due_ns is None else (flow.due_ns - flow.left_ns) / 1e9
        made.add_row(
            *(flow.name or "(untagged)", kind_of(flow), str(flow.layer)),
            *(f"{flow.size / 1e6:,.1f}", str(flow.level), number(spare, ".3f")),
        )
    return made
