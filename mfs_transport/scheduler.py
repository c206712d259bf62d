# SPDX-License-Identifier: Apache-2.0
"""The queue on the wire, from Python: for tests, benches and simulation.

    from mfs_transport.scheduler import Facts, Queue, Tag

    queue = Queue("mfs", rate_Bps=25_000_000_000)
    queue.facts["cmpl-17"] = Facts(deadline_ns=500_000_000)
    operation = queue.push(Tag("cmpl-17", "p2d", layer=3), 8 << 20)
    chunk = queue.take(1 << 20)         # chunk.operation, .offset, .length, .level

It is the C code that the shim runs, not a model of it. Time is the caller's: `now_ns` is
an attribute of the queue that only moves forward, and every call may set it.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import checked
from .native import NEVER, InputError, check, encoded, ffi, lib, policy, shown, stage_number

RANK_NONE: int = lib.MFS_RANK_NONE
LEVEL_NEW: int = lib.MFS_LEVELS_MAX

Request = str | int | None
"""A request's name, its key, or None: untagged."""


def request_key(request: Request) -> int:
    """The 64-bit key under which a request is known; 0 for None."""
    if request is None:
        return int(lib.MFS_REQUEST_NONE)
    if isinstance(request, str):
        return int(lib.mfs_request_key(encoded(request, "request")))
    return checked.whole(request, "request", 2**64 - 1)


@dataclass
class Facts:
    """What is known of a request: struct mfs_facts, whose header explains each field."""

    deadline_ns: int = NEVER
    arrival_ns: int = 0
    next_start_ns: int = NEVER
    red_ns: int = NEVER
    start_ns: int = NEVER
    layer_since_ns: int = 0
    layer_ns: int = 0
    collective_ns: int = 0
    p2d_layer_ns: int = 0
    hold_ns: int = 0
    p2d_left_bytes: int = 0
    layers: int = 0
    layer_now: int = 0
    slo_class: int = 0
    hopeless: bool = False
    shed: bool = False
    computed: bool = False

    def write(self, struct: Any) -> None:
        """Into a struct mfs_facts."""
        struct.flags = 0
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _FLAGS:
                struct.flags |= _FLAGS[field.name] * checked.truth(value, field.name)
            else:
                _set(struct, field.name, value)

    @classmethod
    def read(cls, struct: Any) -> Facts:
        """From a struct mfs_facts."""
        values: dict[str, Any] = {
            field.name: bool(struct.flags & _FLAGS[field.name])
            if field.name in _FLAGS
            else int(getattr(struct, field.name))
            for field in dataclasses.fields(cls)
        }
        return cls(**values)


_FLAGS: dict[str, int] = {
    "hopeless": lib.MFS_REQUEST_HOPELESS,
    "shed": lib.MFS_REQUEST_SHED,
    "computed": lib.MFS_REQUEST_COMPUTED,
}


def _set(struct: Any, name: str, value: Any) -> None:
    """A field of a C struct; InputError if it does not hold the value."""
    try:
        setattr(struct, name, value)
    except (OverflowError, TypeError) as error:
        raise InputError(f"{name} {shown(value)}: {error}") from None


class FactsTable(MutableMapping[Request, Facts]):
    """Requests and what is known of them, in a segment of this process alone.

    The queues read it as they read the host's segment. `update_all` writes several with one
    change of version, so that a queue places its flows anew once, not once each.
    """

    def __init__(self) -> None:
        out = ffi.new("struct mfs_host **")
        check(lib.mfs_host_open_private(out), "private segment")
        self.handle = ffi.gc(out[0], lib.mfs_host_close)
        self._keys: set[int] = set()

    def update_all(self, facts: Mapping[Request, Facts]) -> None:
        if not isinstance(facts, Mapping):
            raise InputError(f"facts {shown(facts)}: Facts by request")
        keys = [request_key(request) for request in facts]
        structs = ffi.new("struct mfs_facts[]", max(1, len(keys)))
        for index, one in enumerate(facts.values()):
            checked.one_of(one, Facts, "facts").write(structs[index])
        check(
            lib.mfs_request_put_all(self.handle, keys, ffi.NULL, structs, len(keys)),
            "requests",
        )
        self._keys.update(keys)

    def __setitem__(self, request: Request, facts: Facts) -> None:
        self.update_all({request: facts})

    def __getitem__(self, request: Request) -> Facts:
        struct = ffi.new("struct mfs_facts *")
        if lib.mfs_request_get(self.handle, request_key(request), struct) < 0:
            raise KeyError(request)
        return Facts.read(struct)

    def __delitem__(self, request: Request) -> None:
        if lib.mfs_request_drop(self.handle, request_key(request)) < 0:
            raise KeyError(request)
        self._keys.discard(request_key(request))

    def __iter__(self) -> Iterator[Request]:
        return iter(sorted(self._keys))

    def __len__(self) -> int:
        return int(lib.mfs_request_count(self.handle))


