# SPDX-License-Identifier: Apache-2.0
"""The control plane: what the queues are told of requests, and what traffic is tagged with.

    import mfs_transport as mfs

    request = mfs.register("cmpl-17", ttft_s=0.5, layers=32)
    with mfs.tag(request, stage="p2d", layer=3):
        agent.transfer(handle)          # NIXL, UCX: everything posted here carries the tag
    request.progress(layer=4, layer_s=0.003)
    request.finish()

What is registered lies in the host's shared segment: the queues of all processes of
the host read it, without a message or a system call. Times are seconds (floats) or
nanoseconds (`_ns`, ints) of CLOCK_MONOTONIC.

Collectives are sent by NCCL's own threads, which no tag of a block reaches: tell them what
the process computes, once a step or a layer:

    mfs.batch([request_a, request_b], layer=3)      # in the process whose collectives they are
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import checked, config, plan
from .native import (
    NEVER,
    InputError,
    check,
    encoded,
    ffi,
    lib,
    now_ns,
    policies,
    shown,
    stage_number,
    text,
)


def _key(name: object) -> int:
    """Key of a request's name: any text but none."""
    return int(lib.mfs_request_key(_name(name)))


def _name(name: object) -> bytes:
    if not isinstance(name, str) or not name:
        raise InputError(f"request name {shown(name)}: a text that is not empty")
    return encoded(name, "request name")


def _host(host: Host | None) -> Host:
    if host is None:
        return default_host()
    checked.one_of(host, Host, "host")
    return host


