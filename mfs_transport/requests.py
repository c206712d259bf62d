# SPDX-License-Identifier: Apache-2.0
"""Requests with a deadline, and what a host's queues are told of them.

A request is a row of the host's segment, under the key of its name. One process registers it;
others may tell of its progress by its name. Times are seconds (floats) or nanoseconds (`_ns`,
ints) of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from . import checked
from .host import Host, default_host, given_or_default
from .native import NEVER, InputError, check, encoded, ffi, lib, now_ns, shown


def key_of(name: object) -> int:
    """Key of a request's name: any text but none."""
    return int(lib.mfs_request_key(_name(name)))


def _name(name: object) -> bytes:
    if not isinstance(name, str) or not name:
        raise InputError(f"request name {shown(name)}: a text that is not empty")
    return encoded(name, "request name")


class Request:
    """One prompt with a TTFT deadline, as the queues of the host know it.

    Made by `register`. Every change is visible to the queues at once; several changes
    in one go belong in one `update`.
    """

    def __init__(self, host: Host, name: str, deadline_ns: int, arrival_ns: int) -> None:
        self.host = given_or_default(host)
        self.name = name
        self.key = key_of(name)
        self.facts = ffi.new("struct mfs_facts *")
        lib.mfs_facts_init(self.facts)
        self.facts.deadline_ns = checked.deadline(deadline_ns, "deadline_ns")
        self.facts.arrival_ns = checked.moment(arrival_ns, "arrival_ns")
        self._finished = False
        self._published = b""  # facts as they were published last

    @property
    def deadline_ns(self) -> int:
        return int(self.facts.deadline_ns)

    @property
    def hopeless(self) -> bool:
        """It cannot meet its deadline even on an empty network (see `Unit`)."""
        return bool(self.facts.flags & lib.MFS_REQUEST_HOPELESS)

    @property
    def shed(self) -> bool:
        """Given up for now, so that others can meet their deadlines (see `Unit`)."""
        return bool(self.facts.flags & lib.MFS_REQUEST_SHED)

    def update(
        self,
        *,
        layers: int | None = None,
        layer: int | None = None,
        layer_s: float | None = None,
        collective_s: float | None = None,
        p2d_layer_s: float | None = None,
        p2d_left_bytes: int | None = None,
        hold_s: float | None = None,
        computed: bool | None = None,
        publish: bool = True,
    ) -> None:
        """Tell what is known; what is not given stays.

        layers          layers (or groups of layers) of the model
        layer           the one that computes now; as many as there are layers: none is left
        layer_s         computing plus collective time of one layer, seconds
        collective_s    of it the collective's time on an empty port, seconds
        p2d_layer_s     stage 3 time of one layer on an empty port, seconds
        p2d_left_bytes  stage 3 bytes still to deliver, with layers not computed yet
        hold_s          its transfers wait no longer than this from their posting, whatever
                        its deadline: then they go first; 0: no bound but MFS_HOLD_MAX
        computed        the last layer has been computed
        publish         write it to the segment now; False: with the next that is published
        """
        facts = ffi.new("struct mfs_facts *", self.facts[0])  # all of it, or nothing
        if layers is not None:
            facts.layers = checked.whole(layers, "layers")
        if layer is not None:
            layer = checked.whole(layer, "layer", facts.layers or 2**32 - 1)
            if layer != facts.layer_now or facts.layer_since_ns == 0:
                facts.layer_since_ns = now_ns()
            facts.layer_now = layer
        if layer_s is not None:
            facts.layer_ns = checked.seconds(layer_s, "layer_s")
        if collective_s is not None:
            facts.collective_ns = checked.seconds(collective_s, "collective_s")
        if p2d_layer_s is not None:
            facts.p2d_layer_ns = checked.seconds(p2d_layer_s, "p2d_layer_s")
        if p2d_left_bytes is not None:
            facts.p2d_left_bytes = checked.whole(p2d_left_bytes, "p2d_left_bytes", 2**63 - 1)
        if hold_s is not None:
            facts.hold_ns = checked.seconds(hold_s, "hold_s")
        if computed is not None:
            flag = lib.MFS_REQUEST_COMPUTED
            is_computed = checked.truth(computed, "computed")
            facts.flags = facts.flags | flag if is_computed else facts.flags & ~flag
        at_once = checked.truth(publish, "publish")
        self.facts[0] = facts[0]
        if at_once:
            self.publish()

    def progress(self, layer: int, layer_s: float | None = None) -> None:
        """The engine computes `layer` now; layer_s: time of one layer as measured."""
        self.update(layer=layer, layer_s=layer_s)

    def publish(self) -> None:
        """Write what is known to the segment."""
        if self._finished:
            raise InputError(f"request {shown(self.name)} is finished")
        publish_all(self.host, [self])

    def changed(self) -> bool:
        """Something has not been published yet. A finished request has nothing to tell."""
        return not self._finished and self._published != bytes(ffi.buffer(self.facts))

    def finish(self) -> None:
        """Its first token is out (or it was given up): forget it. Twice does no harm."""
        if not self._finished:
            self._finished = True
            self.host.drop(self.key)

    def __repr__(self) -> str:
        return f"<Request {self.name!r} deadline_ns={self.deadline_ns}>"


