# SPDX-License-Identifier: Apache-2.0
"""Which of several hosts a request's bytes go to, or come from: of those whose port can take them
by their deadline without making late what is in time there, the one where fewest bytes wait; where
none can, that of all (docs/decisions/0042 has other rules, and what each is worth).

    at = router.choose(hosts, size, deadline_s)     index of a prefill or decode host, or KV replica

Each host's `mfs slack` (docs/observability.md) is asked by a thread of its own every EVERY_S, so
choosing waits for nobody. What was sent somewhere shows in its answers a moment later only, so for
HOLD_S a router counts what it has chosen itself.

A host of which nothing is known is chosen as without us: hosts take turns, and when the turn is at
such a host it is chosen. That is so for one that has not answered for BOUND_S, or that answers what
cannot be understood: each is counted in `faults`, and said once; and for one where no process
uses MFS, whose port's rate is not known yet, or whose senders stand still.

Of vLLM's example proxies (toy_proxy_server.py of its NIXL tests, and what was made of it) `plug`
takes over the choice of the prefill and of the decode server:

    import sys; sys.argv[1:] = [...]                 # or its own command line
    import toy_proxy_server as proxy, uvicorn
    from mfs_transport.engines.vllm import router

    router.plug(proxy, kv_token_bytes=131072, ttft_s=0.5)
    proxy.global_args = proxy.parse_args()
    uvicorn.run(proxy.app, host=proxy.global_args.host, port=proxy.global_args.port)
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import threading
import time
import urllib.parse
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ...native import InputError, one_line, shown
from . import deadline
from .connector import say

EVERY_S = 0.05  # between two questions to a host
BOUND_S = 0.5  # an answer that is older says nothing any more; nobody is waited for longer
HOLD_S = 0.25  # what was chosen counts for so long: by then a host's answer has it
FORGET_S = 60.0  # a host that was in no list for so long is asked no more: it may have gone
MOST_LISTS = 256  # of hosts, whose turns are kept
MOST_BYTES = 1 << 20  # of an answer
SLACK_PORT = 9655
TOKEN_LETTERS = 4  # of a prompt that comes as text, a guess
DIRECTIONS = ("egress", "ingress")
HEADERS = ("x-mfs-ttft-ms", "x-llm-d-slo-ttft-ms")


@dataclass(frozen=True)
class Host:
    """Where a host's `mfs slack` answers, and which of its ports the bytes take."""

    address: str
    """Of `mfs slack`: 10.0.0.7, 10.0.0.7:9655, http://[fd00::7]:9655."""
    direction: str = "egress"
    """egress: the host writes or sends them. ingress: it reads them."""
    port: str = ""
    """A NIC's name; "": the best one of that direction."""

    def place(self) -> tuple[str, int]:
        """Address and port to connect to."""
        text = self.address if "//" in self.address else f"//{self.address}"
        try:
            parts = urllib.parse.urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("", "http"):
            raise InputError(f"host {shown(self.address)}: ADDRESS:PORT of its mfs slack")
        if self.direction not in DIRECTIONS:
            raise InputError(f"direction {shown(self.direction)}: egress or ingress")
        return host, port or SLACK_PORT


# --- what a host has said ---

Cost = tuple[bool, float]  # it cannot take them in time; bytes that wait there. The least is best


@dataclass(frozen=True)
class Curve:
    """Of one port: bytes that can be added, by deadline; both only grow."""

    rate_Bps: float
    waiting: float
    """Bytes, whatever their deadline."""
    points: tuple[tuple[float, float], ...]

    def bytes_by(self, deadline_s: float) -> float:
        """By the line between two points; behind the last one as the port goes."""
        at_s = have = 0.0
        for by_s, most in self.points:
            if by_s >= deadline_s:
                return have + (most - have) * max(0.0, deadline_s - at_s) / (by_s - at_s)
            at_s, have = by_s, most
        return have + self.rate_Bps * (deadline_s - at_s)

    def cost(self, size: float, deadline_s: float, mine: float) -> Cost:
        """mine: bytes that were sent there and do not show yet."""
        return self.bytes_by(deadline_s) - mine < size, self.waiting + mine


