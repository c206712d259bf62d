# SPDX-License-Identifier: Apache-2.0
"""A trace as a page with a timeline, and as a picture.

cmpl-17   |░░░░░░░░o░░░░▓|        ░ waits in a queue   ▓ on the wire   o its level changes
          |░░░▓|  |░░▓|     |     | the deadline
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import output_file, page, pieces
from ..native import lib, text
from ..sim.report import span
from .explain import kind_of, story, summary
from .flows import Flow, flows
from .recording import Recording

MOST_FLOWS = 20_000  # on a page
MOST_STORIES = 50  # of requests, in its table
MOST_ROWS = 60  # of requests, in a picture
COLORS = {"none": "#7a838d", "kv_reuse": "#0f8f9c", "collective": "#9b4dca", "p2d": "#d9730d"}
NAMES = {"none": "untagged", "kv_reuse": "cached KV", "collective": "collective", "p2d": "new KV"}


def port_name(recording: Recording, flow: Flow) -> str:
    port, direction = flow.place
    return f"{recording.port(port).name} {'in' if direction else 'out'}"


def data_of(recording: Recording, every: Sequence[Flow]) -> dict[str, Any]:
    """For view.js: times in microseconds from the first event on."""
    since_ns = int(recording.events["time_ns"][0])
    stages = [text(lib.mfs_stage_name(stage)) for stage in range(lib.MFS_STAGE_P2D + 1)]
    tables: dict[str, dict[str, int]] = {"names": {}, "ports": {}, "words": {}}

    def number(table: str, name: str) -> int:
        return tables[table].setdefault(name, len(tables[table]))

    def at(time_ns: int | None) -> float | None:
        return None if time_ns is None else (time_ns - since_ns) / 1000

    rows = [
        [
            number("names", one.name or "(untagged)"),
            stages.index(one.stage),
            one.layer,
            number("ports", port_name(recording, one)),
            *(at(one.begin_ns), at(one.left_ns), at(one.end_ns)),
            *(one.size, one.level, one.given_up, one.completed, at(one.due_ns)),
            [
                [at(time_ns), level, number("words", words), words.startswith("given up")]
                for time_ns, level, words in one.levels
            ],
        ]
        for one in every
    ]
    return {
        "end_us": max((one.end_ns - since_ns for one in every), default=0) / 1000,
        "stages": [NAMES[stage] for stage in stages],
        "colors": [COLORS[stage] for stage in stages],
        **{name: list(table) for name, table in tables.items()},
        "flows": rows,
    }


def stories(recording: Recording, every: list[Flow]) -> tuple[str, int]:
    """The table of requests, those that were latest first, and how many there are."""
    names = list(dict.fromkeys(one.name for one in every if one.name))
    due = {one.name: one.end_ns - one.due_ns for one in every if one.due_ns is not None}
    names.sort(key=lambda name: -due.get(name, -(1 << 62)))
    rows = []
    for name in names[:MOST_STORIES]:
        one = story(recording, name, every)
        took = (one.pieces[-1].end_ns - one.pieces[0].begin_ns) / 1e9
        rows.append(
            (name, span(took), pieces.verdict(one.late_s), pieces.most(one.pieces), summary(one))
        )
    headings = ("request", "took", "deadline", "most of it", "what it waited for")
    return page.table(headings, rows, text=(0, 2, 3), words=(4,)), len(names)


def legend() -> str:
    parts = [
        f'<span style="white-space:nowrap"><span style="color:{COLORS[stage]}">&#9632;</span> '
        f"{NAMES[stage]}</span>"
        for stage in COLORS
    ]
    return (
        f'<p class="mute">{" &nbsp; ".join(parts)}. Pale: it waits in a queue; full: its last '
        "bytes are on the wire. A mark in it: its level changes, red where it was given up. A red "
        "line: the deadline of the request. Drag to move, Ctrl and wheel to zoom; point at a flow, "
        "and what is known of it stands below.</p>"
    )


CONTROLS = """<p><select id="by" aria-label="rows"><option value="request">by request</option>
<option value="port">by port</option></select>
<input id="filter" size="14" placeholder="name of request" aria-label="name of request">
<button id="before" aria-label="earlier">&#9664;</button>
<button id="after" aria-label="later">&#9654;</button>
<button id="in" aria-label="zoom in">+</button>
<button id="out" aria-label="zoom out">&minus;</button>
<button id="all">all</button></p>"""


def html(recording: Recording, title: str) -> str:
    """One file that asks for nothing else."""
    every = flows(recording)
    shown = every[-MOST_FLOWS:]
    table, count = stories(recording, every)
    body = [f"<h1>{page.escape(title)}</h1>"]
    seconds = float(recording.events["time_ns"][-1] - recording.events["time_ns"][0]) / 1e9
    said = f"{span(seconds)}, {len(every):,} flows of {count:,} requests"
    if len(shown) < len(every):
        said += f"; the last {len(shown):,} flows are drawn"
    if recording.lost:
        said += f"; {recording.lost:,} events were overwritten before they were read"
    body += [f"<p>{said}.</p>", legend(), CONTROLS]
    body.append('<pre id="told" style="position:sticky;top:0;min-height:6rem" '
                'aria-live="polite">Point at a flow.</pre>')  # fmt: skip
    body.append('<canvas id="timeline"></canvas><p id="more" class="mute"></p>')
    body.append("<noscript><p>The timeline needs JavaScript; the table does not.</p></noscript>")
    if count:
        most = f", the {MOST_STORIES} that were latest" if count > MOST_STORIES else ""
        body += [f"<h2>Requests{most}</h2>", table]
    script = importlib.resources.files(__package__).joinpath("view.js").read_text()
    return page.document(title, "\n".join(body), script, data_of(recording, shown))


# --- a picture ---


def latest(every: Sequence[Flow], most: int = MOST_ROWS) -> list[str]:
    """Names of requests in the order of their beginning; of too many, those that were latest."""
    late: dict[str, int] = {}
    for one in every:
        if one.name:
            due_ns = one.end_ns if one.due_ns is None else one.due_ns
            late[one.name] = max(late.get(one.name, -(1 << 62)), one.end_ns - due_ns)
    chosen = set(sorted(late, key=lambda name: -late[name])[:most])
    return [name for name in late if name in chosen]


def united(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Begin and length of the stretches that are covered: what is pale stays so where several lie
    over one another."""
    made: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if made and begin <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((begin, end))
    return [(begin, end - begin) for begin, end in made]


