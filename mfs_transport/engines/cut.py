# SPDX-License-Identifier: Apache-2.0
"""How a NIXL transfer is cut: into pieces of whole blocks, a large block into several.

blocks   |--|--|--------------------|--|--|--|      of the same lengths on both sides
pieces   |-----|---------|---------|--|-----|      each about `piece` bytes, none larger
                                                    unless one row of 128 bytes is
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint64]  # N x 3: address or offset, length, device
STRIDED = 5  # columns of NIXL's short form: address, length, device, stride, count


@dataclass(frozen=True)
class Piece:
    """A part of a transfer that is posted at once."""

    size: int
    make: Callable[[bytes], Any]  # NIXL's handle for it, with that notification


class Side:
    """A list of descriptors, prepared by NIXL (`handle`) or not (None), as rows."""

    def __init__(self, agent: Any, peer: str, descs: Any, mem_type: Any, handle: Any) -> None:
        self._agent, self._descs, self._mem_type = agent, descs, mem_type
        self.peer = peer  # whose memory it is
        self.handle = handle
        self._rows: Rows | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "handle":
            raise AttributeError(name)
        return getattr(self.handle, name)

    @property
    def rows(self) -> Rows:
        if self._rows is None:
            self._rows = rows_of(self._descs)
        return self._rows

    def listed(self, rows: Rows) -> Any:
        """NIXL's list of these rows, of the same kind of memory."""
        if isinstance(self._descs, np.ndarray):
            return self._agent.get_xfer_descs(rows, self._mem_type)
        return type(self._descs)(self._descs.getType(), rows)


def rows_of(descs: Any) -> Rows:
    """A list of NIXL's, or its short form of blocks that lie at equal distances."""
    if not isinstance(descs, np.ndarray):
        listed = [descs[index] for index in range(descs.descCount())]
        return np.array(listed, dtype=np.uint64).reshape(-1, 3)
    if descs.shape[1] != STRIDED:
        return np.asarray(descs, dtype=np.uint64)
    strided: Rows = np.asarray(descs, dtype=np.uint64)
    counts = strided[:, 4].astype(np.int64)
    rows = np.repeat(strided, counts, axis=0)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows[:, 0] += within.astype(np.uint64) * rows[:, 3]
    return np.ascontiguousarray(rows[:, :3])


def cut_rows(rows: Rows, piece: int) -> Rows:
    """Rows of more than `piece` bytes as several."""
    lengths = rows[:, 1].astype(np.int64)
    counts = np.maximum(1, -(-lengths // piece))
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = within * piece
    fine = np.repeat(rows, counts, axis=0)
    fine[:, 0] += offsets.astype(np.uint64)
    fine[:, 1] = np.minimum(np.repeat(lengths, counts) - offsets, piece).astype(np.uint64)
    return fine


def groups(lengths: npt.NDArray[np.int64], piece: int) -> list[tuple[int, int, int]]:
    """Runs of rows of at most `piece` bytes together: (first, behind the last, bytes)."""
    ends = np.cumsum(lengths).tolist()  # one look by numpy costs more than all of it in a list
    found, first, before = [], 0, 0
    while first < len(ends):
        behind = max(first + 1, bisect_right(ends, before + piece, first))
        found.append((first, behind, ends[behind - 1] - before))
        first, before = behind, ends[behind - 1]
    return found


def pieces_of_lists(
    agent: Any, operation: str, local: Side, remote: Side, piece: int, options: dict[str, Any]
) -> list[Piece]:
    """Of two lists of rows, by initialize_xfer."""
    ours, theirs = cut_rows(local.rows, piece), cut_rows(remote.rows, piece)

    def piece_of(first: int, behind: int, size: int) -> Piece:
        def make(notification: bytes) -> Any:
            lists = local.listed(ours[first:behind]), remote.listed(theirs[first:behind])
            return agent.initialize_xfer(operation, *lists, remote.peer, notification, **options)

        return Piece(size, make)

    return [piece_of(*group) for group in groups(ours[:, 1].astype(np.int64), piece)]


def pieces_of_blocks(
    agent: Any,
    operation: str,
    sides: tuple[Side, Side],
    indices: tuple[Any, Any],
    piece: int,
    options: dict[str, Any],
) -> list[Piece]:
    """Of prepared lists: runs of their blocks, or parts of blocks that are larger than a piece."""
    local, remote = sides
    ours, theirs = (np.asarray(one, dtype=np.int32) for one in indices)
    lengths = local.rows[ours, 1].astype(np.int64)
    if len(lengths) and lengths.max() > piece:
        chosen = [
            Side(agent, side.peer, side.listed(side.rows[index]), None, None)
            for side, index in ((local, ours), (remote, theirs))
        ]
        lists = {name: value for name, value in options.items() if name == "backends"}
        return pieces_of_lists(agent, operation, chosen[0], chosen[1], piece, lists)

    def piece_of(first: int, behind: int, size: int) -> Piece:
        def make(notification: bytes) -> Any:
            part = slice(first, behind)
            return agent.make_prepped_xfer(
                *(operation, local.handle, ours[part], remote.handle, theirs[part]),
                notification,
                **options,
            )

        return Piece(size, make)

    return [piece_of(*group) for group in groups(lengths, piece)]
