# SPDX-License-Identifier: Apache-2.0
"""Traffic classes of MFS_CLASSES: which level travels with which DSCP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .native import InputError, encoded, ffi, lib

SHIFT = 2  # the DSCP's place in the byte of IP, and in InfiniBand's traffic class


@dataclass(frozen=True)
class Class:
    """A row of the table: levels from one on, up to another one or to the last."""

    first_level: int
    last_level: int | None  # None: and all behind it, and what has none
    dscp: int

    @property
    def traffic_class(self) -> int:
        return self.dscp << SHIFT


def parse(text: str) -> list[int]:
    """The DSCP values, the most urgent first; the rule is in C."""
    found = ffi.new("struct mfs_classes *")
    if lib.mfs_classes_parse(encoded(text, "MFS_CLASSES"), found) != 0:
        raise InputError(f"MFS_CLASSES={text}: no list of DSCP values")
    return [found.dscp[index] for index in range(found.count)]


def table(text: str) -> list[Class]:
    """What MFS_CLASSES says of each level."""
    values = parse(text)
    rows: list[Class] = []
    for level in range(lib.MFS_LEVELS_MAX if values else 0):
        number = lib.mfs_class_of(level, len(values))
        if number == len(rows):
            last = None if number == len(values) - 1 else level
            rows.append(Class(level, last, values[number]))
    return rows


def answers(text: str, classes: str) -> int | None:
    """The DSCP of what others read of a process where no agent says how urgent that is; None: the
    last one."""
    if not text:
        return None
    values = parse(classes)
    found = parse(text)
    if len(found) != 1 or found[0] not in values:
        shown = ", ".join(map(str, values)) or "none, since it is empty"
        raise InputError(f"MFS_CLASSES_ANSWERS={text}: one of MFS_CLASSES, which has {shown}")
    return found[0]


def environment(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """For UCX, whose traffic class over InfiniBand and RoCE is that of a whole process."""
    values = parse(text)
    if len(values) != 1 or "UCX_IB_TRAFFIC_CLASS" in environ:
        return {}
    return {"UCX_IB_TRAFFIC_CLASS": str(values[0] << SHIFT)}