def picture(recording: Recording, path: Path, title: str) -> int:
    """Draw it; how many requests are left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    every = flows(recording)
    names = latest(every)
    rows = {name: index for index, name in enumerate(names)}
    since_ns = int(recording.events["time_ns"][0])
    order = ("fetch", "collective", "deliver")
    height = 0.28
    figure, axes = pyplot.subplots(figsize=(11, 1.6 + 0.34 * max(3, len(names))))

    def at(time_ns: int) -> float:
        return (time_ns - since_ns) / 1e9

    spans: dict[tuple[str, float], tuple[list[Any], list[Any]]] = {}
    for one in every:
        if one.name not in rows:
            continue
        low = rows[one.name] - 0.42 + height * order.index(kind_of(one))
        waits, wire = spans.setdefault((COLORS[one.stage], low), ([], []))
        waits.append((at(one.begin_ns), at(one.left_ns)))
        wire.append((at(one.left_ns), at(one.end_ns)))
        if one.due_ns is not None:
            middle = rows[one.name]
            axes.vlines(at(one.due_ns), middle - 0.45, middle + 0.45, color="black", zorder=4)
        for time_ns, _, words in one.levels:
            if words.startswith("given up"):
                axes.plot(at(time_ns), low + height / 2, "x", color="#c2352b", ms=5, zorder=5)
    for (color, low), (waits, wire) in spans.items():
        where = (low, height * 0.9)
        axes.broken_barh(united(waits), where, facecolor=color, alpha=0.35, zorder=2, linewidth=0)
        axes.broken_barh(united(wire), where, facecolor=color, zorder=3, linewidth=0)
    axes.set_yticks(range(len(names)), [name[-28:] for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5 if names else 1, -0.5)
    axes.set_xlabel("s")
    axes.grid(axis="x", alpha=0.3)
    handles = [Patch(color=COLORS[stage], label=NAMES[stage]) for stage in list(COLORS)[1:]]
    handles.append(Patch(color="#999999", alpha=0.4, label="pale: waits; full: on the wire"))
    axes.legend(
        handles=handles,
        ncol=4,
        fontsize=8,
        loc="upper left",
        frameon=False,
        bbox_to_anchor=(0, -0.6 / figure.get_figheight()),
    )
    axes.set_title(f"{title}; black: the deadline, red: given up", fontsize=10, loc="right")
    figure.tight_layout()
    output_file.write_picture(path, figure, dpi=110)
    pyplot.close(figure)
    return len({one.name for one in every if one.name}) - len(names)