def register(
    name: str,
    *,
    ttft_s: float | None = None,
    deadline_ns: int | None = None,
    arrival_ns: int | None = None,
    layers: int | None = None,
    layer_s: float | None = None,
    collective_s: float | None = None,
    p2d_layer_s: float | None = None,
    p2d_bytes: int | None = None,
    hold_s: float | None = None,
    host: Host | None = None,
    publish: bool = True,
) -> Request:
    """Register a request by its name (any text; the same in all processes of the host).

    ttft_s counts from arrival_ns (now, if not given); deadline_ns is the moment itself,
    on CLOCK_MONOTONIC. Without either the request has no deadline. publish=False leaves
    it to a `Unit` to write it to the segment.
    """
    if ttft_s is not None and deadline_ns is not None:
        raise InputError("ttft_s and deadline_ns: give one of them")
    arrival = now_ns() if arrival_ns is None else checked.moment(arrival_ns, "arrival_ns")
    if ttft_s is not None:
        deadline = arrival + checked.seconds(ttft_s, "ttft_s", positive=True)
    else:
        deadline = NEVER if deadline_ns is None else deadline_ns
    at_once = checked.truth(publish, "publish")
    request = Request(given_or_default(host), name, deadline, arrival)
    request.update(
        layers=layers,
        layer_s=layer_s,
        collective_s=collective_s,
        p2d_layer_s=p2d_layer_s,
        p2d_left_bytes=p2d_bytes,
        hold_s=hold_s,
        publish=False,
    )
    if at_once:
        request.publish()
    return request


def publish_all(host: Host, requests: list[Request]) -> None:
    """Write those that have changed, in one go: queues place their flows anew once."""
    host = given_or_default(host)
    changed = [
        request
        for request in checked.several(requests, "requests")
        if checked.one_of(request, Request, "request").changed()
    ]
    host.drop_again()
    if not changed:
        return
    names = [ffi.new("char[]", _name(request.name)) for request in changed]
    facts = ffi.new("struct mfs_facts[]", len(changed))
    for index, request in enumerate(changed):
        facts[index] = request.facts[0]
    result = lib.mfs_request_put_all(
        host.handle,
        ffi.new("uint64_t[]", [request.key for request in changed]),
        ffi.new("char *[]", names),
        facts,
        len(changed),
    )
    if result == -errno.ENOSPC:
        raise OSError(
            errno.ENOSPC,
            f"{lib.MFS_REQUESTS_MAX} requests are registered on this host, and no more fit: "
            "finish() those that are over",
        )
    check(result, f"{len(changed)} requests")
    host.keep(request.key for request in changed)
    for request in changed:
        request._published = bytes(ffi.buffer(request.facts))


def progress(
    names: Iterable[str],
    layer: int,
    layer_s: float | None = None,
    host: Host | None = None,
    collective_s: float | None = None,
) -> int:
    """Requests that another process registered compute `layer` now, in this one.

    layer_s: time of one layer, seconds, as measured; collective_s: of it the collective's on an
    empty port. All else that is known of them stays. Returns how many of the names are
    registered on this host.
    """
    known = [key_of(name) for name in checked.several(names, "names")]
    segment = given_or_default(host)
    facts = ffi.new("struct mfs_facts *")
    for key in known:  # one that is past its layers is wrong of all: nothing is half told
        if lib.mfs_request_get(segment.handle, key, facts) == 0 and facts.layers:
            checked.whole(layer, "layer", facts.layers)
    keys = ffi.new("uint64_t[]", known)
    return progress_of_keys(keys, len(keys), layer, layer_s, segment, collective_s)


def progress_of_keys(
    keys: Any,
    count: int,
    layer: int,
    layer_s: float | None = None,
    host: Host | None = None,
    collective_s: float | None = None,
) -> int:
    """The same of uint64_t keys[count], for who tells of the same requests many times."""
    result = lib.mfs_request_progress(
        given_or_default(host).handle,
        keys,
        count,
        checked.whole(layer, "layer"),
        now_ns(),
        0 if layer_s is None else checked.seconds(layer_s, "layer_s"),
        0 if collective_s is None else checked.seconds(collective_s, "collective_s"),
    )
    return check(result, "progress")


def facts_read(request: Request | str, facts: Any) -> None:
    """What is known of a request: by object, or by name from the process-wide segment."""
    if isinstance(request, Request):
        facts[0] = request.facts[0]
    elif lib.mfs_request_get(default_host().handle, key_of(request), facts) < 0:
        lib.mfs_facts_init(facts)
