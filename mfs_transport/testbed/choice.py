# SPDX-License-Identifier: Apache-2.0
"""From which host a request's KV is fetched, and which decode host gets it.

The names are the simulator's (docs/simulator.md, Beyond order):

    store    own     as the setting has it: host i of a unit has store i where it spreads them (the
                     demo), else as draw
             draw    the host that is drawn
             slack   of the copies the one whose port has least to send
             fit     of those that can be given the KV by when it is due, without making late what
                     is in time there, the one whose port has least to send
    decode   bytes   fewest bytes outstanding, as the router counts them
             fit     as above, by the decode host's own port

What ports have to send hosts say, as in a real cluster: `Asking` is the router for vLLM
(engines/vllm/router.py) over HTTP to each host's `mfs slack` (slack_ends.py), with all its times
as much longer as time runs slower here. It waits for nobody. A host of which nothing is known (no
answer, an old one, rubbish) is taken when it is drawn: where none says anything all is as under
`draw` and `bytes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..engines.vllm import router
from ..native import InputError, shown
from .job import Job
from .setting import Setting

OWN, DRAW, BYTES = "own", "draw", "bytes"
STORES = (DRAW, "slack", "fit")
DECODES = (BYTES, "fit")
SHOWS_S = router.HOLD_S - router.EVERY_S  # by then a sender has told of what was posted
MOST_REPLICAS = 64

Choose = Callable[[str, Sequence[str], int, float], int]
"""Direction, names of hosts, bytes, seconds until they are due: an index. The first host is the one
that is taken where nothing is known."""
Ask = Callable[[tuple[str, int], float], bytes]


def first(direction: str, names: Sequence[str], size: int, due_s: float) -> int:
    """Without asking anybody."""
    return 0


@dataclass(frozen=True)
class Choice:
    store: str = OWN
    replicas: int = 2
    """Hosts that have a request's KV."""
    decode: str = BYTES

    @property
    def asks(self) -> bool:
        return self.store not in (OWN, DRAW) or self.decode != BYTES

    @property
    def words(self) -> str:
        """For a policy's name; "": as usual."""
        parts = [] if self.store == OWN else [self.store]
        return ", ".join([*parts, *([] if self.decode == BYTES else [f"decode {self.decode}"])])

    def name(self, policy: str) -> str:
        return f"{policy}, {self.words}" if self.words else policy

    def options(self) -> tuple[tuple[str, Any], ...]:
        """Of the simulator, where they are not as usual; `of` reads them."""
        found: list[tuple[str, Any]] = []
        if self.decode != BYTES:
            found.append(("decode_choice", self.decode))
        if self.store not in (OWN, DRAW):
            found += [("replicas", self.replicas), ("store_choice", self.store)]
        return tuple(found)


USUAL = Choice()


def of(options: Iterable[tuple[str, Any]]) -> Choice:
    given = {name.removesuffix("_choice"): value for name, value in options}
    known = {one.name for one in fields(Choice)}
    return Choice(**{name: value for name, value in given.items() if name in known})


def read(text: str, usual: Sequence[str], name: str) -> list[str]:
    """Some of `usual`, in the order of a list with commas."""
    found = list(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    for one in found or [text]:
        if one not in usual:
            raise InputError(f"{name} {shown(one)}: one of {', '.join(usual)}; several with commas")
    return found


def check(choices: Iterable[Choice], fetch: str, deliver: str) -> None:
    """InputError where no host can know what is asked of it: who posts a transfer knows of it."""
    for one in choices:
        if one.store not in (OWN, DRAW) and fetch != "push":
            raise InputError(
                f"--store-choice {one.store}: a store knows what waits where it writes: "
                "--fetch push"
            )
        if one.decode != BYTES and deliver != "pull":
            raise InputError(
                f"--decode-choice {one.decode}: a decode host knows what waits where it reads: "
                "--deliver pull"
            )


def copies(draw: float, names: Sequence[str], replicas: int) -> list[str]:
    """The hosts that have the KV, the drawn one first: as csrc/sim/choices.c picks them."""
    count = len(names)
    places = [(draw + one / replicas) % 1.0 for one in range(replicas)]
    return list(dict.fromkeys(names[min(int(place * count), count - 1)] for place in places))


class Asking:
    """Chooses by what hosts say. `ask` gets (name, port) of a host; close() ends its threads."""

    def __init__(self, ask: Ask, times: float) -> None:
        self.router = router.Router(
            ask,
            every_s=times * router.EVERY_S,
            bound_s=times * router.BOUND_S,
            hold_s=times * router.EVERY_S + SHOWS_S,
        )

    def __call__(self, direction: str, names: Sequence[str], size: int, due_s: float) -> int:
        return self.router.choose(hosts(direction, names), size, due_s, turn=0)

    def watch(self, names: Sequence[str]) -> None:
        """Ask them from now on, so that something is known when the first request comes."""
        self.router.watch(hosts("egress", names))

    def counts(self) -> dict[str, int]:
        return asdict(self.router.counts)

    def close(self) -> None:
        self.router.close()


def hosts(direction: str, names: Sequence[str]) -> list[router.Host]:
    return [router.Host(name, direction) for name in names]


def deadline_s(store: str, job: Job, setting: Setting) -> float:
    """That a store is judged by: when the last group has to be there, if it is then computed,
    exchanged and delivered. `slack` looks at what waits alone."""
    if store != "fit":
        return math.inf
    hosts = setting.unit_hosts
    sent = job.exchange_bytes * (hosts - 1) + job.shard_bytes * hosts
    return max(0.0, job.slo_s - job.compute_s - sent / setting.payload_Bps)
