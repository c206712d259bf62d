# SPDX-License-Identifier: Apache-2.0
"""Urgent puts beside pulls of vLLM servers, by `mfs bench vllm_pull`: what needs no server, and,
where vLLM is installed, a short run (-m long)."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import benches
import pytest
from click.testing import CliRunner

from mfs_transport.testbed import network
from mfs_transport.testbed.vllm import cluster, venv
from mfs_transport.testbed.vllm.model import KV_TOKEN_BYTES

METRICS = """\
# HELP vllm:nixl_xfer_time_seconds Histogram of transfer duration for NIXL.
vllm:nixl_xfer_time_seconds_bucket{engine="0",le="0.1"} 1.0
vllm:nixl_xfer_time_seconds_sum{engine="0",model_name="tiny"} 1.25
vllm:nixl_xfer_time_seconds_count{engine="0",model_name="tiny"} 3.0
vllm:nixl_xfer_time_seconds_sum{engine="1",model_name="tiny"} 2e-1
vllm:nixl_xfer_time_seconds_count{engine="1",model_name="tiny"} 1.0
vllm:nixl_xfer_time_seconds_created{engine="0"} 1.7e+09
"""


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benches.load("vllm_pull")


@pytest.fixture(scope="module")
def pulls() -> ModuleType:
    return benches.load("_vllm_pulls")


# --- servers that are none ---


class Engine(ThreadingHTTPServer):
    """Prefills, or decodes by streaming the last word of the prompt."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.text = ""  # of every answer; "": as above
        self.breaks = False  # in the middle of an answer, as a server that is killed
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server_address[1]


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(METRICS.encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({**body, "name": self.headers["X-Request-Id"]})
        if body["stream"]:
            text = self.server.text or body["prompt"].split()[-1]
            event = json.dumps({"choices": [{"text": text}]})
            if self.server.breaks:
                self.answer(b"", length="1000")
            else:
                self.answer(f"data: {event}\n\ndata: [DONE]\n\n".encode())
        else:
            given = {"remote_request_id": f"at-prefill-{self.headers['X-Request-Id']}"}
            self.answer(json.dumps({"kv_transfer_params": given}).encode())

    def answer(self, body: bytes, length: str = "") -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    made = [Engine() for _ in "ABC"]
    yield made
    for one in made:
        one.shutdown()
        one.server_close()


def ready_of(pulls: ModuleType, prefill: Engine, count: int) -> tuple[list[Any], dict[str, str]]:
    """So many requests that are prefilled, and the right texts."""
    jobs = pulls.prompts(100)
    ready = pulls.prepare(prefill.address, jobs, count, "x")
    return ready, {job.prompt: job.prompt.split()[-1] for job in jobs}


# --- pulls ---


def test_how_many__requests_do_not_run_out(pulls: ModuleType):
    link_Bps, seconds, tokens = 25e6, 10.0, 2000
    count = pulls.how_many(link_Bps, seconds, tokens, 4)
    # when the link has carried all that it can, four are still under way
    assert (count - 4) * tokens * KV_TOKEN_BYTES >= link_Bps * seconds
    assert (count - 5) * tokens * KV_TOKEN_BYTES < link_Bps * seconds


def test_prepare__each_prompt_is_prefilled_as_often_as_it_comes(
    pulls: ModuleType, engines: list[Engine]
):
    ready, expected = ready_of(pulls, engines[0], 2 * pulls.PROMPTS)
    assert len(expected) == pulls.PROMPTS
    assert sorted(one.name for one in ready) == sorted(f"x-{n}" for n in range(len(ready)))
    assert len({one.params["remote_request_id"] for one in ready}) == len(ready)
    for asked in engines[0].asked:
        assert asked["max_tokens"] == 1
        assert asked["kv_transfer_params"]["do_remote_decode"] is True


def test_prepare__a_server_that_refuses_is_one_line(pulls: ModuleType, engines: list[Engine]):
    engines[0].status = 503
    with pytest.raises(OSError, match="prefill server answered 503"):
        pulls.prepare(engines[0].address, pulls.prompts(100), 1, "x")


def test_pulls__each_request_goes_to_one_decoder_with_what_prefill_said(
    pulls: ModuleType, engines: list[Engine]
):
    ready, expected = ready_of(pulls, engines[0], 12)
    under_way = pulls.Pulls({"B": engines[1].address, "C": engines[2].address}, 2, ready)
    under_way.start()
    under_way.join()
    asked = [*engines[1].asked, *engines[2].asked]
    assert sorted(one["name"] for one in asked) == sorted(one.name for one in ready)
    params = {one.name: one.params for one in ready}
    assert all(one["kv_transfer_params"] == params[one["name"]] for one in asked)
    assert (under_way.wrong(expected), under_way.lost(), under_way.trouble) == (0, 0, {})
    times = under_way.times(0.0, under_way.ran_out_s + 60)
    assert len(times) == 12
    assert under_way.times(0.0, 0.0) == []


def test_pulls__another_text_is_counted(pulls: ModuleType, engines: list[Engine]):
    ready, expected = ready_of(pulls, engines[0], 3)
    engines[1].text = "another"
    under_way = pulls.Pulls({"B": engines[1].address}, 1, ready)
    under_way.start()
    under_way.join()
    assert under_way.wrong(expected) == 3


@pytest.mark.parametrize("on_purpose", [True, False])
@pytest.mark.parametrize("breaks", [True, False])
def test_pulls__a_decoder_that_has_gone_gets_one_request_no_more(
    pulls: ModuleType, engines: list[Engine], breaks: bool, on_purpose: bool
):
    ready, expected = ready_of(pulls, engines[0], 6)
    engines[1].breaks = True
    address = engines[1].address if breaks else ("127.0.0.1", 1)
    under_way = pulls.Pulls({"B": address}, 1, ready)
    under_way.start()
    under_way.join()
    assert list(under_way.trouble) == ["B"]
    assert len(under_way.pulls) == 1
    if on_purpose:
        under_way.gone.add("B")
    assert under_way.lost() == on_purpose
    assert under_way.wrong(expected) == (not on_purpose)


def test_transfers__sum_and_count_of_all_engines(pulls: ModuleType, engines: list[Engine]):
    assert pulls.transfers(engines[0].address) == pytest.approx((1.45, 4.0))
    assert pulls.metric("", pulls.XFER) == (0.0, 0.0)


# --- the bench ---


def test_plan__servers_without_us_come_first_and_who_is_killed_last(bench: ModuleType):
    assert bench.plan(("off", "local", "gone"), 2) == {
        False: [("off", 0), ("off", 1)],
        True: [("local", 0), ("local", 1), ("gone", 0)],
    }
    assert bench.plan(("exchange",), 1) == {True: [("exchange", 0)]}


def run_of(ratio: float, **more: Any) -> dict[str, Any]:
    given = {
        **dict.fromkeys(("cpu_bound", "ran_out"), False),
        **dict.fromkeys(("wrong", "lost"), 0),
        **dict.fromkeys(("late", "cpu_busy"), 0.5),
        "answers": 10,
        "agent_cpu_share": float("nan"),
        "collective_p99_ratio": ratio,
    }
    return {**given, **more}


def test_record__only_runs_of_which_the_link_was_the_limit_count(bench: ModuleType):
    runs = [run_of(1.0), run_of(2.0), run_of(9.0, cpu_bound=True), run_of(9.0, ran_out=True)]
    one = bench.record("local", runs)
    assert (one["rounds"], one["valid"], one["cpu_bound"]) == (4, 2, 1)
    assert one["collective_p99_ratio"] == 1.5
    assert one["answers"] == 40  # of all
    assert one["agent_cpu_share"] is None
    (line,) = bench.invalid([one])
    assert line.startswith("not valid: 2 of 4 runs of local: processors were the limit")
    assert bench.invalid([bench.record("off", [run_of(1.0)])]) == []
    none = bench.record("off", [run_of(9.0, ran_out=True)])
    assert none["collective_p99_ratio"] is None
    assert bench.invalid([none]) == ["not valid: 1 of 1 runs of off: requests ran out"]


def test_check__a_server_that_has_ended_is_named(
    bench: ModuleType, pulls: ModuleType, tmp_path: Path
):
    servers = cluster.Cluster(network.Loopback(str(tmp_path)), tmp_path, cluster.Options())
    with servers:
        place = network.Place("B", "127.0.0.1", "lo", ())
        servers.spawn("B", place, 8001, ["sh", "-c", "exit 3"], dict(os.environ))
        servers.servers["B"].process.wait()
        with pytest.raises(OSError, match="decode server of host B ended with status 3; --keep"):
            bench.check(servers)
        under_way = pulls.Pulls({}, 1, [])
        under_way.trouble["B"] = "RemoteDisconnected"
        with pytest.raises(OSError, match="status 3, in the middle of its pulls"):
            bench.check(servers, under_way)


def test_cluster__each_server_has_an_engine_of_its_own(tmp_path: Path):
    servers = cluster.Cluster(network.Loopback(str(tmp_path)), tmp_path, cluster.Options())
    place = network.Place("B", "127.0.0.1", "lo", ())
    engines = set()
    for port in (8001, 8002):
        command = servers.command(place, "consumer", port)
        given = json.loads(command[command.index("--kv-transfer-config") + 1])
        engines.add(given["engine_id"])
    assert len(engines) == 2


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--link", "5000"), 2, "--link"),
        (("--variant", "fastest"), 2, "--variant"),
        ((), 1, "this bench needs vLLM: scripts/vllm-demo --setup"),
    ],
)
def test_command__what_it_cannot_do_is_one_line(
    bench: ModuleType,
    arguments: tuple[str, ...],
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MFS_VLLM_VENV", str(tmp_path / "none"))
    done = CliRunner().invoke(bench.main, arguments)
    assert done.exit_code == status
    assert words in done.output.splitlines()[-1]


@pytest.mark.long
@pytest.mark.root
@pytest.mark.nixl
def test_run__answers_are_right_and_the_killed_server_takes_its_own_with_it(tmp_path: Path):
    if not venv.ready():
        pytest.skip("vLLM is not installed: scripts/vllm-demo --setup")
    short = venv.short_of_memory()
    if short:
        pytest.skip(short)
    pytest.importorskip("nixl", reason="NIXL is not installed")
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    variants = ("--variant", "exchange", "--variant", "gone")
    options = ("--link", "50", "--tokens", "1000", "--seconds", "4")
    document, said = benches.measured("vllm_pull", tmp_path, *variants, *options)
    assert "too few peers" not in said
    assert "B's decode server was killed in its pulls" in said
    exchange, gone = document["results"]
    assert (exchange["variant"], gone["variant"]) == ("exchange", "gone")
    assert exchange["wrong"] == gone["wrong"] == exchange["lost"] == 0
    assert exchange["answers"] > 0
    assert gone["lost"] > 0
    for one in document["results"]:
        (run,) = one["runs"]
        assert run["puts"] > 0
        assert run["link_share"] > 0
        assert 0 < run["port_share"] < 1.05
