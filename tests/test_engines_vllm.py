# SPDX-License-Identifier: Apache-2.0
"""Real vLLM servers, prefill and decode apart, as `scripts/vllm-demo` starts them.

Needs vLLM's environment (3.7 GB; made once, MFS_VLLM_VENV keeps it for several checkouts) and
about 7 GiB of memory: skipped with the reason where that is not to be had, and where
MFS_TEST_VLLM=0 says so. Nothing about speed is asserted.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mfs_transport.native import InputError
from mfs_transport.testbed import network
from mfs_transport.testbed.vllm import checks, cluster, replay, venv

REQUESTS = 6


@pytest.fixture(scope="module")
def environment() -> None:
    """vLLM's environment is there; no server is started."""
    if os.environ.get("MFS_TEST_VLLM") == "0":
        pytest.skip("MFS_TEST_VLLM=0")
    try:
        venv.install(lambda line: print(f"vLLM: {line}", file=sys.stderr))
    except (InputError, OSError) as error:
        pytest.skip(f"vLLM cannot be installed here: {error}")


@pytest.fixture(scope="module")
def ready(environment: None) -> None:
    """And the machine has room for two servers."""
    short = venv.short_of_memory()
    if short:
        pytest.skip(short)
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")


def demo(folder: Path, *arguments: str, limit_s: int = 420) -> tuple[dict[str, Any], str]:
    """Results of a demo with these arguments, and what it printed."""
    clean = {name: value for name, value in os.environ.items() if name == "MFS_VLLM_VENV"}
    others = {name: value for name, value in os.environ.items() if not name.startswith("MFS_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mfs_transport.testbed.vllm"),
            *("--json", str(folder / "results.json"), "--trace", str(folder / "trace.json")),
            *("--plot", str(folder / "plot.png"), "--keep", str(folder / "kept"), *arguments),
        ],
        env={**others, **clean},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads((folder / "results.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def pulled(ready: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One short demo that all tests here look at: starting servers is what takes time."""
    folder = tmp_path_factory.mktemp("pull")
    arguments = ("--pairs", "1", "--requests", str(REQUESTS), "--faults")
    results, _ = demo(folder, *arguments)
    return results, folder


@pytest.mark.slow
def test_interface__all_of_it_reaches_the_wrapped_connector(environment: None):
    """Each method and property of the installed release, also those with a default."""
    done = subprocess.run(
        [str(venv.python()), str(Path(__file__).with_name("vllm_interface.py"))],
        env={**os.environ, "PYTHONPATH": str(venv.ROOT), "MFS_SEGMENT": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["members"]) > 40
    assert {"start_load_kv", "get_transfer_results", "role"} < set(found["members"])
    assert {"NixlConnector", "NixlPushConnector", "OffloadingConnector"} < set(found["connectors"])
    assert found["wrong"] == []


@pytest.mark.slow
def test_headers__reach_the_core_through_the_server_as_it_is(environment: None):
    """vLLM's own middleware, AsyncLLM.generate, and what is sent to the engine's core."""
    done = subprocess.run(
        [str(venv.python()), str(Path(__file__).with_name("vllm_headers.py"))],
        env={**os.environ, "PYTHONPATH": str(venv.ROOT), "MFS_SEGMENT": "", "MFS_ENABLE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    plain = {name: {"mine": name} for name in ("nothing", "router", "bad", "priority")}
    assert found["plain"] == plain
    assert found["ours"] == {
        **plain,
        "router": {"mine": "router", "mfs_header_ms": 800.0},
        "priority": {"mine": "priority", "mfs_header_ms": 250.5, "mfs_header_priority": 7},
    }
    assert found["differ"] == []
    assert {answer[0] for answer in found["got"].values()} == {200}
    assert done.stderr.count("mfs: ") == 1  # of the bad one


@pytest.mark.slow
class TestPull:
    def test_outputs__are_those_of_one_server(self, pulled: tuple[dict[str, Any], Path]):
        rows = pulled[0]["results"]
        assert {row["policy"] for row in rows} == {"off", "mfs"}
        assert {row["slo_class"] for row in rows} == {"tight", "loose"}
        assert sum(row["requests"] for row in rows) == 2 * REQUESTS
        for row in rows:
            assert (row["mismatched_outputs"], row["failed"]) == (0, 0)
            assert 0 <= row["attainment"] <= 1
            assert 0 < row["ttft_p50_s"] <= row["ttft_p99_s"]

    def test_wire__the_deadline_is_seen(self, pulled: tuple[dict[str, Any], Path]):
        """HTTP to prefill, its answer, decode's scheduler, its worker, the shim."""
        events = json.loads((pulled[1] / "trace.json").read_text())["results"]
        flows = defaultdict(list)
        for event in events:
            if event["request"].startswith("cmpl-mfs-0-"):
                flows[event["request"].split("-")[3]].append(event)
        assert sorted(flows, key=int) == [str(number) for number in range(REQUESTS)]
        for flow in flows.values():
            assert flow[0]["kind"] == "queued"
            assert [one["kind"] for one in flow[-2:]] == ["left", "completed"]
            assert {(one["host"], one["stage"], one["layer"]) for one in flow} == {
                ("decode", "p2d", 0)
            }
            assert {one["direction"] for one in flow} == {"ingress"}
            # one deadline for all of the flow, and it is that of the client's class
            (deadline_ns,) = {one["deadline_ns"] for one in flow}
            assert deadline_ns is not None
            for one in flow:
                moved = one["level"] != one["level_before"]
                assert moved == (one["kind"] == "moved")

    def test_wire__a_tight_request_is_due_earlier(self, pulled: tuple[dict[str, Any], Path]):
        rows = {row["slo_class"]: row["slo_ttft_s"] for row in pulled[0]["results"]}
        events = json.loads((pulled[1] / "trace.json").read_text())["results"]
        left_s = [
            (one["deadline_ns"] - one["time_ns"]) / 1e9
            for one in events
            if one["kind"] == "queued" and one["request"].startswith("cmpl-mfs-0-")
        ]
        assert left_s
        assert max(left_s) <= rows["loose"]
        assert any(one <= rows["tight"] for one in left_s)

    def test_faults__the_prefill_server_goes_on(self, pulled: tuple[dict[str, Any], Path]):
        found = pulled[0]["checks"]["faults"]
        assert found["segment_deleted_right"] == found["of"]
        assert found["killed_with_bytes_left"] > 0
        assert found["decode_killed_right"] == found["of"]
        assert found["client_ended"]

    def test_plug_in__said_nothing_to_complain_of(self, pulled: tuple[dict[str, Any], Path]):
        for name in ("prefill0.log", "decode0.log"):
            text = (pulled[1] / "kept" / name).read_text(errors="replace")
            said = [line for line in text.splitlines() if line.startswith("mfs: ")]
            # a server that computes on every core for seconds does stand still for the others
            assert not [line for line in said if "takes no bytes since" not in line]


@pytest.mark.long
def test_untested_release__says_so_and_serves_as_without_us(ready: None, tmp_path: Path):
    """The installed vLLM with another version in it: real servers, KV by NIXL."""
    fake = "import sys, types\nmade = sys.modules['vllm._version'] = types.ModuleType('version')\n"
    fake += "made.__version__ = made.version = '0.30.9'\n"
    fake += "made.__version_tuple__ = made.version_tuple = (0, 30, 9)\n"
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "sitecustomize.py").write_text(fake)
    servers = cluster.Cluster(
        network.Loopback(str(tmp_path)), tmp_path, cluster.Options(link_Bps=1e9), number=4
    )
    servers.paths.insert(0, str(tmp_path / "fake"))
    jobs = replay.make([replay.SloClass("any", (100, 700), 3.0, 1.0)], 3, 1.0, 1e9, 0)
    with servers:
        servers.start(print)
        proxy = servers.start_proxy()
        expected = replay.aggregated(servers.servers["prefill"].address, jobs, 4)
        for job in jobs:
            assert (
                replay.send(proxy, job, 4, f"untested-{job.index}", None).text
                == (expected[job.prompt])
            )
        for server in servers.servers.values():
            lines = [line for line in server.log.read_text().splitlines() if "mfs: " in line]
            assert lines  # one of each process: API server, engine, worker
            assert len(lines) <= 3
            assert len({line[line.index("mfs: ") :] for line in lines}) == 1
            assert "vLLM 0.30.9 was not tested" in lines[0]
            assert not Path(servers.segment(server.name)).exists()  # nothing of ours was opened


@pytest.mark.long
def test_headers__a_request_with_the_routers_alone_is_tagged(ready: None, tmp_path: Path):
    """100 of 100, seen at decode, whose shim orders the reads."""
    count, at_once = 100, 8
    jobs = replay.make([replay.SloClass("any", (150, 250), 3.0, 1.0)], count, 1.0, 1e9, 0)
    options = cluster.Options(middleware="mfs_transport.engines.vllm.slo.Middleware")
    servers = cluster.Cluster(network.Loopback(str(tmp_path)), tmp_path, options, number=5)

    def one(job: replay.Job) -> None:
        body = replay.body_of(job, 2)
        del body["vllm_xargs"]
        headers = {
            "X-Request-Id": f"routed-{job.index}",
            "x-llm-d-slo-ttft-ms": str(1_000_000 * (job.index + 1)),
        }
        connection = http.client.HTTPConnection(*proxy, timeout=300)
        connection.request("POST", replay.PATH, json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["id"] == f"cmpl-routed-{job.index}"  # as without us
        connection.close()

    with servers:
        servers.start(print)
        proxy = servers.start_proxy()
        wire = checks.Wire(servers)
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, jobs))
        wire.close()
    left_s: dict[int, float] = {}
    for name, event in wire.events:
        if name == "decode" and event.request.startswith("cmpl-routed-"):
            assert event.deadline_ns is not None
            number = int(event.request.split("-")[2])
            left_s.setdefault(number, (event.deadline_ns - event.time_ns) / 1e9)
    # each is due by its own header: 1000 s later than the one before
    assert {number: math.ceil(one / 1000) for number, one in left_s.items()} == {
        number: number + 1 for number in range(count)
    }


@pytest.mark.long
def test_push__layer_by_layer(ready: None, tmp_path: Path):
    results, _ = demo(
        tmp_path, *("--mode", "push", "--layerwise", "--pairs", "1", "--requests", "12")
    )
    assert all(row["mismatched_outputs"] == 0 for row in results["results"])
    events = json.loads((tmp_path / "trace.json").read_text())["results"]
    layers = {one["layer"] for one in events if one["stage"] == "p2d"}
    assert layers == {0, 1, 2, 3}


@pytest.mark.long
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_outputs__of_200_requests(ready: None, tmp_path: Path, mode: str):
    """As many without MFS and with it, in chunks, and many at a time: the port is fast."""
    arguments = ("--mode", mode, "--pairs", "4", "--requests", "50", "--link", "400")
    results, _ = demo(tmp_path, *arguments, "--load", "1", limit_s=1800)
    for policy in ("off", "mfs"):
        rows = [row for row in results["results"] if row["policy"] == policy]
        assert sum(row["requests"] for row in rows) == 200
        assert sum(row["mismatched_outputs"] for row in rows) == 0