class Host:
    """The segment that the processes of one host share.

    Without a path: the process-wide one, by MFS_SEGMENT, which the shim of this process
    uses as well. With a path: that file (made if it is not there), to be closed by `close`.
    In a child that is forked it attaches anew at its first use.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._over: set[int] = set()  # keys of finished requests that could not be dropped yet
        self._attach()

    def _attach(self) -> None:
        if self._path is None:
            self._host = lib.mfs_host_get()
            if not self._host:
                raise OSError("no memory for a segment")
        else:
            out = ffi.new("struct mfs_host **")
            check(lib.mfs_host_open(encoded(self._path, "segment"), out), f"segment {self._path}")
            self._host = out[0]
        self._process = os.getpid()

    @property
    def handle(self) -> Any:
        if self._host is None:
            raise InputError("the host segment is closed")
        if self._process != os.getpid():  # the parent's is private and empty here
            self._attach()
        return self._host

    @property
    def path(self) -> str:
        """The segment's file; "" when it is private to this process."""
        return text(lib.mfs_host_path(self.handle))

    @property
    def reason(self) -> str:
        """Why it is private, though a file was asked for; "" otherwise."""
        return text(lib.mfs_host_reason(self.handle))

    @property
    def policy(self) -> str:
        """The policy of every queue on this host; may be set while they run."""
        return text(lib.mfs_policy_name(lib.mfs_host_policy(self.handle)))

    @policy.setter
    def policy(self, name: str) -> None:
        if lib.mfs_host_set_policy(self.handle, encoded(name, "policy")) < 0:
            names = ", ".join(row.name for row in policies())
            raise InputError(f"policy {shown(name)}: one of {names}")

    def counters(self, *, process: bool = False) -> dict[str, int]:
        """Counters of the whole host, or of this process alone."""
        own = checked.truth(process, "process")
        read = lib.mfs_count_process if own else lib.mfs_count_total
        return {
            text(lib.mfs_counter_name(index)): int(read(self.handle, index))
            for index in range(lib.MFS_COUNT_LAST)
        }

    def requests(self) -> int:
        """Requests that are registered now."""
        return int(lib.mfs_request_count(self.handle))

    def drop(self, key: int) -> None:
        """Forget a request. While a stopped process holds the segment's lock nothing can be
        dropped: then it is tried again with the next that is dropped or published."""
        self._over.add(key)
        self.drop_again()

    def drop_again(self) -> None:
        for key in list(self._over):
            if lib.mfs_request_drop(self.handle, key) == -errno.EAGAIN:
                return
            self._over.discard(key)

    def ports(self) -> list[str]:
        """NICs whose ports have carried traffic on this host."""
        return sorted({name for i in range(lib.MFS_PORTS_MAX) if (name := self.port_at(i))})

    def port_at(self, index: int) -> str:
        """Name of the port at `index` of the segment; "" if none is there."""
        name = ffi.new("char[]", lib.MFS_PORT_NAME_MAX + 1)
        found = lib.mfs_port_name_at(self.handle, index, name) == 0
        return text(name) if found else ""

    @contextmanager
    def _port(self, name: str, direction: int) -> Iterator[Any]:
        """The port of a NIC, to look at; None: nothing has gone in that direction."""
        port = encoded(name, "port")
        if name not in self.ports():
            known = ", ".join(self.ports()) or "none so far"
            raise InputError(f"port {shown(name)}: there is none of this name; ports: {known}")
        out = ffi.new("struct mfs_port **")
        result = lib.mfs_port_find(self.handle, port, direction, out)
        if result == -errno.ENOENT:
            yield None
            return
        check(result, f"port {name!r}")
        try:
            yield out[0]
        finally:
            lib.mfs_port_close(out[0])

    def egress_rate_Bps(self, name: str, *, at_most: bool = False) -> int:
        """Learned or configured bandwidth of a NIC's egress port; 0 while unknown, as
        before its first transfer. at_most: what it may be if the estimate is low."""
        return self._rate_Bps(name, lib.MFS_EGRESS, checked.truth(at_most, "at_most"))

    def _rate_Bps(self, name: str, direction: int, at_most: bool) -> int:
        with self._port(name, direction) as port:
            if not port:
                return 0  # nothing has gone in that direction
            margin = lib.mfs_port_rate_margin(port) if at_most else 1.0
            return int(margin * lib.mfs_port_rate_Bps(port))

    def own_rate_Bps(self, name: str | None, direction: int) -> int:
        """What a port of the host carries at most; 0 while unknown. name None: the port of this
        process's traffic. Where nothing here says which that is, another process may move the
        data, and which port it uses is not known here: then it is the fastest one's."""
        known = self.ports()
        wanted = config.own_port() if name is None else name
        unsaid = name is None and wanted == config.UNSAID_PORT
        names = known if unsaid else [one for one in known if one == wanted]
        return max((self._rate_Bps(one, direction, True) for one in names), default=0)

    def stalled(self, name: str) -> int:
        """Destinations of a NIC's traffic, in either direction and of all processes, that take
        no bytes now: what waits for them is held back, and transfers to others go on."""
        total = 0
        for direction in (lib.MFS_EGRESS, lib.MFS_INGRESS):
            with self._port(name, direction) as port:
                total += int(lib.mfs_port_stalled(port)) if port else 0
        return total

    def close(self) -> None:
        if self._path is not None and self._host is not None:
            lib.mfs_host_close(self._host)
        self._host = None

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HostCopy(Host):
    """What a segment's file says, as it was when this was made: to be read. It attaches to nothing
    and changes nothing, and shows what the last process has left when nobody uses the file."""

    def __init__(self, path: str) -> None:
        super().__init__(path)

    def _attach(self) -> None:
        out = ffi.new("struct mfs_host **")
        result = lib.mfs_host_open_copy(encoded(self._path or "", "segment"), out)
        check(result, f"segment {self._path}")
        self._host = out[0]
        self._process = os.getpid()

    @property
    def path(self) -> str:
        return self._path or ""


_default_host: Host | None = None
_default_lock = threading.Lock()


def default_host() -> Host:
    """The process-wide host."""
    global _default_host
    with _default_lock:
        if _default_host is None:
            _default_host = Host()
        return _default_host


class Request:
    """One prompt with a TTFT deadline, as the queues of the host know it.

    Made by `register`. Every change is visible to the queues at once; several changes
    in one go belong in one `update`.
    """

    def __init__(self, host: Host, name: str, deadline_ns: int, arrival_ns: int) -> None:
        self.host = _host(host)
        self.name = name
        self.key = _key(name)
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
    request = Request(_host(host), name, deadline, arrival)
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
    host = _host(host)
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
    host._over.difference_update(request.key for request in changed)  # registered anew
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
    known = [_key(name) for name in checked.several(names, "names")]
    segment = _host(host)
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
        _host(host).handle,
        keys,
        count,
        checked.whole(layer, "layer"),
        now_ns(),
        0 if layer_s is None else checked.seconds(layer_s, "layer_s"),
        0 if collective_s is None else checked.seconds(collective_s, "collective_s"),
    )
    return check(result, "progress")


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
        self.host = _host(host)
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
        work_out = plan.WORK_OUT[lib.mfs_policy_plan(lib.mfs_host_policy(self.host.handle))]
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