def _number(value: Any, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{shown(value)}: a number is expected")
    number = float(value)
    if not least <= number < math.inf:
        raise InputError(f"{shown(value)}: {least:g} or more is expected")
    return number


def _curve(port: Mapping[str, Any]) -> Curve | None:
    """None: nothing is known of it now."""
    rate = _number(port["rate_Bps"], 0)
    if rate == 0 or port["stale"] is not False:
        return None
    points, last = [], (0.0, 0.0)
    for one in port["room"]:
        point = (_number(one["by_s"], 0), _number(one["bytes"], 0))
        if point[0] <= last[0] or point[1] < last[1]:
            raise InputError("room: deadlines and bytes in rising order are expected")
        points.append(point)
        last = point
    waiting = (_number(port[f"{kind}_bytes"], 0) for kind in ("first", "dated", "undated"))
    return Curve(rate, sum(waiting), tuple(points))


Curves = dict[tuple[str, str], Curve]  # by direction and port


def parse(answer: bytes) -> Curves:
    """What an endpoint has answered; InputError where it cannot be understood."""
    try:
        found = json.loads(answer)
        if found["segment"]["state"] != "live":
            return {}
        curves = {(one["direction"], one["port"]): _curve(one) for one in found["ports"]}
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"no answer of mfs slack: {type(error).__name__}: {error}") from None
    return {place: curve for place, curve in curves.items() if curve is not None}


def ask(place: tuple[str, int], limit_s: float) -> bytes:
    connection = http.client.HTTPConnection(*place, timeout=limit_s)
    try:
        connection.request("GET", "/slack")
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES + 1)
        if answer.status != 200 or len(body) > MOST_BYTES:
            raise InputError(f"status {answer.status}, {len(body)} bytes")
        return body
    finally:
        connection.close()


@dataclass
class Known:
    """Of one endpoint. Its thread writes `curves` and `at_s`, and replaces both at once."""

    place: tuple[str, int]
    told: tuple[float, Curves] = (-math.inf, {})
    wanted_s: float = 0.0  # when it was in a list of hosts last
    said: bool = False


@dataclass
class Counts:
    """So far."""

    chosen: int = 0  # by what hosts have said
    turns: int = 0  # as without us
    late: int = 0  # of those chosen: no host could be in time
    faults: int = 0  # hosts that did not answer, or not what can be understood