@dataclass(frozen=True)
class Tag:
    """What travels with an operation; operations with equal tags are one flow."""

    request: Request = None
    stage: str = "none"
    layer: int = 0

    def write(self, struct: Any) -> None:
        struct.request = request_key(self.request)
        struct.stage = stage_number(self.stage)
        struct.layer = checked.whole(self.layer, "layer")


UNTAGGED = Tag()


class Operation:
    """One put, get or send of a caller, in its own memory as the C side wants it."""

    def __init__(self, tag: Tag, length: int) -> None:
        self.tag = checked.one_of(tag, Tag, "tag")
        self.length = checked.whole(length, "length", 2**64 - 1)
        self.struct = ffi.new("struct mfs_op *")
        self.struct.length = length

    @property
    def taken(self) -> int:
        """Bytes that have been handed out."""
        return int(self.struct.taken)

    def __repr__(self) -> str:
        return f"<Operation {self.tag} {self.taken}/{self.length}>"


@dataclass(frozen=True)
class Chunk:
    """A piece of an operation that is sent at once."""

    operation: Operation
    offset: int
    length: int
    rank: int
    last: bool

    @property
    def level(self) -> int:
        return rank_level(self.rank)


@dataclass(frozen=True)
class Counters:
    bytes: int
    operations: int
    flows: int
    promotions: int


def rank_level(rank: int) -> int:
    return int(lib.mfs_rank_level(checked.whole(rank, "rank", 2**64 - 1)))


def rank_key(rank: int) -> int:
    return int(lib.mfs_rank_key(checked.whole(rank, "rank", 2**64 - 1)))


def params_make(**values: Any) -> Any:
    """A struct mfs_params: the defaults, with the given fields set."""
    params = ffi.new("struct mfs_params *")
    lib.mfs_params_init(params)
    _params_set(params, values)
    return params


