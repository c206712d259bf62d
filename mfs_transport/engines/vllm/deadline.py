# SPDX-License-Identifier: Apache-2.0
"""When the first token of a request is due, from what the request says of itself.

    kv_transfer_params["mfs_left_ms"]        time left, from the engine before on its way
    kv_transfer_params["mfs_deadline_ms"]    TTFT that the client wants, milliseconds
    vllm_xargs["mfs_deadline_ms"]            the same, where a proxy makes kv_transfer_params anew
    a header with milliseconds               as slo.py hands it on, in vllm_xargs
    either ["mfs_slo_class"]                 a class of MFS_SLO
    a header with a priority                 the class priority-N of the largest N up to it
    the class `default`

The first of these that is there holds: a time goes before a class, and of each the body before a
header. It counts from the arrival at this engine: its API server's, so that what the request waits
until the engine's core takes it is not lost. Between hosts a budget travels, not a moment: their
clocks need not agree, and the way from one to the other is counted as no time. What cannot be used
is told in one line, and the request is treated as if it had not said it.

    MFS_SLO="tight=300ms,loose=8x,default=10x"

A class is a fixed time (ns, us, ms or s behind it) or a multiple of the TTFT that the request
would have alone, as estimated (estimate.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...native import InputError, shown

LEFT, DEADLINE, CLASS = "mfs_left_ms", "mfs_deadline_ms", "mfs_slo_class"
HEADER, PRIORITY = "mfs_header_ms", "mfs_header_priority"
MOST_MS = 1e9  # eleven days: nobody waits longer for a first token
MOST_S = 1e9  # of a class, or times the TTFT alone; csrc/host/config_text.c has the same form
DEFAULT = "default"
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_PRIORITY = re.compile(r"priority-(-?[0-9]{1,10})")
_BLANKS = " \t\n\v\f\r"  # C's, which are fewer than Python's
_CLASS = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(x|ns|us|ms|s)")


@dataclass(frozen=True)
class Slo:
    """TTFT of a class: seconds, or a factor on the TTFT that a request has alone."""

    name: str
    seconds: float | None = None
    factor: float | None = None

    def ttft_s(self, alone_s: Callable[[], float]) -> float:
        if self.seconds is not None:
            return self.seconds
        assert self.factor is not None
        return self.factor * alone_s()


@dataclass(frozen=True)
class Due:
    """What was found out. left_ms: from now on; None: the request has no deadline."""

    left_ms: float | None
    slo_class: str
    complaint: str = ""  # one line on what could not be used


def parse_classes(text: str) -> dict[str, Slo]:
    """MFS_SLO by name of class; InputError says what is wrong."""
    classes: dict[str, Slo] = {}
    if not isinstance(text, str):
        raise InputError(f"MFS_SLO {shown(text)}: a text, as tight=300ms,loose=8x")
    for part in (part.strip(_BLANKS) for part in text.split(",")):
        if not part:
            continue
        found = _CLASS.fullmatch(part)
        if not found or not 0 < float(found[2]) * _UNITS.get(found[3], 1.0) <= MOST_S:
            raise InputError(
                f"MFS_SLO {shown(part)}: NAME=TIME or NAME=FACTORx is expected, "
                "as in tight=300ms,loose=8x"
            )
        name, number, unit = found[1], float(found[2]), found[3]
        if name in classes:
            raise InputError(f"MFS_SLO: the class {shown(name)} is there twice")
        if unit == "x":
            classes[name] = Slo(name, factor=number)
        else:
            classes[name] = Slo(name, seconds=number * _UNITS[unit])
    return classes


def milliseconds(value: Any, what: str, *, negative: bool = False) -> float:
    """A number of milliseconds as JSON or a header gives it; InputError otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} {shown(value)}: a number of milliseconds is expected") from None
    if not math.isfinite(number) or abs(number) > MOST_MS or (number <= 0 and not negative):
        least = f"{-MOST_MS:g} or more" if negative else "more than 0"
        raise InputError(f"{what} {shown(value)}: {least} and at most {MOST_MS:g} milliseconds")
    return number


def class_of_priority(classes: Mapping[str, Slo], priority: Any) -> str | None:
    """The class priority-N of the largest N up to it; None: there is none, or no priority."""
    if type(priority) is not int:
        return None
    found = [(int(match[1]), name) for name in classes if (match := _PRIORITY.fullmatch(name))]
    return max((one for one in found if one[0] <= priority), default=(0, None))[1]


def first(places: list[Mapping[str, Any]], key: str) -> Any:
    return next((place[key] for place in places if place.get(key) is not None), None)


def due(
    classes: Mapping[str, Slo],
    params: Mapping[str, Any] | None,
    extra: Mapping[str, Any] | None,
    age_ms: float,
    alone_s: Callable[[], float],
) -> Due:
    """When the request is due, seen now.

    params: its kv_transfer_params; extra: its vllm_xargs, with what headers said; age_ms: since
    it arrived; alone_s: estimates its TTFT on an idle cluster.
    """
    complaint = ""
    places: list[Mapping[str, Any]] = [
        place for place in (params, extra) if isinstance(place, Mapping)
    ]
    otherwise = class_of_priority(classes, first(places, PRIORITY)) or DEFAULT
    asked = first(places, CLASS)
    if asked is None:
        asked = otherwise
    name = asked if isinstance(asked, str) else otherwise  # with a deadline of its own: any name
    for key, negative in ((LEFT, True), (DEADLINE, False), (HEADER, False)):
        for place in places:
            if place.get(key) is None:
                continue
            try:
                value = milliseconds(place[key], key, negative=negative)
            except InputError as error:
                complaint = str(error)
                continue
            return Due(value - age_ms, name, complaint)
    if not isinstance(asked, str) or (asked != DEFAULT and asked not in classes):
        known = ", ".join(sorted(classes)) or "none; set MFS_SLO"
        complaint = f"{CLASS} {shown(asked)}: there is no such class; classes: {known}"
        name = otherwise
    slo = classes.get(name)
    left = None if slo is None else 1e3 * slo.ttft_s(alone_s) - age_ms
    return Due(left, name, complaint)
