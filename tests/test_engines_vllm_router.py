# SPDX-License-Identifier: Apache-2.0
"""The choice of a host by slack: by what hosts say, and as without it where they say nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import socket
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mfs_transport.engines.vllm import router
from mfs_transport.engines.vllm.router import Curve, Host, Router
from mfs_transport.native import InputError
from mfs_transport.observe import slack

MB = 1_000_000
A, B = Host("10.0.0.1"), Host("10.0.0.2:9655")


def answer(*dues: tuple[float, int], rate: int = 1000 * MB, **changes: Any) -> bytes:
    """Of a host with one port of 1 MB a ms."""
    port = slack.make(rate, 0, [slack.Due(*one) for one in dues], port="nic0")
    told = {**port.as_dict(slack.GRID_S, None), **changes}
    return json.dumps({"segment": {"state": "live"}, "ports": [told]}).encode()


class World:
    """Hosts that answer when they are asked, and a clock."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = dict(answers)
        self.now_s = 100.0
        self.router = Router(ask=self.ask, clock=lambda: self.now_s)

    def ask(self, place: tuple[str, int], limit_s: float) -> bytes:
        found = self.answers[f"host{place[0].rpartition('.')[2]}"]
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, bytes)
        return found

    def look(self, *hosts: Host) -> None:
        for known in self.router.watch(hosts, start=False):
            self.router.look(known)

    def choose(self, size: int, deadline_s: float = math.inf, *hosts: Host) -> int:
        return self.router.choose(hosts or (A, B), size, deadline_s)


def test_choose__where_fewest_bytes_wait_of_those_that_can() -> None:
    """4 MB more by 6 ms: host 2 has 5 MB to send that are due in 5 ms, so it can take 1 MB; host 1
    has 10 MB that have time, so it can take 6."""
    world = World(host1=answer((5.0, 10 * MB)), host2=answer((0.005, 5 * MB)))
    world.look(A, B)
    assert world.choose(4 * MB, 0.006) == 0
    assert world.choose(4 * MB, 0.1) == 1  # both can
    assert world.choose(400 * MB, 0.1) == 1  # none can
    assert world.router.counts == router.Counts(chosen=3, late=1)


def test_choose__what_it_has_chosen_counts_until_it_shows() -> None:
    world = World(host1=answer(), host2=answer())
    world.look(A, B)
    assert [world.choose(10 * MB) for _ in range(4)] == [0, 1, 0, 1]
    assert world.choose(40 * MB) == 0
    assert [world.choose(10 * MB) for _ in range(3)] == [1, 1, 1]  # 30, 40, 50 there, 60 here
    assert world.choose(10 * MB, 0.055) == 1  # 55 MB by then, less 60 here and 50 there: none can
    world.now_s += router.HOLD_S + 0.01
    assert world.choose(10 * MB) == 1  # its turn: both are idle again


def test_choose__traffic_without_a_deadline_counts_as_load() -> None:
    world = World(host1=answer(undated_bytes=MB), host2=answer())
    world.look(A, B)
    assert [world.choose(1, 1.0) for _ in range(2)] == [1, 1]


SILENT: dict[str, Any] = {
    "no answer": TimeoutError("timed out"),
    "refused": ConnectionRefusedError(111, "Connection refused"),
    "no JSON": b"<html>",
    "another JSON": b"[1, 2]",
    "no numbers": answer(rate_Bps="fast"),
    "not a number": answer().replace(b"1000000000", b"NaN", 1),
    "no sizes": answer(dated_bytes=None),
    "falling": answer(room=[{"by_s": 0.1, "bytes": 5}, {"by_s": 0.2, "bytes": 4}]),
    "deep": b"[" * 100000,
}