def _params_set(params: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in dir(params):
            raise InputError(f"parameter {shown(name)}: one of {', '.join(dir(params))}")
        _set(params, name, value)


class _Destroy:
    """Ends a sender and its only destination, whose memory lives as long as this does."""

    def __init__(self, destination: Any) -> None:
        self.destination = destination

    def __call__(self, handle: Any) -> None:
        lib.mfs_sender_close(handle, self.destination)
        lib.mfs_sender_destroy(handle)


class Queue:
    """The Reverse Multi-Level Queue of one port, as a sender that is alone on it and has an
    unlimited window: struct mfs_sender.

    policy            a name of `native.policies()`
    facts             a FactsTable, shared between queues if need be, or a mapping to fill
                      one of its own with
    max_flows         flows that may have operations at one time
    untagged_permille share that untagged traffic keeps while it waits
    params            fields of struct mfs_params: rate_Bps, levels, patience, ...
    """

    def __init__(
        self,
        policy_name: str = "mfs",
        *,
        facts: FactsTable | Mapping[Request, Facts] | None = None,
        max_flows: int = 4096,
        untagged_permille: int = 50,
        now_ns: int = 0,
        **params: Any,
    ) -> None:
        if isinstance(facts, FactsTable):
            self.facts = facts
        else:
            self.facts = FactsTable()
            self.facts.update_all({} if facts is None else facts)
        self.now_ns = checked.moment(now_ns, "now_ns", NEVER)
        self.params = params_make(**params)
        config = ffi.new("struct mfs_sender_config *")
        lib.mfs_sender_config_init(config)
        config.queue.policy = policy(policy_name)
        config.queue.params = self.params[0]
        config.queue.facts = lib.mfs_request_source(self.facts.handle)
        config.queue.max_flows = checked.whole(max_flows, "max_flows")
        config.untagged_permille = checked.whole(untagged_permille, "untagged_permille", 1000)
        config.rate_known = True
        out = ffi.new("struct mfs_sender **")
        check(lib.mfs_sender_create(config, out), "queue")
        self._destination = ffi.new("struct mfs_destination *")
        self.handle = ffi.gc(out[0], _Destroy(self._destination))
        check(lib.mfs_sender_open(self.handle, self._destination, ffi.NULL), "destination")
        self._queued: dict[int, Operation] = {}
        self._tag = ffi.new("struct mfs_tag *")
        self._chunk = ffi.new("struct mfs_chunk *")

    def _at(self, now_ns: int | None) -> int:
        if now_ns is not None:
            self.now_ns = max(self.now_ns, checked.moment(now_ns, "now_ns", NEVER))
        return self.now_ns

    def push(self, tag: Tag, length: int, now_ns: int | None = None) -> Operation:
        """Queue an operation. OSError ENOSPC: no flow is free; EINVAL: no bytes."""
        operation = Operation(tag, length)
        self.push_operation(operation, now_ns)
        return operation

    def push_operation(self, operation: Operation, now_ns: int | None = None) -> None:
        checked.one_of(operation, Operation, "operation").tag.write(self._tag)
        check(
            lib.mfs_sender_push(
                self.handle, operation.struct, self._destination, self._tag, self._at(now_ns)
            ),
            f"push {operation!r}",
        )
        self._queued[_address(operation.struct)] = operation

    def peek(self, now_ns: int | None = None) -> int | None:
        """Rank of the best flow (rank_level, rank_key take it apart); None when empty."""
        lib.mfs_sender_publish(self.handle, self._at(now_ns))
        rank = int(self.handle.told.rank)
        return None if rank == RANK_NONE else rank

    def take(self, max_bytes: int, now_ns: int | None = None) -> Chunk | None:
        """The next chunk, None when nothing is queued."""
        chunk = self._chunk
        most = checked.whole(max_bytes, "max_bytes", 2**64 - 1)
        now_ns = self._at(now_ns)
        result = lib.mfs_sender_next(self.handle, max(most, 1), now_ns, chunk)
        if result == -errno.EAGAIN:
            return None
        check(result, f"take of at most {max_bytes} bytes")
        lib.mfs_sender_done(self.handle, self._destination, chunk.length, now_ns)
        address = _address(chunk.op)
        last = bool(chunk.last)
        operation = self._queued.pop(address) if last else self._queued[address]
        return Chunk(operation, int(chunk.offset), int(chunk.length), int(chunk.rank), last)

    def remove(self, operation: Operation) -> None:
        """Take a queued operation out. OSError ENOENT: it is not queued."""
        struct = checked.one_of(operation, Operation, "operation").struct
        check(
            lib.mfs_sender_remove(self.handle, struct, self.now_ns),
            f"remove {operation!r}",
        )
        del self._queued[_address(operation.struct)]

    def set_policy(self, policy_name: str, now_ns: int | None = None, **params: Any) -> None:
        """Another policy, or other parameters (those not given keep their values)."""
        changed = ffi.new("struct mfs_params *", self.params[0])
        _params_set(changed, params)
        self.handle.own_port.rate_Bps = changed.rate_Bps
        check(
            lib.mfs_sender_set_policy(self.handle, policy(policy_name), changed, self._at(now_ns)),
            f"policy {policy_name!r}",
        )
        self.params = changed

    def set_rate(self, rate_Bps: int, now_ns: int | None = None) -> None:
        rate = checked.whole(rate_Bps, "rate_Bps", 2**64 - 1)
        self.handle.own_port.rate_Bps = rate
        lib.mfs_sender_publish(self.handle, self._at(now_ns))
        self.params.rate_Bps = rate

    @property
    def next_ns(self) -> int:
        """When the next promotion falls due; NEVER if none."""
        return int(lib.mfs_rmlq_next_ns(self.handle.queue))

    @property
    def counters(self) -> Counters:
        return Counters(
            bytes=int(lib.mfs_rmlq_bytes(self.handle.queue)),
            operations=int(lib.mfs_rmlq_operations(self.handle.queue)),
            flows=int(lib.mfs_rmlq_flows(self.handle.queue)),
            promotions=int(lib.mfs_rmlq_promotions(self.handle.queue)),
        )

    def __len__(self) -> int:
        return int(lib.mfs_rmlq_operations(self.handle.queue))


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def plan_unit(
    facts: Sequence[Facts], now_ns: int, batches: Sequence[int] | None = None
) -> list[Facts]:
    """What a unit's queue, in its order, implies for each request in it: core/plan.h.

    batches: how many of them each batch has; None: every request is one.
    """
    structs, count = _structs(facts)
    sizes = [1] * count if batches is None else checked.several(batches, "batches")
    for size in sizes:
        checked.whole(size, "batch", count)
    if sum(sizes) != count:
        raise InputError(f"batches {shown(sizes)}: sizes, in all {count}, one for each of facts")
    lib.mfs_plan_unit(structs, sizes, len(sizes), checked.moment(now_ns, "now_ns", NEVER))
    return [Facts.read(structs[index]) for index in range(count)]


def plan_shed(facts: Sequence[Facts], rate_Bps: int, now_ns: int) -> list[Facts]:
    """Who is given up on one egress so that the others make it: core/plan.h."""
    structs, count = _structs(facts)
    scratch = ffi.new("uint32_t[]", max(1, count))
    rate = checked.whole(rate_Bps, "rate_Bps", 2**64 - 1)
    at = checked.moment(now_ns, "now_ns", NEVER)
    check(lib.mfs_plan_shed(structs, count, rate, at, scratch), f"rate {rate} B/s")
    return [Facts.read(structs[index]) for index in range(count)]


def _structs(facts: Sequence[Facts]) -> tuple[Any, int]:
    several = checked.several(facts, "facts")
    structs = ffi.new("struct mfs_facts[]", max(1, len(several)))
    for index, one in enumerate(several):
        checked.one_of(one, Facts, "facts").write(structs[index])
    return structs, len(several)
