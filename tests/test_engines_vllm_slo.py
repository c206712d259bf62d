# SPDX-License-Identifier: Apache-2.0
"""The middleware, called as ASGI calls it, in front of an application that generates as vLLM does.

No vLLM is needed: its AsyncLLM is a small one here. The real one is in test_engines_vllm.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_connector import (
    CONFIG,
    SCHEDULER,
    VLLM_CONFIG,
    WORKER,
    Hybrid,
    Small,
    facts,
    output,
    request,
)

from mfs_transport import control
from mfs_transport.engines.vllm import connector, interface, slo
from mfs_transport.native import now_ns

OURS, LLM_D, DYNAMO = b"x-mfs-ttft-ms", b"x-llm-d-slo-ttft-ms", b"x-dynamo-request-priority"
Pairs = list[tuple[bytes, bytes]]


class Engine:
    """AsyncLLM: keeps the extra_args that a request comes to the engine's core with."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}

    async def generate(
        self, prompt: str, sampling_params: Any, request_id: str, *, priority: int = 0
    ) -> AsyncIterator[str]:
        del prompt, priority
        self.extra[request_id] = sampling_params.extra_args
        for word in ("w7", "w8"):
            await asyncio.sleep(0)  # others run
            yield word


class Server:
    """An application as vLLM's: JSON comes, a stream goes out of a task of its own."""

    def __init__(self) -> None:
        self.engine = sys.modules["vllm.v1.engine.async_llm"].AsyncLLM()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"])
        params = SimpleNamespace(extra_args=body.get("vllm_xargs"))
        name = body.get("name", "r")
        if body.get("by_name"):
            words = self.engine.generate("p", request_id=name, sampling_params=params)
        else:
            words = self.engine.generate("p", params, name)

        async def stream() -> None:
            headers = [(b"x-seen", str(sorted(map(list, scope["headers"]))).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for word in words:
                await send({"type": "http.response.body", "body": word.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

        await asyncio.create_task(stream())


async def called(app: Any, headers: Pairs, **body: Any) -> list[Any]:
    """What the application sends."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers}
    await app(scope, receive, send)
    return sent


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A release that was tested, MFS switched on."""
    release = SimpleNamespace(__version__="0.32.0")
    engine = type("AsyncLLM", (Engine,), {"generate": Engine.generate})
    monkeypatch.setitem(sys.modules, "vllm", release)
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.async_llm", SimpleNamespace(AsyncLLM=engine))
    monkeypatch.setenv("MFS_ENABLE", "1")
    return release


def found(headers: Pairs, **body: Any) -> Any:
    """extra_args of a request with these headers, as the engine's core gets it."""
    server = Server()
    asyncio.run(called(slo.Middleware(server), headers, **body))
    return server.engine.extra["r"]


# --- what gets through ---


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(OURS, b"800")], {"mfs_header_ms": 800.0}),
        ([(LLM_D, b"1500")], {"mfs_header_ms": 1500.0}),
        ([(LLM_D, b" 0.5\t")], {"mfs_header_ms": 0.5}),
        ([(LLM_D, b"1500"), (OURS, b"800")], {"mfs_header_ms": 800.0}),
        ([(LLM_D, b"1500"), (OURS, b"soon")], {"mfs_header_ms": 1500.0}),
        ([(DYNAMO, b"-7")], {"mfs_header_priority": -7}),
        (
            [(DYNAMO, b"2147483647"), (b"accept", b"*/*"), (LLM_D, b"9")],
            {"mfs_header_ms": 9.0, "mfs_header_priority": 2147483647},
        ),
        ([(b"accept", b"800")], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("by_name", [False, True])
def test_headers__reach_the_request(vllm: Any, headers: Pairs, expected: Any, by_name: bool):
    assert found(headers, by_name=by_name) == expected


def test_headers__stand_beside_what_the_body_says(vllm: Any):
    xargs = {"mfs_deadline_ms": 5, "mine": 1}
    assert found([(LLM_D, b"800")], vllm_xargs=xargs) == {**xargs, "mfs_header_ms": 800.0}


def test_names__are_the_environments(vllm: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MFS_TTFT_HEADERS", "X-Wanted, x-other")
    monkeypatch.setenv("MFS_PRIORITY_HEADER", "X-Rank")
    headers = [(OURS, b"1"), (DYNAMO, b"1"), (b"x-other", b"2"), (b"x-wanted", b"3")]
    assert found(headers) == {"mfs_header_ms": 3.0}
    assert found([(b"x-other", b"2"), (b"x-rank", b"4")]) == {
        "mfs_header_ms": 2.0,
        "mfs_header_priority": 4,
    }


def test_requests__at_one_time_have_each_their_own(vllm: Any):
    server = Server()
    app = slo.Middleware(server)

    async def all_at_once() -> None:
        await asyncio.gather(
            *(
                called(app, [(LLM_D, str(number).encode())] if number % 2 else [], name=number)
                for number in range(50)
            )
        )

    asyncio.run(all_at_once())
    assert server.engine.extra == {
        number: {"mfs_header_ms": float(number)} if number % 2 else None for number in range(50)
    }


def test_requests__started_out_of_another_do_not_take_its_deadline(vllm: Any):
    """As uvicorn starts the next one of a connection, while the one before ends."""
    server = Server()
    app = slo.Middleware(server)

    async def one_out_of_the_other() -> None:
        contexts: list[contextvars.Context] = []

        async def first(*_: Any) -> None:
            contexts.append(contextvars.copy_context())

        outer = slo.Middleware(first)
        await called(outer, [(LLM_D, b"800")])
        assert contexts[0][slo.current] == {"mfs_header_ms": 800.0}
        await asyncio.create_task(called(app, []), context=contexts[0])

    asyncio.run(one_out_of_the_other())
    assert server.engine.extra == {"r": None}


# --- what does not ---

BAD = [
    *(b"", b"soon", b"0", b"0.0", b"-5", b"nan", b"inf", b"-inf", b"1e3", b"1_0", b"0x10"),
    *(b"9" * 11, b"1000000001", b"9" * 10_000, b" " * 100 + b"5", b"5 5", b"5,6", b"5\n", b"5."),
    *("٣".encode(), "5\u00a0".encode(), b"\xff", b"5\x00", b"+5", b"1." + b"0" * 10),
]


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_headers__that_cannot_be_used_change_nothing(
    vllm: Any, value: bytes, capsys: pytest.CaptureFixture[str]
):
    headers = [(LLM_D, value)]
    app = slo.Middleware(Server())
    for _ in range(3):
        assert asyncio.run(called(app, headers)) == asyncio.run(called(Server(), headers))
    assert found(headers) is None
    said = capsys.readouterr().err.splitlines()
    assert [line[:32] for line in said] == [
        "mfs: header x-llm-d-slo-ttft-ms:"
    ] * 2  # one a middleware
    assert all(len(line) < 250 and line.isprintable() for line in said)


@pytest.mark.parametrize("value", [b"high", b"1.0", b"2147483648", b"-2147483649", b"--1", b""])
def test_priority__that_cannot_be_used_changes_nothing(vllm: Any, value: bytes):
    assert found([(DYNAMO, value)]) is None


@pytest.mark.parametrize("times", [2, 3])
def test_headers__that_come_twice_say_nothing(
    vllm: Any, times: int, capsys: pytest.CaptureFixture[str]
):
    assert found([(OURS, b"5")] * times + [(LLM_D, b"7")]) == {"mfs_header_ms": 7.0}
    assert "it is there twice" in capsys.readouterr().err


pieces = st.sampled_from([b"0", b"7", b"12", b".", b"-", b"+", b"e", b" ", b"\t", b"_", b"\xff"])
values = st.lists(pieces, max_size=6).map(b"".join) | st.binary(max_size=70)
names = st.sampled_from([OURS, LLM_D, DYNAMO, b"accept"]) | st.binary(max_size=3)


@settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(names, values), max_size=5))
def test_headers__whatever_comes_the_response_is_as_without_us(vllm: Any, headers: Pairs):
    server = Server()
    app = slo.Middleware(server)
    assert asyncio.run(called(app, headers)) == asyncio.run(called(Server(), headers))
    extra = server.engine.extra["r"] or {}
    assert extra.keys() <= {"mfs_header_ms", "mfs_header_priority"}
    if "mfs_header_ms" in extra:
        usable = [slo.milliseconds(value) for name, value in headers if name in (OURS, LLM_D)]
        assert extra["mfs_header_ms"] in usable


@settings(
    deadline=None,
    derandomize=True,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(values)
@example(b"1000000000")
@example(b"1000000000.000000001")
@example(b"0.000000001")
def test_milliseconds__are_what_the_decimal_says(value: bytes):
    number = slo.milliseconds(value)
    text = value.strip(b" \t").decode("latin-1")
    whole, point, part = text.partition(".")
    digits = all(one and set(one) <= set("0123456789") for one in (whole, part or "0"))
    if digits and (part or not point) and len(whole) <= 10 and len(part) <= 9 and len(value) <= 64:
        nearest = float(Decimal(text))
        assert number == (nearest if 0 < nearest <= 1e9 else None)
    else:
        assert number is None


# --- what is not touched ---


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "of tomorrow"])
def test_scopes__other_than_http_pass_as_they_are(vllm: Any, kind: str):
    scope, receive, send = {"type": kind, "headers": [(OURS, b"5")]}, object(), object()
    got: list[Any] = []

    async def app(*arguments: Any) -> None:
        got.extend([*map(id, arguments), slo.current.get()])

    asyncio.run(slo.Middleware(app)(scope, receive, send))  # type: ignore[arg-type]
    assert got == [*map(id, (scope, receive, send)), None]


def test_application__its_error_is_its_own(vllm: Any):
    async def broken(*_: Any) -> None:
        raise RuntimeError("its own")

    async def asked() -> None:
        with pytest.raises(RuntimeError, match="its own"):
            await called(slo.Middleware(broken), [(OURS, b"5")])
        assert slo.current.get() is None

    asyncio.run(asked())


def test_scope__without_headers_is_served(vllm: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connector.faults, "said", set())
    before = connector.faults.count
    passed: list[Any] = []

    async def app(scope: Any, *_: Any) -> None:
        passed.append(scope)

    asyncio.run(slo.Middleware(app)({"type": "http"}, None, None))  # type: ignore[arg-type]
    assert passed == [{"type": "http"}]
    assert connector.faults.count == before + 1


def test_engine__that_takes_its_parameters_otherwise_is_called_as_it_was(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connector.faults, "said", set())
    before = connector.faults.count

    async def app(*_: Any) -> None:
        engine = sys.modules["vllm.v1.engine.async_llm"].AsyncLLM()
        params = object()  # has no extra_args, and takes none
        with pytest.raises(AttributeError, match="extra_args"):  # of the engine itself
            async for _word in engine.generate("p", params, "r"):
                pass

    asyncio.run(called(slo.Middleware(app), [(OURS, b"5")]))
    assert connector.faults.count == before + 1


def test_middleware__does_nothing_where_mfs_is_off(vllm: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MFS_ENABLE", "0")
    assert found([(OURS, b"5")]) is None
    assert not hasattr(sys.modules["vllm.v1.engine.async_llm"].AsyncLLM, "_mfs_installed")


def test_middleware__does_nothing_in_a_release_that_was_not_tested(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
):
    vllm.__version__ = "9.1.0"
    assert found([(OURS, b"5")]) is None
    monkeypatch.setenv("MFS_VLLM_UNTESTED", "1")
    assert found([(OURS, b"5")]) == {"mfs_header_ms": 5.0}


def test_middleware__another_vllm_is_one_line(vllm: Any, monkeypatch: Any, capsys: Any):
    monkeypatch.setattr(connector.faults, "said", set())
    server = Server()
    monkeypatch.delitem(sys.modules, "vllm.v1.engine.async_llm")
    asyncio.run(called(slo.Middleware(server), [(OURS, b"5")]))
    assert server.engine.extra == {"r": None}
    assert capsys.readouterr().err.count("\n") == 1


def test_middleware__twice_is_once(vllm: Any):
    server = Server()
    app = slo.Middleware(slo.Middleware(server))
    installed = sys.modules["vllm.v1.engine.async_llm"].AsyncLLM.generate
    asyncio.run(called(app, [(OURS, b"5")]))
    assert server.engine.extra == {"r": {"mfs_header_ms": 5.0}}
    assert installed.__wrapped__ is Engine.generate


# --- to the wire ---


@pytest.fixture
def sides() -> Iterator[tuple[Any, Any]]:
    scheduler = interface.wrap(Hybrid)(VLLM_CONFIG, SCHEDULER, CONFIG)
    worker = interface.wrap(Small)(VLLM_CONFIG, WORKER, CONFIG)
    yield scheduler, worker
    scheduler.shutdown()
    worker.shutdown()


def test_wire__each_request_with_the_routers_header_alone_is_tagged(
    vllm: Any, sides: tuple[Any, Any]
):
    scheduler, worker = sides
    server = Server()
    app = slo.Middleware(server)
    names = [f"cmpl-routed{number}-0-0000000a" for number in range(100)]
    for number, name in enumerate(names):
        header = (LLM_D, str(1_000_000 * (number + 1)).encode())
        asyncio.run(called(app, [header], name=name))
        params = {"do_remote_prefill": True}
        scheduler.on_new_request(request(name, params, server.engine.extra[name]))
        scheduler.recv = {name: name[:-1] + "b"}  # its id at the prefill server
        worker.bind_connector_metadata(scheduler.build_connector_meta(output()))
        worker.start_load_kv()
    left_s = [(facts(name).deadline_ns - now_ns()) / 1e9 for name in names]
    assert [math.ceil(one / 1000) for one in left_s] == list(range(1, 101))
    keys = [int(control.tag_make(name, "p2d").request) for name in names]
    assert worker.connector_worker.nixl_wrapper.posted == [(key, "p2d") for key in keys]
