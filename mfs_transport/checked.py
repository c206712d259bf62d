# SPDX-License-Identifier: Apache-2.0
"""Values from a caller, each as the type that it has to be, or InputError that names it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from .native import NEVER, InputError, shown

MOST_S = 1e9  # 30 years: no sum of such times leaves 64 bits of nanoseconds
MOST_NS = 1 << 62  # of a moment; MOST_S may be added


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole(value: Any, what: str, most: int = 2**32 - 1, least: int = 0) -> int:
    """A whole number, numpy's included; a truth value is none."""
    if not _is_whole(value) or not least <= value <= most:
        raise InputError(f"{what} {shown(value)}: a whole number from {least} to {most}")
    return int(value)


def moment(value: Any, what: str, most: int = MOST_NS) -> int:
    """Nanoseconds of CLOCK_MONOTONIC."""
    if not _is_whole(value) or not 0 <= value <= most:
        raise InputError(f"{what} {shown(value)}: nanoseconds of CLOCK_MONOTONIC, 0 or more")
    return int(value)


def deadline(value: Any, what: str) -> int:
    """A moment, or NEVER."""
    return NEVER if _is_whole(value) and value == NEVER else moment(value, what)


def seconds(value: Any, what: str, *, positive: bool = False) -> int:
    """Seconds to nanoseconds."""
    number: Any = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not -1e300 < value < 1e300:
        raise InputError(f"{what} {shown(value)}: a number of seconds")
    if value < 0 or (positive and value == 0) or value > MOST_S:
        allowed = "more than 0" if positive else "0 or more"
        raise InputError(f"{what} {shown(value)}: {allowed} and at most 1e9 seconds")
    return round(float(value) * 1e9)


def truth(value: Any, what: str) -> bool:
    """Whatever has a truth value."""
    try:
        return bool(value)
    except Exception:  # of an array, or of an object with an opinion of its own
        raise InputError(f"{what} {shown(value)}: a truth value") from None


def several(values: Any, what: str) -> list[Any]:
    """What can be gone through; a text is one value, not several."""
    if not isinstance(values, str | bytes):
        with contextlib.suppress(TypeError):
            return list(values)
    raise InputError(f"{what} {shown(values)}: a list is expected")


def word(value: Any, words: Iterable[str], what: str) -> str:
    """One of these. An array is compared by element, so the type is looked at first."""
    known = tuple(words)
    if not isinstance(value, str) or value not in known:
        *most, last = known
        raise InputError(f"{what} {shown(value)}: one of {', '.join(most)} or {last}")
    return value


def one_of(value: Any, kind: type, what: str) -> Any:
    """An instance of `kind`."""
    if not isinstance(value, kind):
        raise InputError(f"{what} {shown(value)}: a {kind.__name__} is expected")
    return value
