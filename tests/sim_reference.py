# SPDX-License-Identifier: Apache-2.0
"""Slow and plain: rates and finish times of flows on links in exact rationals.

Written from the definitions, not from csrc/sim: every rate is worked out anew at each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class Flow:
    route: Sequence[int]
    size: Fraction
    start: Fraction = Fraction(0)
    tier: int = 1
    level: int = 0
    key: int = 0


def water_fill(room: dict[int, Fraction], flows: dict[int, Sequence[int]]) -> dict[int, Fraction]:
    """Progressive filling: all grow alike; those on a link that is full stop."""
    rates = dict.fromkeys(flows, Fraction(0))
    growing = set(flows)
    room = dict(room)
    while growing:
        count = {
            link: sum(link in flows[flow] for flow in growing)
            for link in {link for flow in growing for link in flows[flow]}
        }
        step = min(room[link] / n for link, n in count.items())
        for flow in growing:
            rates[flow] += step
        for link, n in count.items():
            room[link] -= step * n
        growing = {flow for flow in growing if all(room[link] > 0 for link in flows[flow])}
    return rates


def rates(capacity: Sequence[Fraction], flows: dict[int, Flow]) -> dict[int, Fraction]:
    """Tier 0 greedily in order of (level, key, number); then the shared tiers, max-min."""
    room = {link: Fraction(value) for link, value in enumerate(capacity)}
    result: dict[int, Fraction] = {}

    def take(flow: int, rate: Fraction) -> None:
        result[flow] = rate
        for link in flows[flow].route:
            room[link] -= rate

    ordered = [number for number, flow in flows.items() if flow.tier == 0]
    for number in sorted(ordered, key=lambda n: (flows[n].level, flows[n].key, n)):
        take(number, min(room[link] for link in flows[number].route))
    for tier in sorted({flow.tier for flow in flows.values()} - {0}):
        members = {n: flow.route for n, flow in flows.items() if flow.tier == tier}
        for number, rate in water_fill(room, members).items():
            take(number, rate)
    return result


def finishes(capacity: Sequence[Fraction], flows: Sequence[Flow]) -> list[Fraction]:
    """When each flow ends."""
    left = {number: Fraction(flow.size) for number, flow in enumerate(flows)}
    ends: dict[int, Fraction] = {}
    now = Fraction(0)
    while len(ends) < len(flows):
        active = {n: flows[n] for n in left if flows[n].start <= now}
        speed = rates(capacity, active)
        moments = [flows[n].start for n in left if flows[n].start > now]
        moments += [now + left[n] / rate for n, rate in speed.items() if rate > 0]
        then = min(moments)
        for number, rate in speed.items():
            left[number] -= rate * (then - now)
        now = then
        for number in [n for n, bytes_ in left.items() if bytes_ == 0]:
            ends[number] = now
            del left[number]
    return [ends[number] for number in range(len(flows))]
