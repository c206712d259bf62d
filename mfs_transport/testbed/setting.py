# SPDX-License-Identifier: Apache-2.0
"""The shape of a test bed: hosts, ranks and units, and how their bytes move.

Prefill hosts come in sets of `unit_hosts`. The units of a set share its hosts: each unit has one
part of the `ranks` GPUs of each of them. Then there are decode hosts, and hosts that only store KV;
where there is none of these, every host stores.

    host 0 .. m-1    set 0: unit 0 .. units_per_set-1      decode0 ..    store0 ..
    host m .. 2m-1   set 1: the next ones

A host with several NICs has a process for each, with a part of its GPUs and a link of its own: the
processes prefill0 and prefill1 are the first host's if there are two. NIC n talks to NIC n.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cpu import MOST_LATE

TCP_SHARE = 0.95  # of a link, that headers of TCP leave for data
STAGE2 = ("nixl", "nccl")
WAYS = ("pull", "push")
CLASSES = (46, 26, 0)  # DSCPs, the first one served first


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
    nics: int = 1
    """Of a host. A request's KV is on one of them, by its number; collectives use all."""
    groups: int = 8
    """A model's layers in groups: what is computed and sent at once."""
    link_Bps: float = 25e6
    """Of each NIC's link, each way, headers included."""
    stage2: str = "nixl"
    """Who carries collectives: puts of the NIXL agents, or the NCCL net plug-in."""
    fetch: str = "pull"
    """Stage 1: the prefill host reads, or the store writes."""
    deliver: str = "push"
    """Stage 3: the prefill host writes, or the decode host reads."""
    exchange: bool = False
    """The hosts' agents agree on what goes first where transfers meet."""
    classes: bool = False
    """Ports of NICs and switch have a queue for each of CLASSES; the ranks mark what they send."""
    chunk_bytes: int = 16384
    """Least chunk of a port. As it ships it is 64 KiB, which takes 2.6 ms on so slow a link: a hook
    of the tests makes it smaller."""
    most_late: float = MOST_LATE
    """Hosts that look up later than this from computing, as a share of it, had too few cores."""
    window_bytes: int = 131072
    """What a port may have in flight; 0: as it ships, by its rate. What leaves in 2 ms is 48 KiB,
    which have left here before a process that looks around has acknowledged them."""
    time_scale: float = 10.0
    """So many times slower than in the cluster time runs here."""
    idle_s: float = 0.0003
    """A process that finds nothing to do looks again after this long."""

    @property
    def payload_Bps(self) -> float:
        """What a link carries of data."""
        return TCP_SHARE * self.link_Bps

    @property
    def units(self) -> int:
        return self.unit_sets * self.units_per_set

    @property
    def unit_ranks(self) -> int:
        """GPUs of a unit in each of its processes."""
        return self.ranks // self.units_per_set // self.nics

    @property
    def prefill(self) -> list[str]:
        """Processes of the role."""
        return self._processes("prefill", self.unit_sets * self.unit_hosts)

    @property
    def decode(self) -> list[str]:
        return self._processes("decode", self.decode_hosts)

    @property
    def processes(self) -> list[str]:
        """All of them, in the order in which the simulator numbers NICs."""
        return [*self.prefill, *self.decode, *self.stores]

    @property
    def stores(self) -> list[str]:
        return self._processes("store", self.store_hosts)

    def _processes(self, role: str, hosts: int) -> list[str]:
        return [f"{role}{i}" for i in range(hosts * self.nics)]

    def of_unit(self, unit: int, nic: int | None = None) -> list[str]:
        """Processes of a unit; those of one NIC of each host."""
        count = self.unit_hosts * self.nics
        first = unit // self.units_per_set * count
        every = self.prefill[first : first + count]
        return every if nic is None else every[nic :: self.nics]

    def units_on(self, process: str) -> list[int]:
        return [unit for unit in range(self.units) if process in self.of_unit(unit)]

    def place(self, process: str) -> tuple[int, int]:
        """Number of the host in its role, and of the NIC."""
        return divmod(int(process.lstrip("abcdefghijklmnopqrstuvwxyz")), self.nics)
