# SPDX-License-Identifier: Apache-2.0
"""This host's workers and ports, which peers are told: in pages, each a datagram, again and again
until a peer says that it has them all (csrc/host/agent_tell.c). And a peer's, as its pages come."""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import EGRESS, INGRESS, MOST_PORTS, MOST_WORKERS, Message, Port, Worker
from .segment import Segment

MOST_PAGES = 64  # of a peer, with 24 workers each (csrc/host/agent_tell.c)


@dataclass
class Inventory:
    """Ours. `version` moves when it changes; 0: nothing has been told yet."""

    addresses: tuple[str, ...] = ()  # of this host, for endpoints that were made from one
    version: int = 0
    ports: dict[int, Port] = field(default_factory=dict)  # by number
    workers: list[Worker] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # NICs that there is no room to tell of
    _seen: int | None = None
    _uids: set[int] = field(default_factory=set)

    def refresh(self, segment: Segment) -> bool:
        """Is it another one now?"""
        seen = segment.own_version()
        if seen == self._seen:
            return False
        self._seen = seen
        rows = segment.own_workers()[: MOST_WORKERS - len(self.addresses)]
        every = sorted({name for _, name in rows})
        names, self.left_out = every[: MOST_PORTS // 2], every[MOST_PORTS // 2 :]
        pairs = {name: (Port(EGRESS, name), Port(INGRESS, name)) for name in names}
        if len(names) == 1:  # with several nobody knows which an address leads to
            uids = {uid for one in self.addresses if (uid := segment.address_uid(one))}
            rows += [(uid, names[0]) for uid in uids]
        workers = sorted(
            Worker(uid, *(port.number for port in pairs[name]))
            for uid, name in rows
            if name in pairs
        )
        ports = {port.number: port for pair in pairs.values() for port in pair}
        if (ports, workers) == (self.ports, self.workers):
            return False
        self.ports, self.workers = ports, workers
        self._uids = {one.uid for one in workers}
        self.version = self.version % (2**32 - 1) + 1
        return True

    def has(self, uid: int) -> bool:
        return uid in self._uids


@dataclass
class Theirs:
    """A peer's inventory while its pages come."""

    version: int = 0  # that is whole
    coming: int = 0
    pages: dict[int, tuple[list[Port], list[Worker]]] = field(default_factory=dict)

    def add(self, body: Message) -> tuple[list[Port], list[Worker]] | None:
        """All of it, when this was the last page that was missing."""
        page = body.page
        if page is None or body.inventory == self.version or page.pages > MOST_PAGES:
            return None
        if body.inventory != self.coming:
            self.coming = body.inventory
            self.pages.clear()
        self.pages[page.number] = (body.ports, body.workers)
        if any(number not in self.pages for number in range(page.pages)):
            return None
        pages = [self.pages[number] for number in range(page.pages)]
        self.version = self.coming
        self.pages.clear()
        ports = [port for some, _ in pages for port in some][:MOST_PORTS]
        return ports, [worker for _, some in pages for worker in some][:MOST_WORKERS]
