# SPDX-License-Identifier: Apache-2.0
"""TTFT targets of requests: from what they take alone, fixed, or by class.

    3x                              three times the TTFT of the request alone on an idle cluster
    0.5s, 500ms                     the same for all
    tight=2x:0.3,loose=5x:0.7       classes: name=TARGET:SHARE, drawn by the seed

The form of TTFT alone is closed (engine.closed_form_ttft_s), so no run is needed for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..native import InputError, shown

FORMS = "3x, 500ms, 0.5s, or classes: tight=2x:0.3,loose=5x:0.7"


@dataclass(frozen=True)
class Target:
    """`factor` times the TTFT alone, plus `fixed_s`; one of them is 0."""

    name: str
    factor: float
    fixed_s: float
    share: float = 1.0

    def slo_s(self, alone_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.factor * alone_s + self.fixed_s


def _target(text: str, whole: str) -> tuple[float, float]:
    number, factor, scale = text, 0.0, 0.0
    for unit, (times, seconds) in {"ms": (0, 1e-3), "x": (1, 0), "s": (0, 1)}.items():
        if text.endswith(unit):
            number, factor, scale = text[: -len(unit)], float(times), float(seconds)
            break
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (0 < value < 1e6 and factor + scale > 0):
        raise InputError(f"SLO {shown(whole)}: {FORMS}")
    return value * factor, value * scale


def parse(text: str) -> tuple[Target, ...]:
    """The classes of an SLO; one class named `all` when there are none."""
    if not isinstance(text, str):
        raise InputError(f"SLO {shown(text)}: {FORMS}")
    text = text.replace(" ", "")
    if "=" not in text:
        return (Target("all", *_target(text, text)),)
    found = []
    for part in text.split(","):
        name, _, rest = part.partition("=")
        target, _, share = rest.partition(":")
        factor, fixed = _target(target, text)
        try:
            weight = float(share) if share else 1.0
        except ValueError:
            weight = -1.0
        if not name or not 0 < weight < 1e6:
            raise InputError(f"SLO {shown(text)}: {FORMS}")
        found.append(Target(name, factor, fixed, weight))
    total = sum(one.share for one in found)
    if len({one.name for one in found}) < len(found):
        raise InputError(f"SLO {shown(text)}: two classes have the same name")
    return tuple(Target(o.name, o.factor, o.fixed_s, o.share / total) for o in found)


def assign(
    text: str, alone_s: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(SLO in seconds, class by its place in `parse`) of each request."""
    targets = parse(text)
    draw = np.random.default_rng([seed, 3])
    edges = np.cumsum([target.share for target in targets])
    kinds = np.minimum(np.searchsorted(edges, draw.random(len(alone_s)), "right"), len(targets) - 1)
    slo_s = np.choose(kinds, [target.slo_s(alone_s) for target in targets])
    return slo_s.astype(np.float64), kinds.astype(np.int64)