@pytest.mark.parametrize("what", SILENT)
def test_silent_hosts__have_their_turn_and_are_said_once(
    what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    world = World(host1=SILENT[what], host2=answer())
    for _ in range(3):
        world.look(A, B)
    assert [world.choose(MB) for _ in range(6)] == [0, 1, 0, 1, 0, 1]
    assert world.router.counts == router.Counts(chosen=3, turns=3, faults=3)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "10.0.0.1:9655" in said[0]
    world.answers["host1"] = answer((0.1, 90 * MB))
    world.look(A)
    assert world.choose(50 * MB) == 1  # it speaks again


@pytest.mark.parametrize(
    "idle",
    [
        json.dumps({"segment": {"state": "none"}, "ports": []}).encode(),
        json.dumps({"segment": {"state": "live"}, "ports": []}).encode(),
        answer(stale=True),
        answer(rate=0),
        answer(direction="ingress"),
    ],
)
def test_hosts_of_which_nothing_is_known__are_no_fault(idle: bytes) -> None:
    world = World(host1=idle, host2=answer())
    world.look(A, B)
    assert [world.choose(MB) for _ in range(4)] == [0, 1, 0, 1]
    assert world.router.counts == router.Counts(chosen=2, turns=2)


def test_closed__what_fails_then_is_no_fault(capfd: pytest.CaptureFixture[str]) -> None:
    world = World(host1=ConnectionResetError(104, "Connection reset by peer"))
    world.router.close()
    world.look(A)
    assert world.router.counts.faults == 0
    assert capfd.readouterr().err == ""


def test_an_old_answer_says_nothing() -> None:
    world = World(host1=answer((0.1, 99 * MB)), host2=answer())
    world.look(A, B)
    world.now_s += router.BOUND_S
    assert world.choose(50 * MB) == 1
    world.now_s += 0.01
    assert [world.choose(50 * MB) for _ in range(4)] == [1, 0, 1, 0]
    assert world.router.counts.turns == 4


def test_choose__what_is_no_size_and_no_deadline() -> None:
    world = World(host1=answer(), host2=answer())
    world.look(A, B)
    for size, deadline_s in ((-1, 1.0), (1, math.nan)):
        with pytest.raises(InputError, match="bytes, 0 or more, and seconds"):
            world.choose(size, deadline_s)
    assert world.router.counts == router.Counts()


def test_hosts_that_are_in_no_list_any_more__are_forgotten() -> None:
    world = World(host1=answer(), host2=answer())
    world.look(A, B)
    world.choose(MB, math.inf, A)
    (known,) = world.router.watch([A], start=False)
    world.now_s += router.FORGET_S
    assert not world.router.forget(known)
    world.router.watch([B], start=False)
    world.now_s += 0.1
    assert world.router.forget(known)
    (other,) = world.router.watch([A], start=False)
    assert other is not known
    assert list(world.router._known) == [B.place(), A.place()]
    assert A not in world.router._chosen


def test_hosts_that_are_in_no_list_any_more__are_asked_no_more() -> None:
    now_s, asked = 100.0, threading.Event()

    def ask(place: tuple[str, int], limit_s: float) -> bytes:
        asked.set()
        return answer()

    with Router(ask=ask, clock=lambda: now_s, every_s=0.001) as one:
        one.watch([A])
        assert asked.wait(60)
        now_s += router.FORGET_S + 1
        wait_for(lambda: not one._known)


def test_lists_of_hosts_that_change__are_not_kept_for_ever() -> None:
    world = World(host1=answer(), host2=answer())
    world.look(A, B)
    for length in range(2, 2 + 2 * router.MOST_LISTS):
        world.choose(MB, math.inf, *[A] * length, B)
        world.choose(MB, math.inf, A, B)
    assert len(world.router._turn) == router.MOST_LISTS
    assert world.router._turn[(A, B)] == 2 * router.MOST_LISTS  # one that is in use has its turns


def test_curve__by_hand() -> None:
    curve = Curve(1e9, 0.0, ((0.01, 10e6), (0.1, 10e6), (0.2, 60e6)))
    assert curve.bytes_by(0.005) == pytest.approx(5e6)
    assert curve.bytes_by(0.05) == pytest.approx(10e6)
    assert curve.bytes_by(0.15) == pytest.approx(35e6)
    assert curve.bytes_by(0.3) == pytest.approx(160e6)
    assert curve.bytes_by(-1.0) == 0
    assert curve.bytes_by(math.inf) == math.inf


def test_several_ports__the_named_one_or_the_best() -> None:
    both = json.loads(answer((0.1, 90 * MB)))
    other = json.loads(answer())["ports"][0]
    both["ports"].append({**other, "port": "nic1"})
    world = World(host1=json.dumps(both).encode(), host2=answer((0.1, 40 * MB)))
    world.look(A, B)
    assert world.choose(70 * MB) == 0
    world.now_s += router.HOLD_S + 0.01
    world.look(A, B)
    named = Host(A.address, port="nic0")
    assert world.choose(70 * MB, math.inf, named, B) == 1


@pytest.mark.parametrize("address", ["", "10.0.0.1:port", "https://10.0.0.1", "[::1", ":80"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InputError):
        Host(address).place()


def test_addresses() -> None:
    assert Host("http://[fd00::7]").place() == ("fd00::7", 9655)
    assert Host("[fd00::7]:1234").place() == ("fd00::7", 1234)
    with pytest.raises(InputError):
        Host("10.0.0.1", "sideways").place()
    with pytest.raises(InputError):
        Router().choose([], 1)


# --- over a socket ---


def wait_for(what: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)
    return found


@contextmanager
def listening(reply: bytes | None) -> Iterator[str]:
    """A server that says this to whoever comes; None: it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            try:
                while True:
                    peer = server.accept()[0]
                    held.append(peer)
                    if reply is not None:
                        peer.recv(4096)
                        peer.sendall(reply)
                        peer.close()
            except OSError:
                pass  # the test is over

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for peer in held:
                peer.close()


def http_reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_real_endpoints__one_good_one_mute_one_broken(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        listening(http_reply(answer())) as good,
        listening(None) as mute,
        listening(http_reply(b"", "500 Oh")) as broken,
        Router(every_s=0.01, bound_s=0.2) as one,
    ):
        hosts = [Host(address) for address in (good, mute, broken)]
        one.watch(hosts)
        wait_for(lambda: all(known.said for known in one.watch(hosts[1:])))
        wait_for(lambda: one.counts.chosen > 0 or one.choose(hosts[:1], 1))
        assert [one.choose(hosts, MB) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    said = capfd.readouterr().err.splitlines()
    assert sorted(line.split()[5][:-1] for line in said) == sorted([mute, broken])


# --- the example proxy ---


def toy_proxy() -> types.ModuleType:
    """What vLLM's toy_proxy_server.py has, as far as it matters here."""
    proxy = types.ModuleType("toy_proxy_server")
    state = types.SimpleNamespace(
        prefill_clients=[{"host": f"10.0.0.{i}", "port": 8100, "id": i} for i in (1, 2)],
        decode_clients=[{"host": f"10.0.0.{i}", "port": 8200, "id": i} for i in (3, 4)],
    )
    turns = {kind: itertools.cycle(range(2)) for kind in ("prefill", "decode")}
    served: list[tuple[str, str]] = []

    def get_next_client(app: Any, service_type: str) -> Any:
        return getattr(app.state, f"{service_type}_clients")[next(turns[service_type])]

    async def _handle_completions(api: str, request: Any) -> Any:
        await request.json()
        app = types.SimpleNamespace(state=state)
        chosen = [proxy.get_next_client(app, kind)["host"] for kind in ("prefill", "decode")]
        served.append((chosen[0], chosen[1]))
        return served[-1]

    proxy.get_next_client = get_next_client  # type: ignore[attr-defined]
    proxy._handle_completions = _handle_completions  # type: ignore[attr-defined]
    return proxy


class Request:
    def __init__(self, body: Any, headers: dict[str, str] | None = None) -> None:
        self.body, self.headers = body, headers or {}

    async def json(self) -> Any:
        return self.body


def serve(proxy: Any, body: Any, headers: dict[str, str] | None = None) -> Any:
    return asyncio.run(proxy._handle_completions("/completions", Request(body, headers)))


def test_plug__prefill_and_decode_by_slack() -> None:
    ingress = {"direction": "ingress"}
    world = World(
        host1=answer((0.1, 90 * MB)),
        host2=answer(),
        host3=answer(**ingress),
        host4=answer((0.1, 90 * MB), **ingress),
    )
    proxy = toy_proxy()
    router.plug(proxy, kv_token_bytes=100_000, router=world.router)
    world.look(*(Host(f"10.0.0.{i}:9655") for i in range(1, 5)))
    assert serve(proxy, {"prompt": [1] * 500}) == ("10.0.0.2", "10.0.0.3")  # 50 MB
    world.now_s += router.HOLD_S + 0.01
    assert serve(proxy, {"prompt": "abcd" * 500}) == ("10.0.0.2", "10.0.0.3")
    assert world.router.counts.turns == 0


def test_plug__as_the_proxy_does_where_hosts_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    world = World(**{f"host{i}": ConnectionRefusedError() for i in range(1, 5)})
    proxy = toy_proxy()
    clients = router.plug(proxy, kv_token_bytes=1, router=world.router)
    world.look(*(Host(f"10.0.0.{i}:9655") for i in range(1, 5)))
    turns = [serve(proxy, {"prompt": "x"}) for _ in range(4)]
    assert turns == [("10.0.0.1", "10.0.0.3"), ("10.0.0.2", "10.0.0.4")] * 2
    capfd.readouterr()
    clients.directions = {}  # an error of our own
    assert [serve(proxy, {"prompt": "x"})[0] for _ in range(2)] == ["10.0.0.1", "10.0.0.2"]
    assert capfd.readouterr().err.count("the proxy chooses as without it") == 1


@pytest.mark.parametrize("body", [None, [], {"prompt": {"a": 1}}, {"messages": [None, 7]}])
def test_plug__bodies_that_say_nothing(body: Any) -> None:
    world = World(**{f"host{i}": answer() for i in range(1, 5)})
    proxy = toy_proxy()
    router.plug(proxy, kv_token_bytes=1, router=world.router)
    assert serve(proxy, body)[0] in ("10.0.0.1", "10.0.0.2")


def test_plug__a_module_that_is_no_such_proxy() -> None:
    with pytest.raises(InputError, match="no get_next_client"):
        router.plug(types.ModuleType("other"), kv_token_bytes=1)
    with pytest.raises(InputError, match="egress or ingress"):
        router.plug(toy_proxy(), kv_token_bytes=1, prefill="up")


def test_tokens_and_deadlines_of_a_request() -> None:
    assert router.tokens({"prompt": [5] * 17}) == 17
    assert router.tokens({"prompt": "x" * 17}) == 5
    assert router.tokens({"prompt": [[1, 2], [3]]}) == 3
    chat = {"messages": [{"content": "x" * 8}, {"content": [{"type": "text", "text": "x" * 4}]}]}
    assert router.tokens(chat) == 3
    assert router.ttft_s({}, {"x-mfs-ttft-ms": "800"}, 5.0) == 0.8
    extra = {"vllm_xargs": {"mfs_deadline_ms": 200}}
    assert router.ttft_s(extra, {"x-mfs-ttft-ms": "800"}, 5.0) == 0.2
    assert router.ttft_s({"vllm_xargs": 3}, {"x-mfs-ttft-ms": "soon"}, 5.0) == 5.0