class Router:
    """Keeps asking the hosts that it was given. A context manager; `close` ends its threads."""

    def __init__(
        self,
        ask: Callable[[tuple[str, int], float], bytes] = ask,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
        bound_s: float = BOUND_S,
        hold_s: float = HOLD_S,
    ) -> None:
        self.counts = Counts()
        self._ask, self._clock = ask, clock
        self._every_s, self._bound_s, self._hold_s = every_s, bound_s, hold_s
        self._known: dict[tuple[str, int], Known] = {}
        self._chosen: dict[Host, deque[tuple[float, int]]] = {}
        self._turn: OrderedDict[tuple[Host, ...], int] = OrderedDict()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._over.set()

    # --- asking ---

    def watch(self, hosts: Sequence[Host], start: bool = True) -> list[Known]:
        """Ask them from now on, until they were in no list for FORGET_S. start: False: somebody
        else calls look()."""
        found = []
        for host in hosts:
            place = host.place()
            with self._lock:
                known = self._known.get(place)
                fresh = known is None
                if known is None:
                    known = self._known[place] = Known(place)
                known.wanted_s = self._clock()
            if fresh and start:
                threading.Thread(target=self._follow, args=(known,), daemon=True).start()
            found.append(known)
        return found

    def _follow(self, known: Known) -> None:
        while not self._over.is_set() and not self.forget(known):
            self.look(known)
            self._over.wait(self._every_s)

    def forget(self, known: Known) -> bool:
        """Nobody has asked for it for long, and nothing is known of it any more."""
        with self._lock:
            if self._clock() - known.wanted_s <= FORGET_S:
                return False
            del self._known[known.place]
            for host in [one for one in self._chosen if one.place() == known.place]:
                del self._chosen[host]
            return True

    def look(self, known: Known) -> None:
        """Ask it once."""
        try:
            curves = parse(self._ask(known.place, self._bound_s))
            known.told = (self._clock(), curves)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self._over.is_set():
                self._fault(known, error)

    def _fault(self, known: Known, error: Exception) -> None:
        with self._lock:
            self.counts.faults += 1
            first, known.said = not known.said, True
        if first:
            host, port = known.place
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            what = one_line(f"{kind}{error}")
            say(f"router: mfs slack of {host}:{port}: {what}; while it is so, it has its turn only")

    # --- choosing ---

    def choose(
        self,
        hosts: Sequence[Host],
        size: int,
        deadline_s: float = math.inf,
        turn: int | None = None,
    ) -> int:
        """Where `size` bytes that are due in deadline_s go: an index in hosts. turn: whose turn it
        is, where the caller has a rule of its own for that."""
        if not hosts:
            raise InputError("hosts: at least one")
        if not (size >= 0 and deadline_s == deadline_s):
            raise InputError(
                f"size {shown(size)}, deadline_s {shown(deadline_s)}: bytes, 0 or more, and seconds"
            )
        every = tuple(hosts)
        known = self.watch(every)
        now_s = self._clock()
        with self._lock:
            first = self._next_turn(every) if turn is None else turn % len(every)
            least = self._cost(every[first], known[first], size, deadline_s, now_s)
            if least is None:
                self.counts.turns += 1
                return first
            best = first
            for step in range(1, len(every)):
                at = (first + step) % len(every)
                other = self._cost(every[at], known[at], size, deadline_s, now_s)
                if other is not None and other < least:
                    best, least = at, other
            self.counts.chosen += 1
            self.counts.late += least[0]
            self._chosen.setdefault(every[best], deque()).append((now_s, size))
            return best

    def _next_turn(self, every: tuple[Host, ...]) -> int:
        turn = self._turn.pop(every, 0)
        self._turn[every] = turn + 1  # the last one: the first is that of longest ago
        if len(self._turn) > MOST_LISTS:
            self._turn.popitem(last=False)
        return turn % len(every)

    def _cost(
        self, host: Host, known: Known, size: int, deadline_s: float, now_s: float
    ) -> Cost | None:
        """None: nothing is known of it."""
        told_s, curves = known.told
        if now_s - told_s > self._bound_s:
            return None
        its = [
            curve
            for (direction, port), curve in curves.items()
            if direction == host.direction and host.port in ("", port)
        ]
        recent = self._chosen.get(host, deque())
        while recent and recent[0][0] < now_s - self._hold_s:
            recent.popleft()
        mine = sum(one for _, one in recent)
        return min((curve.cost(size, deadline_s, mine) for curve in its), default=None)


_shared: list[Router] = []
_making = threading.Lock()


def shared() -> Router:
    """The process's own, made when it is first asked for."""
    with _making:
        if not _shared:
            _shared.append(Router())
        return _shared[0]


def choose(hosts: Sequence[Host], size: int, deadline_s: float = math.inf) -> int:
    """By the process's own router: where `size` bytes that are due in deadline_s go."""
    return shared().choose(hosts, size, deadline_s)


# --- vLLM's example proxy ---


@dataclass(frozen=True)
class Wanted:
    """What is known of the request that is being served."""

    size: int
    deadline_s: float


current: ContextVar[Wanted | None] = ContextVar("mfs_wanted", default=None)


def tokens(body: Mapping[str, Any]) -> int:
    """Of a request's prompt: counted where it has tokens, guessed where it is text."""

    def letters(value: Any, depth: int = 0) -> float:
        if isinstance(value, str):
            return len(value)
        if depth > 4:
            return 0
        if isinstance(value, Mapping):
            return letters(value.get("content", value.get("text", "")), depth + 1)
        if isinstance(value, Sequence):
            if value and all(type(one) is int for one in value):
                return len(value) * TOKEN_LETTERS
            return sum(letters(one, depth + 1) for one in value)
        return 0

    return math.ceil(letters(body.get("prompt", body.get("messages", ""))) / TOKEN_LETTERS)


