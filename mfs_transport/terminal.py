# SPDX-License-Identifier: Apache-2.0
"""What all commands and benches show: tables that fit, and progress that is seen in a pipe as well.

A table that is too wide folds its headings, then leaves out the columns that are worth least and
says which, then goes on in a second block. Nothing is cut.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

PIPE_WIDTH = 100  # where nothing says how wide it is
FOLD_LEAST = 20  # characters of a column whose words go over several lines
GAP = 2
EVERY_S = 5.0  # between two lines of progress in a pipe
NOTHING = "-"  # for what there is no value of

Item = TypeVar("Item")


def make_console(*, stderr: bool = False) -> Console:
    """As wide as the terminal, or as COLUMNS says; PIPE_WIDTH where neither is known."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = PIPE_WIDTH
    return console


def number(value: float | None, form: str) -> str:
    """A number in that format; one that is none is a dash, never `nan`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return format(value, form)


# --- tables ---


@dataclass(frozen=True)
class Column:
    heading: str
    worth: int | None = None  # the least goes first; None: it stays, if need be in another block
    left: bool = False  # words; numbers stand at the right
    fold: bool = False  # its words may go over several lines


class Table:
    """Columns by name, or by Column; the first one is repeated in each block."""

    def __init__(self, *columns: Column | str, heading: bool = True, gap: int = GAP) -> None:
        self.columns = [
            Column(one, left=index == 0) if isinstance(one, str) else one
            for index, one in enumerate(columns)
        ]
        self.heading = heading
        self.gap = gap
        self.rows: list[tuple[Text, ...]] = []

    def add_row(self, *cells: str | Text) -> None:
        texts = [Text(one) if isinstance(one, str) else one for one in cells]
        lacking = len(self.columns) - len(texts)
        self.rows.append((*texts, *(Text() for _ in range(lacking))))

    def _width(self, index: int, folded: bool) -> int:
        """That it needs, with its heading folded or not."""
        column = self.columns[index]
        heading = column.heading if self.heading else ""
        parts = heading.split() if folded else heading.split("\n")
        texts = [line for row in self.rows for line in row[index].plain.split("\n")]
        if column.fold:
            whole = max(map(cell_len, texts), default=0)
            words = [word for text in texts for word in text.split()]
            least = min(whole, max([FOLD_LEAST, *map(cell_len, words)]))
            texts = [" " * least]
        return max([1, *map(cell_len, [*parts, *texts])])

    def _needed(self, indices: Sequence[int], folded: bool) -> int:
        widths = [self._width(index, folded) for index in indices]
        return sum(widths) + self.gap * (len(widths) - 1)

    def _blocks(self, room: int) -> tuple[list[list[int]], bool, list[int]]:
        """The columns of each block, whether headings are folded, and what was left out."""
        shown, left_out = list(range(len(self.columns))), list[int]()
        folded = self._needed(shown, False) > room
        while self._needed(shown, folded) > room:
            spare = [index for index in shown if self.columns[index].worth is not None]
            if not spare:
                break
            least = min(spare, key=lambda index: (self.columns[index].worth or 0, -index))
            shown.remove(least)
            left_out.append(least)
        blocks = [shown[:1]]
        for index in shown[1:]:
            if len(blocks[-1]) > 1 and self._needed([*blocks[-1], index], folded) > room:
                blocks.append(shown[:1])
            blocks[-1].append(index)
        return blocks, folded, sorted(left_out)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        blocks, folded, left_out = self._blocks(room)
        for place, block in enumerate(blocks):
            if place > 0:
                yield Text()
            yield self._block(block, folded, room)
        if left_out:
            names = ", ".join(" ".join(self.columns[one].heading.split()) for one in left_out)
            yield Text(f"(no room for: {names})", style="dim")

    def _block(self, indices: list[int], folded: bool, room: int) -> RichTable:
        made = RichTable(
            box=None,
            padding=(0, self.gap, 0, 0),
            pad_edge=False,
            show_header=self.heading,
            header_style="bold",
        )
        spare = max(0, room - self._needed(indices, folded))
        for index in indices:
            column = self.columns[index]
            width = self._width(index, folded)
            if column.fold:
                longest = max((cell_len(row[index].plain) for row in self.rows), default=0)
                more = min(spare, max(0, longest - width))
                width, spare = width + more, spare - more
            made.add_column(
                Text(column.heading),
                justify="left" if column.left or column.fold else "right",
                overflow="fold",
                vertical="top",
                width=width,
            )
        for row in self.rows:
            made.add_row(*(row[index] for index in indices))
        return made


# --- progress ---


@contextmanager
def progress(words: str, total: float) -> Iterator[Callable[[float, str], None]]:
    """Tell it what is done, and in what words. At a terminal a bar; in a pipe a line at once, and
    then one every EVERY_S."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        console.print(words, soft_wrap=True)
        told_s = time.monotonic()

        def tell(done: float, now: str) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= EVERY_S:
                told_s = time.monotonic()
                share = f", {100 * done / total:.0f} %" if total else ""
                console.print(f"{now}{share}", soft_wrap=True)

        yield tell
        return
    with bars(console) as shown:
        task = shown.add_task(words, total=total)
        yield lambda done, now: shown.update(task, completed=done, description=now)


def bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def track(items: Iterable[Item], words: str, total: int | None = None) -> Iterator[Item]:
    """The items, with progress."""
    if total is None:
        items = list(items)
        total = len(items)
    with progress(words, total) as tell:
        for done, item in enumerate(items):
            tell(done, f"{words} {done + 1} of {total}")
            yield item


@contextmanager
def status(words: str) -> Iterator[None]:
    """While something is under way that cannot say how far it is."""
    console = make_console(stderr=True)
    if console.is_terminal:
        with console.status(words):
            yield
    else:
        console.print(words, soft_wrap=True)
        yield


def help_of(doc: str | None) -> str:
    """For click: what a docstring says, its indented paragraphs as they stand."""
    return (doc or "").replace("\n\n    ", "\n\n\b\n    ")
