# SPDX-License-Identifier: Apache-2.0
"""What comes to hosts of an emulated network, by the counters of their NICs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from _process import Process


class Arrivals:
    """How fast bytes come to these hosts from here on. Their processes are _hosts_party.py."""

    def __init__(self, parties: Mapping[str, Process], names: Iterable[str]) -> None:
        self.parties = [parties[name] for name in names]
        self.since = self.now()

    def now(self) -> list[dict[str, Any]]:
        return [one.ask("received", by=one.place.device) for one in self.parties]

    def bytes(self) -> int:
        return sum(
            int(now["bytes"] - was["bytes"])
            for now, was in zip(self.now(), self.since, strict=True)
        )

    def rate_Bps(self) -> float:
        rates = [
            (now["bytes"] - was["bytes"]) / (now["at_s"] - was["at_s"])
            for now, was in zip(self.now(), self.since, strict=True)
        ]
        return float(sum(rates))