def ttft_s(body: Mapping[str, Any], headers: Mapping[str, str], otherwise: float) -> float:
    """The deadline that a request says itself, as deadline.py reads it, but for classes."""
    extra = body.get("vllm_xargs")
    values = [extra.get(deadline.DEADLINE)] if isinstance(extra, Mapping) else []
    for value in (*values, *(headers.get(name) for name in HEADERS)):
        if value is not None:
            with contextlib.suppress(InputError):
                return deadline.milliseconds(value, deadline.DEADLINE) / 1e3
    return otherwise


@dataclass
class Clients:
    """Stands for the proxy's get_next_client. Errors of ours are said once, and then the proxy's
    own choice holds."""

    original: Callable[..., Any]
    router: Router
    slack_port: int
    directions: Mapping[str, str]
    usual: Wanted
    said: bool = field(default=False)

    def __call__(self, app: Any, service_type: str, *others: Any, **options: Any) -> Any:
        try:
            clients = getattr(app.state, f"{service_type}_clients")
            hosts = [self._host(one["host"], service_type) for one in clients]
            wanted = current.get() or self.usual
            return clients[self.router.choose(hosts, wanted.size, wanted.deadline_s)]
        except Exception as error:
            self.fault(error)
        return self.original(app, service_type, *others, **options)

    def _host(self, name: str, service_type: str) -> Host:
        bare = f"[{name}]" if ":" in name else name
        return Host(f"{bare}:{self.slack_port}", self.directions[service_type])

    def fault(self, error: Exception) -> None:
        self.router.counts.faults += 1
        if not self.said:
            self.said = True
            what = one_line(f"{type(error).__name__}: {error}")
            say(f"router: {what}; the proxy chooses as without it")


def plug(
    proxy: Any,
    *,
    kv_token_bytes: float,
    ttft_s: float = math.inf,
    usual_tokens: int = 1024,
    slack_port: int = SLACK_PORT,
    prefill: str = "egress",
    decode: str = "ingress",
    router: Router | None = None,
) -> Clients:
    """Let the module of an example proxy choose by slack. kv_token_bytes: of a token's KV, all
    layers; ttft_s, usual_tokens: of a request that does not say it; slack_port: where `mfs slack`
    answers on each host of the proxy's servers; prefill, decode: the direction of the port that
    each is judged by. Who posts the transfers knows what waits: prefill's egress with a connector
    that pushes, decode's ingress with one that pulls."""
    original = getattr(proxy, "get_next_client", None)
    if not callable(original):
        raise InputError(
            f"proxy {shown(getattr(proxy, '__name__', proxy))}: it has no get_next_client(app, "
            "service_type); call router.choose where it chooses"
        )
    for direction in (prefill, decode):
        if direction not in DIRECTIONS:
            raise InputError(f"direction {shown(direction)}: egress or ingress")
    usual = Wanted(math.ceil(usual_tokens * kv_token_bytes), ttft_s)
    clients = Clients(
        original, router or shared(), slack_port, {"prefill": prefill, "decode": decode}, usual
    )
    proxy.get_next_client = clients
    handle = getattr(proxy, "_handle_completions", None)
    if callable(handle):
        proxy._handle_completions = _with_size(handle, clients, kv_token_bytes)
    return clients


def _with_size(handle: Callable[..., Any], clients: Clients, kv_token_bytes: float) -> Any:
    """The proxy's handler, with what is known of its request around it."""

    async def handled(api: Any, request: Any, *others: Any) -> Any:
        try:
            body = await request.json()  # which the proxy's own call then has from memory
            size = math.ceil(max(1, tokens(body)) * kv_token_bytes)
            wanted = Wanted(size, ttft_s(body, request.headers, clients.usual.deadline_s))
        except Exception:
            wanted = clients.usual  # the proxy says what is wrong with it
        token = current.set(wanted)
        try:
            return await handle(api, request, *others)
        finally:
            current.reset(token)

    return handled