@contextmanager
def tag(request: Request | str | None, stage: str, layer: int = 0) -> Iterator[None]:
    """Tag all traffic that this thread posts inside the block.

    request: a Request, the name under which any process of the host registered it, or
    None (the traffic belongs to no request, but its stage is known).
    """
    with tag_set(tag_make(request, stage, layer)):
        yield


def tag_make(request: Request | str | None, stage: str, layer: int = 0) -> Any:
    """A tag as a value that can be kept with a transfer and used again (`tag_set`)."""
    value = ffi.new("struct mfs_tag *")
    if isinstance(request, Request):
        value.request = request.key
    elif isinstance(request, str):
        value.request = _key(request)
    elif request is not None:
        raise InputError(f"request {shown(request)}: a Request, a name, or None")
    value.stage = stage_number(stage)
    value.layer = checked.whole(layer, "layer")
    return value


def tag_is(value: Any) -> bool:
    """It is what `tag_make` returns."""
    return isinstance(value, ffi.CData) and ffi.typeof(value) == ffi.typeof("struct mfs_tag *")


@contextmanager
def tag_set(value: Any) -> Iterator[None]:
    """Make `value` (of `tag_make`, or None) the current tag of this thread for the block."""
    before = ffi.new("struct mfs_tag *", lib.mfs_tag_get())
    try:
        lib.mfs_tag_set(value if value is not None else ffi.NULL)
    except TypeError:
        raise InputError(f"tag {shown(value)}: what tag_make returned, or None") from None
    try:
        yield
    finally:
        lib.mfs_tag_set(before)


@contextmanager
def peer_set(name: str) -> Iterator[None]:
    """What this thread posts inside the block goes to the peer of this name, for `mfs dump` and the
    log: an endpoint that is used for the first time is called so. "": nobody knows."""
    before = text(lib.mfs_peer_get())
    lib.mfs_peer_set(encoded(name, "peer"))
    try:
        yield
    finally:
        lib.mfs_peer_set(encoded(before, "peer"))


@contextmanager
def abort() -> Iterator[None]:
    """Transfers that this thread cancels inside the block are given up.

    What waits of them is not sent any more, so that it cannot come behind what their memory
    is used for next. It works by the shim's requests: whatever cancels them may be called
    (NIXL's release_xfer_handle, ucp_request_cancel). Without the shim nothing is different.
    """
    before = bool(lib.mfs_abort_get())
    lib.mfs_abort_set(True)
    try:
        yield
    finally:
        lib.mfs_abort_set(before)


def tag_current() -> Any:
    """A copy of this thread's current tag, or None if it has none."""
    value = ffi.new("struct mfs_tag *", lib.mfs_tag_get())
    return value if value.request or value.stage else None


def batch(requests: Iterable[Request | str] | Request | str | None, layer: int = 0) -> None:
    """Tell what this process computes now: its collectives belong to that, until the next call.

    requests: those of the batch, by object or by name; of several the one with the earliest
    deadline counts (what is known of a name is read from the segment; one that is unknown has no
    deadline).
    None or an empty list: the process computes nothing that is known. Cheap enough for every
    layer of a step: some microseconds, no system call.
    """
    if requests is None:
        several: list[Request | str] = []
    elif isinstance(requests, Request | str):
        several = [requests]
    else:
        several = checked.several(requests, "requests")
    key = lib.MFS_REQUEST_NONE
    if len(several) == 1:
        key = _request_key(several[0])
    elif several:
        facts = ffi.new("struct mfs_facts[]", len(several))
        for index, request in enumerate(several):
            _read_facts(request, facts + index)
        key = _request_key(several[lib.mfs_plan_collective(facts, len(several))])
    lib.mfs_batch_set(key, checked.whole(layer, "layer"))


def batch_current() -> tuple[int, int]:
    """Key of the request (0: none) and layer, as `batch` told last in this process."""
    value = lib.mfs_batch_get()
    return int(value.request), int(value.layer)


def _request_key(request: Request | str) -> int:
    return request.key if isinstance(request, Request) else _key(request)


def _read_facts(request: Request | str, facts: Any) -> None:
    if isinstance(request, Request):
        facts[0] = request.facts[0]
    elif lib.mfs_request_get(default_host().handle, _key(request), facts) < 0:
        lib.mfs_facts_init(facts)
