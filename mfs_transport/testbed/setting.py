# SPDX-License-Identifier: Apache-2.0
"""The shape of a test bed: hosts, ranks and units, and how their bytes move.

Prefill hosts come in sets of `unit_hosts`. The units of a set share its hosts: each unit has one
part of the `ranks` GPUs of each of them. Then there are decode hosts, and hosts that only store KV;
where there is none of these, every host stores.

    host 0 .. m-1    set 0: unit 0 .. units_per_set-1      decode0 ..    store0 ..
    host m .. 2m-1   set 1: the next ones
"""

from __future__ import annotations

from dataclasses import dataclass

TCP_SHARE = 0.95  # of a link, that headers of TCP leave for data
STAGE2 = ("nixl", "nccl")
WAYS = ("pull", "push")


@dataclass(frozen=True)
class Setting:
    """Defaults: those of the demo."""

    unit_hosts: int = 2
    unit_sets: int = 1
    units_per_set: int = 4
    decode_hosts: int = 2
    store_hosts: int = 2
    spread: bool = True
    """Host i of a unit fetches from store i and sends to decode host i. Else a request has one
    store, any host but the unit's own, and one decode host."""
    ranks: int = 4
    """GPUs of a host."""
    groups: int = 8
    """A model's layers in groups: what is computed and sent at once."""
    link_Bps: float = 25e6
    """Of each host's link, each way, headers included."""
    stage2: str = "nixl"
    """Who carries collectives: puts of the NIXL agents, or the NCCL net plug-in."""
    fetch: str = "pull"
    """Stage 1: the prefill host reads, or the store writes."""
    deliver: str = "push"
    """Stage 3: the prefill host writes, or the decode host reads."""
    chunk: str = "16k"
    """Least chunk of a port; "": as it ships, 64 KiB. On a slow link that takes long, and a hook of
    the tests makes it smaller."""
    idle_s: float = 0.0003
    """A host's process that finds nothing to do looks again after this long."""

    @property
    def payload_Bps(self) -> float:
        """What a link carries of data."""
        return TCP_SHARE * self.link_Bps

    @property
    def units(self) -> int:
        return self.unit_sets * self.units_per_set

    @property
    def unit_ranks(self) -> int:
        """GPUs of a unit on each of its hosts."""
        return self.ranks // self.units_per_set

    @property
    def prefill_hosts(self) -> list[str]:
        return [f"prefill{i}" for i in range(self.unit_sets * self.unit_hosts)]

    @property
    def hosts(self) -> list[str]:
        """All of them, in the order in which the simulator numbers them."""
        decode = [f"decode{i}" for i in range(self.decode_hosts)]
        return [*self.prefill_hosts, *decode, *(f"store{i}" for i in range(self.store_hosts))]

    def hosts_of(self, unit: int) -> list[str]:
        first = unit // self.units_per_set * self.unit_hosts
        return self.prefill_hosts[first : first + self.unit_hosts]

    def units_on(self, host: str) -> list[int]:
        return [unit for unit in range(self.units) if host in self.hosts_of(unit)]
