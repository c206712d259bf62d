# SPDX-License-Identifier: Apache-2.0
"""Prefill units and the egress ports behind which they queue: who is late, who is given up.

A `Unit` is the order in which a prefill unit serves its requests. An `Egress` is the port that
some units send through; it works out what their queues imply and publishes that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from . import checked, config, plan
from .host import Host, given_or_default
from .native import InputError, encoded, ffi, lib, now_ns
from .requests import Request, publish_all


class Egress:
    """What all prefill units behind one egress port have to send.

    Works out what the units' queues imply for each request (who cannot make it, how much
    urgency is inherited from those behind, who is given up when the port is overloaded; under
    `mfs_paper` its batch's RED and who is dropped) and writes that to the segment. See plan.py.
    """

    direction: int = lib.MFS_EGRESS

    def __init__(self, host: Host | None = None, port: str | None = None) -> None:
        """port: name of the NIC; None: the process's own (MFS_PORT, or by UCX_NET_DEVICES, or
        the device that its transfers were seen to use)."""
        self.host = given_or_default(host)
        given = b"" if port is None else encoded(port, "port")
        self._port = str(port) if given else None
        self.units: list[Unit] = []
        if self._port not in (None, config.own_port()):
            self.host.egress_rate_Bps(self.port)  # says so if there is no such port

    @property
    def port(self) -> str:
        """Its name, as far as it is known by now."""
        return config.own_port() if self._port is None else self._port

    def rate_Bps(self) -> int:
        """What the port carries at most; 0 while unknown, as before its first transfer."""
        return self.host.own_rate_Bps(self._port, self.direction)

    def replan(self, at_ns: int | None = None) -> None:
        """Work it out anew and publish what changed. The units call it; O(requests)."""
        at = now_ns() if at_ns is None else checked.moment(at_ns, "at_ns")
        everyone = [request for unit in self.units for request in unit.queue + unit.sending]
        facts = ffi.new("struct mfs_facts[]", max(1, len(everyone)))
        for index, request in enumerate(everyone):
            facts[index] = request.facts[0]
        queues = []
        start = 0
        for unit in self.units:
            queues.append(plan.Queue(facts + start, *unit.batches()))
            start += len(unit.queue) + len(unit.sending)
        work_out = plan.WORK_OUT[lib.mfs_host_policy(self.host.handle).plan]
        work_out(queues, facts, len(everyone), self.rate_Bps(), at)
        for index, request in enumerate(everyone):
            if facts[index].shed_for:
                facts[index].shed_for = everyone[facts[index].shed_for - 1].key
            request.facts[0] = facts[index]
        publish_all(self.host, everyone)


class Unit:
    """The queue of a prefill unit, in the order in which it will be served.

    Units that send through the same NIC share an `Egress`; one is made if none is given.
    """

    def __init__(self, egress: Egress | None = None) -> None:
        self.egress = Egress() if egress is None else checked.one_of(egress, Egress, "egress")
        self.egress.units.append(self)
        self.queue: list[Request] = []  # waiting or computing, in order
        self.sending: list[Request] = []  # computed, stage 3 bytes left
        self._batch: dict[Request, int] = {}  # number of the batch it came in
        self._batches = itertools.count()

    def enqueue(self, *requests: Request) -> None:
        """Requests join at the tail; those of one call are computed together, as one batch."""
        for request in requests:
            checked.one_of(request, Request, "request")
        self.queue.extend(requests)
        self._batch.update(dict.fromkeys(requests, next(self._batches)))
        self.egress.replan()

    def form(self, sizes: Iterable[int]) -> None:
        """What waits or computes is cut into batches of these sizes, in its order; `enqueue` makes
        one of the requests of a call."""
        given = [checked.whole(size, "size", least=1) for size in checked.several(sizes, "sizes")]
        if sum(given) != len(self.queue):
            raise InputError(
                f"batches of {sum(given)} requests together: {len(self.queue)} wait or compute"
            )
        queue = iter(self.queue)
        for size in given:
            self._batch.update(dict.fromkeys(itertools.islice(queue, size), next(self._batches)))
        self.egress.replan()

    def batches(self) -> tuple[list[int], list[int]]:
        """Sizes of the batches: of those that wait or compute, and of those computed."""
        waiting, computed = (
            [len(list(batch)) for _, batch in itertools.groupby(part, self._batch.get)]
            for part in (self.queue, self.sending)
        )
        return waiting, computed

    def progress(
        self,
        request: Request,
        layer: int | None = None,
        layer_s: float | None = None,
        p2d_left_bytes: int | None = None,
    ) -> None:
        """`request` computes `layer` now, or has so many stage 3 bytes left."""
        checked.one_of(request, Request, "request").update(
            layer=layer, layer_s=layer_s, p2d_left_bytes=p2d_left_bytes, publish=False
        )
        self.egress.replan()

    def computed(self, request: Request) -> None:
        """The last layer of `request` has been computed; the unit is free for the next."""
        checked.one_of(request, Request, "request").update(computed=True, publish=False)
        if request in self.queue:
            self.queue.remove(request)
            self.sending.append(request)
        self.egress.replan()

    def leave(self, request: Request) -> None:
        """This unit has done with `request`, which stays registered."""
        checked.one_of(request, Request, "request")
        for places in (self.queue, self.sending):
            if request in places:
                places.remove(request)
        self._batch.pop(request, None)
        self.egress.replan()

    def finish(self, request: Request) -> None:
        """Everything of `request` has been delivered, or it was given up."""
        checked.one_of(request, Request, "request").finish()
        self.leave(request)
