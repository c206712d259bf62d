# SPDX-License-Identifier: Apache-2.0
"""A page that needs nothing but itself: `mfs trace view` and `mfs report` write such files.

It has its style and its script inside, asks no other host for anything, and fits a phone as well as
a desk: what is wider than the page scrolls in a box of its own.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #f1f3f5; --line: #d5d9de;
  --mute: #5b636d; --mark: #c2352b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #15181b; --soft: #20252a;
  --line: #3a4148; --mute: #9aa3ad; --mark: #ff7b6f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .3rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem;
  border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .4rem 0; max-width: 60rem; }
.mute { color: var(--mute); }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; vertical-align: top;
  white-space: nowrap; }
th { color: var(--mute); font-weight: 600; border-bottom: 1px solid var(--line); }
tr + tr td { border-top: 1px solid var(--soft); }
th.text, td.text { text-align: left; }
td.words { text-align: left; white-space: normal; min-width: 16rem; }
@media (max-width: 40rem) { .stack tr { display: block; border-bottom: 1px solid var(--line); }
  .stack th { display: none; } .stack td { display: inline-block; border: 0; }
  .stack td.words { display: block; min-width: 0; } }
pre { background: var(--soft); padding: .6rem .8rem; overflow-x: auto; border-radius: 4px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .4rem 0; }
dt { color: var(--mute); } dd { margin: 0; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg .mute { fill: var(--mute); }
button, select, input { font: inherit; color: inherit; background: var(--soft);
  padding: .2rem .6rem; border: 1px solid var(--line); border-radius: 4px; }
canvas { display: block; width: 100%; touch-action: pan-y; cursor: grab; }
@media print { body { max-width: none; } button, select, input { display: none; } }
"""


def escape(text: object) -> str:
    return html.escape(str(text))


def document(title: str, body: str, script: str = "", data: Any = None) -> str:
    """The whole file. data: what the script finds by JSON in the element `data`."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style></head><body>",
        body,
    ]
    if data is not None:
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        text = text.replace("<", "\\u003c")  # no name ends the element
        parts.append(f'<script type="application/json" id="data">{text}</script>')
    if script:
        parts.append(f"<script>{script}</script>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, text: Sequence[int] = (0,),
    words: Sequence[int] = (),
) -> str:  # fmt: skip
    """Numbers stand at the right; of the columns `text` and `words` the first do not fold."""

    def kind(index: int) -> str:
        name = "words" if index in words else "text" if index in text else ""
        return f' class="{name}"' if name else ""

    head = "".join(
        f"<th{kind(i).replace('words', 'text')}>{escape(one)}</th>"
        for i, one in enumerate(headings)
    )
    lines = [
        "<tr>" + "".join(f"<td{kind(i)}>{escape(one)}</td>" for i, one in enumerate(row)) + "</tr>"
        for row in rows
    ]
    stack = ' class="stack"' if words else ""  # a narrow page has no room beside the words
    return (
        f'<div class="wide"><table{stack}><tr>{head}</tr>\n' + "\n".join(lines) + "\n</table></div>"
    )


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Names and what they stand for."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<dl>{lines}</dl>"
