# SPDX-License-Identifier: Apache-2.0
"""The metrics of a host: names, values, and what a segment that is none does to them."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import mfs_transport as mfs
from mfs_transport.native import InputError, ffi, lib, text
from mfs_transport.observe.metrics import COUNTERS, STATES, Collector

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy" / "observability"
LEVEL = 3


def scrape(path: Path) -> str:
    registry = CollectorRegistry()
    registry.register(Collector(str(path)))
    return generate_latest(registry).decode()


def samples(page: str) -> dict[str, float]:
    """By name and labels as they are written."""
    lines = (line for line in page.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@contextmanager
def at_work(path: Path) -> Iterator[mfs.Host]:
    """A host with two requests, and a sender of port nic0 that has bytes in flight and waiting."""
    with mfs.Host(str(path)) as host:
        host.policy = "fifo"
        requests = [mfs.register(f"r{index}", ttft_s=60.0, host=host) for index in range(2)]
        out = ffi.new("struct mfs_sender **")
        assert lib.mfs_sender_join(host.handle, b"nic0", lib.MFS_EGRESS, ffi.NULL, out) == 0
        sender, to = out[0], ffi.new("struct mfs_destination *")
        operations = [ffi.new("struct mfs_op *", {"length": 4096}) for _ in range(2)]
        assert lib.mfs_sender_open(sender, to, ffi.NULL) == 0
        now_ns, tag = mfs.native.now_ns(), ffi.new("struct mfs_tag *")
        for operation in operations:
            assert lib.mfs_sender_push(sender, operation, to, tag, now_ns) == 0
        assert lib.mfs_sender_next(sender, 0, now_ns, ffi.new("struct mfs_chunk *")) == 0
        lib.mfs_sender_publish(sender, now_ns)
        lib.mfs_count(host.handle, lib.MFS_COUNT_BYTES, 8192)
        yield host
        del requests, operations, to


def test_live__what_it_says(tmp_path: Path):
    with at_work(tmp_path / "segment"):
        found = samples(scrape(tmp_path / "segment"))
    labels = '{direction="egress",port="nic0"}'
    assert found['mfs_segment_state{state="live"}'] == 1
    assert found[f'mfs_segment_info{{policy="fifo",version="{mfs.__version__}"}}'] == 1
    assert found["mfs_processes"] == 1
    assert found['mfs_requests{state="waiting"}'] == 2
    assert found["mfs_operation_bytes_total"] == 8192
    assert found[f'mfs_process_operation_bytes_total{{pid="{os.getpid()}"}}'] == 8192
    assert found[f"mfs_port_inflight_bytes{labels}"] == 4096
    assert found[f"mfs_port_senders{labels}"] == 1
    assert found[f"mfs_port_senders_waiting{labels}"] == 1
    assert 0 <= found[f"mfs_port_best_level{labels}"] <= 8
    assert found[f"mfs_port_window_bytes{labels}"] > 4096


def test_idle_port__has_no_best_level(tmp_path: Path):
    with mfs.Host(str(tmp_path / "segment")) as host:
        out = ffi.new("struct mfs_sender **")
        assert lib.mfs_sender_join(host.handle, b"nic0", lib.MFS_EGRESS, ffi.NULL, out) == 0
        found = samples(scrape(tmp_path / "segment"))
    assert not [name for name in found if "best_level" in name]
    assert found['mfs_port_still_seconds{direction="egress",port="nic0"}'] == 0


@contextmanager
def segment_of(state: str, path: Path) -> Iterator[None]:
    if state == "unusable":
        path.write_text("Dear reader")
        path.chmod(0o600)
    if state == "idle":
        mfs.Host(str(path)).close()
    if state not in ("live", "other_version"):
        yield
        return
    with mfs.Host(str(path)):
        if state == "other_version":
            with path.open("r+b") as file:
                file.seek(8)
                file.write(struct.pack("I", 1))
        yield


@pytest.mark.parametrize("state", STATES)
def test_state__is_told_whatever_lies_there(tmp_path: Path, state: str):
    path = tmp_path / "segment"
    with segment_of(state, path):
        found = samples(scrape(path))
    told = {name: value for name, value in found.items() if "segment_state" in name}
    assert told == {f'mfs_segment_state{{state="{one}"}}': one == state for one in STATES}
    assert (len(found) > len(STATES)) == (state == "live")


def test_segment__whose_name_can_be_none_is_told_at_once():
    with pytest.raises(InputError, match="NUL"):
        Collector("a\0b")


@pytest.mark.parametrize("seed", range(4))
def test_garbage__no_traceback_and_bounded_series(tmp_path: Path, seed: int):
    path = tmp_path / "segment"
    numbers = random.Random(seed)
    host = mfs.Host(str(path))
    head, size = 32, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(head)
        file.write(b"\xff" * (size - head) if seed == 0 else numbers.randbytes(size - head))
    page = scrape(path)
    found = samples(page)
    list(text_string_to_metric_families(page))
    assert len(found) == page.count("\n") - page.count("\n# ") - 1, "a series is there twice"
    pids = {name for name in found if "pid=" in name}
    ports = {name for name in found if "port=" in name}
    assert len(pids) <= len(COUNTERS), "of one process that lives"
    assert len(ports) <= 16 * 10
    assert len(found) - len(pids) - len(ports) < 40
    host._host = None  # what it would give back is garbage


def test_counters__all_have_a_metric():
    index = 0
    while name := text(lib.mfs_counter_name(index)):
        assert name in COUNTERS
        index += 1
    assert index == len(COUNTERS)


def test_names__follow_the_rules(tmp_path: Path):
    with at_work(tmp_path / "segment"):
        page = scrape(tmp_path / "segment")
    for family in text_string_to_metric_families(page):
        assert family.name.startswith("mfs_")
        assert family.documentation
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample
            assert not re.search("milli|micro|nano|kilo|mega|giga|_ms|_ns|_us", sample.name)
            assert set(sample.labels) <= {"port", "direction", "pid", "state", "policy", "version"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is missing")
def test_names__promtool_has_nothing_to_say(tmp_path: Path):
    with at_work(tmp_path / "segment"):
        page = scrape(tmp_path / "segment")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@contextmanager
def exporter(*arguments: str, **environ: str) -> Iterator[str]:
    """Its first line."""
    command = [sys.executable, "-m", "mfs_transport", "exporter", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MFS_")}
    with subprocess.Popen(
        command, env={**clean, **environ}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            yield process.stdout.readline()
        finally:
            process.kill()


def test_exporter__over_http(tmp_path: Path):
    path = tmp_path / "segment"
    with exporter("--port", "0", MFS_SEGMENT=str(path)) as line:
        url = line.split()[-1]
        assert url.startswith("http://127.0.0.1:")

        def state() -> str:
            with urllib.request.urlopen(url, timeout=30) as answer:
                found = samples(answer.read().decode())
            return next(one for one in STATES if found[f'mfs_segment_state{{state="{one}"}}'])

        assert state() == "none"  # it was there first
        with at_work(path):
            assert state() == "live"
        assert state() == "idle"


def test_exporter__address_that_is_taken(tmp_path: Path):
    with exporter("--port", "0", MFS_SEGMENT=str(tmp_path / "segment")) as line:
        port = line.split(":")[-1].split("/")[0]
        done = subprocess.run(
            [sys.executable, "-m", "mfs_transport", "exporter", "--port", port],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def panels() -> list[tuple[str, str]]:
    """Titles and queries of the dashboard."""
    dashboard = json.loads((DEPLOY / "grafana" / "mfs.json").read_text())
    return [
        (panel["title"], one["expr"]) for panel in dashboard["panels"] for one in panel["targets"]
    ]


def asked(url: str, query: str) -> list[Any]:
    """What Prometheus says to a query; it fails where that is none."""
    for name, value in (("rate_interval", "15s"), ("interval", "15s"), ("range", "15m")):
        query = query.replace(f"${{__{name}}}", value).replace(f"$__{name}", value)
    query = re.sub(r"\$\w+|\$\{\w+\}", ".*", query)
    text = urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(f"{url}/api/v1/query?{text}", timeout=30) as answer:
        return list(json.load(answer)["data"]["result"])


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus (Debian: prometheus) is missing"
)
def test_prometheus__scrapes_it_and_answers_every_panel(tmp_path: Path):
    """The real one, with the file that compose gives it, but for the port."""
    path, folder = tmp_path / "segment", tmp_path / "data"
    with at_work(path), exporter("--port", "0", MFS_SEGMENT=str(path)) as line:
        target = line.split()[-1].removeprefix("http://").split("/")[0]
        config = (DEPLOY / "prometheus.yml").read_text()
        assert "127.0.0.1:9654" in config
        config = config.replace("127.0.0.1:9654", target).replace("5s", "1s")
        (tmp_path / "prometheus.yml").write_text(config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{free.getsockname()[1]}"
        command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml"]
        command += [f"--storage.tsdb.path={folder}", f"--web.listen-address={listen}"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                until = time.monotonic() + 60

                def up() -> bool:
                    try:
                        found = asked(f"http://{listen}", 'up{job="mfs"}')
                    except OSError:
                        return False
                    return any(one["value"][1] == "1" for one in found)

                while not up():
                    assert process.poll() is None, "prometheus has ended"
                    assert time.monotonic() < until, "it was not scraped"
                    time.sleep(0.1)
                state = asked(f"http://{listen}", 'mfs_segment_state{state="live"}')
                assert state[0]["value"][1] == "1"
                assert asked(f"http://{listen}", "mfs_calls_total")
                for _, query in panels():
                    asked(f"http://{listen}", query)  # each is one that it understands
            finally:
                process.kill()


def test_dashboard__asks_for_metrics_that_are_there(tmp_path: Path):
    with at_work(tmp_path / "segment"):
        there = {name.split("{")[0] for name in samples(scrape(tmp_path / "segment"))}
    queries = panels()
    assert len(queries) > 10
    for title, query in queries:
        asked = set(re.findall(r"\bmfs_\w+", query))
        assert asked, title
        assert asked <= there, title


def test_page__says_what_each_metric_means(tmp_path: Path):
    with at_work(tmp_path / "segment"):
        there = {name.split("{")[0] for name in samples(scrape(tmp_path / "segment"))}
    page = (ROOT / "docs" / "observability.md").read_text()
    told = set(re.findall(r"`(mfs_\w+[a-z])`", page))
    assert {name for name in there if not name.startswith("mfs_process_")} <= told
    assert told <= there
