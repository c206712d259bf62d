# SPDX-License-Identifier: Apache-2.0
"""Programs of others, under `mfs run` and without: they end with the same results.

UCX's own ucx_perftest and io_demo come with the libucx wheel, ucxx from its own. Both sides
of a program run with the shim; its counters say whether it was in the way.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ucx import toolbox

TRANSPORTS = {
    "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
    "shm": {"UCX_TLS": "shm,self"},
}
# default: as a user gets it; deferred: everything is queued and cut into chunks
SETTINGS = {
    "default": {},
    "deferred": {
        "MFS_TEST_SMALL": "0",
        "MFS_WINDOW": "64k",
        "MFS_TEST_CHUNK": "16k",
    },
}
NUMBER = 20  # operations of a test
PUTS_AND_GETS = ["ucp_put_lat", "ucp_put_bw", "ucp_get"]
SENDS = ["tag_lat", "tag_bw", "tag_sync_lat", "tag_sync_bw"]
SENDS += ["stream_lat", "stream_bw", "ucp_am_lat", "ucp_am_bw"]
ATOMICS = ["ucp_add", "ucp_fadd", "ucp_swap", "ucp_cswap"]
SIZES = {"small": 8, "large": 1 << 20}

# name -> options: every test small and large, the atomic ones as they are
TESTS = {
    f"{test}-{size}": f"-t {test} -s {SIZES[size]} -n {NUMBER} -w 2"
    for test in PUTS_AND_GETS + SENDS
    for size in SIZES
} | {test: f"-t {test} -s 8 -n {NUMBER} -w 2" for test in ATOMICS}

# what else a test can be told
OPTIONS = {
    "many puts": "-t ucp_put_bw -s 65536 -n 2000 -w 10",
    "many gets": "-t ucp_get -s 65536 -n 2000 -w 10 -O 32",
    "scattered tag": "-t tag_bw -D iov -s 16,8192,65536 -n 30 -w 2",
    "scattered am": "-t ucp_am_bw -D iov -s 16,8192,65536 -n 30 -w 2",
    "own memory handle, put": "-t ucp_put_bw -z -s 262144 -n 30 -w 2",
    "own memory handle, get": "-t ucp_get -z -s 262144 -n 30 -w 2",
    "any tag": "-t tag_lat -C -s 65536 -n 30 -w 2",
    "unexpected tag": "-t tag_lat -U -s 65536 -n 30 -w 2",
    "stream data": "-t stream_bw -r recv_data -s 65536 -n 30 -w 2",
    "am header": "-t ucp_am_lat -H 32 -s 65536 -n 30 -w 2",
    "two threads, put": "-t ucp_put_bw -T 2 -M multi -s 65536 -n 200 -w 2",
    "two threads, get": "-t ucp_get -T 2 -M multi -s 65536 -n 200 -w 2",
    "serialized": "-t ucp_put_bw -M serialized -s 65536 -n 200 -w 2",
    "sleeps, put": "-t ucp_put_bw -I -E sleep -s 262144 -n 30 -w 2",
    # not a get: alone as well, ucx_perftest sleeps over it for ever
    "sleeps, tag": "-t tag_lat -I -E sleep -s 262144 -n 30 -w 2",
    "handles errors": "-t ucp_put_bw -e -s 262144 -n 30 -w 2",
}
ALL = TESTS | OPTIONS
QUICK = [f"{test}-{size}" for test in PUTS_AND_GETS for size in SIZES]
QUICK += ["tag_bw-large", "tag_sync_lat-small", "stream_bw-large", "ucp_am_bw-large"]
# UCX itself, alone: it refuses error handling there, and a put does not wake a sleeper
NOT_OVER_SHM = {"handles errors", "sleeps, put", "sleeps, tag"}


def program(name: str) -> Path:
    place = toolbox.wheel("bin")
    if not place or not (place / name).is_file():
        pytest.skip(f"no {name}: no libucx wheel")
    return place / name


def release() -> tuple[int, ...]:
    """Of the libucx wheel, whose programs these are."""
    libucx = pytest.importorskip("libucx")
    return tuple(int(part) for part in libucx.__version__.split(".")[:2])


def environment(transport: str, stats: Path | None, settings: dict[str, str]) -> dict[str, str]:
    """As `mfs run` makes it; stats None: without. The programs find the wheel's libraries."""
    env = toolbox.environment(
        preload=False,
        UCX_LOG_LEVEL="error",
        UCX_WARN_UNUSED_ENV_VARS="n",
        LD_LIBRARY_PATH=str(toolbox.wheel("lib")),
        **TRANSPORTS[transport],
    )
    return env | (settings | {"MFS_STATS": str(stats)} if stats else {})


def command(arguments: list[str], env: dict[str, str]) -> list[str]:
    if "MFS_STATS" not in env:
        return arguments
    return [sys.executable, "-m", "mfs_transport", "run", "--", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Is there a listening socket? Without connecting: these servers take one client."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                    return True
    return False


@contextlib.contextmanager
def server(arguments: list[str], port: int, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(arguments, env),
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        for _ in range(2000):
            if listens(port):
                break
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        else:
            pytest.fail(f"{arguments[0]} never listened")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def counters(stats: Path) -> list[dict[str, int]]:
    """Of each process, by pid: its last line."""
    last: dict[int, dict[str, int]] = {}
    for line in stats.read_text().splitlines():
        row = json.loads(line)
        last[row["pid"]] = row
    return list(last.values())


def perftest(
    tests: dict[str, str], transport: str, stats: Path | None, settings: dict[str, str]
) -> dict[str, str]:
    """Client and server run these, one after the other: name -> iterations done."""
    tool = str(program("ucx_perftest"))
    env = environment(transport, stats, settings)
    batch = toolbox.folder() / "batch"
    names = {name.replace(" ", "_").replace(",", ""): name for name in tests}
    batch.write_text("".join(f"{plain} {tests[name]}\n" for plain, name in names.items()))
    port = free_port()
    with server([tool, "-p", str(port), "-b", str(batch)], port, env) as listener:
        said = toolbox.run(
            command([tool, "127.0.0.1", "-p", str(port), "-b", str(batch), "-f", "-v"], env), env
        )
        told = listener.communicate(timeout=30)[0]
        assert listener.returncode == 0, told
    rows = [line.split(",") for line in said.splitlines()]
    return {names[row[0]]: row[1] for row in rows if row[0] in names}


@functools.cache
def perftest_alone(names: tuple[str, ...], transport: str) -> dict[str, str]:
    return perftest({name: ALL[name] for name in names}, transport, None, {})


def check_perftest(
    names: list[str], transport: str, settings: str, stats: Path
) -> list[dict[str, int]]:
    """The same tests done as without; what was counted, client first."""
    alone = perftest_alone(tuple(names), transport)
    assert set(alone) == set(names), "this UCX has not all of these tests"
    assert not stats.exists()
    tests = {name: ALL[name] for name in names}
    assert perftest(tests, transport, stats, SETTINGS[settings]) == alone
    found = sorted(counters(stats), key=lambda row: -row["calls"])
    assert len(found) == 2, found  # client and server
    for row in found:
        assert row["faults"] == 0, row
        assert row["calls"] == row["deferred"] + row["straight"], row
    return found


def check_counters(client: dict[str, int], settings: str) -> None:
    """After puts and gets, small and large, and sends. Of a latency test of puts each side
    does half."""
    of_each_size = NUMBER // 2 + 2 * NUMBER
    if settings == "deferred":
        assert client["straight"] == 0, client
        assert client["deferred"] >= 2 * of_each_size, client
        # a MiB is 64 chunks, unless a fence lets all that waits go at once
        assert client["chunks"] >= 10 * client["deferred"], client
    else:
        assert client["straight"] >= of_each_size, client
        assert client["deferred"] >= of_each_size, client
    assert client["passed"] >= NUMBER * 2, client
    assert client["passed_bytes"] >= NUMBER * 2 << 20, client


@pytest.mark.parametrize(("transport", "settings"), [("tcp", "deferred"), ("shm", "default")])
def test_perftest(transport: str, settings: str, tmp_path: Path) -> None:
    """Puts and gets, small and large, and one send of each kind."""
    found = check_perftest(QUICK, transport, settings, tmp_path / "stats")
    check_counters(found[0], settings)


@pytest.mark.long
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_perftest_all(transport: str, settings: str, tmp_path: Path) -> None:
    """Every UCP test that ucx_perftest has, small and large."""
    found = check_perftest(list(TESTS), transport, settings, tmp_path / "stats")
    check_counters(found[0], settings)


@pytest.mark.long
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", OPTIONS)
def test_perftest_options(name: str, transport: str, settings: str, tmp_path: Path) -> None:
    if transport == "shm" and name in NOT_OVER_SHM:
        pytest.skip("UCX itself does not do this over shared memory")
    if name == "two threads, get" and settings == "deferred" and release() < (1, 22):
        pytest.skip("ucx_perftest up to 1.21 may wait for ever (openucx/ucx 11418)")
    check_perftest([name], transport, settings, tmp_path / "stats")


def io_demo(api: list[str], stats: Path | None, settings: dict[str, str]) -> str:
    """Random reads and writes with the data check on; what the client says at its end."""
    tool = str(program("io_demo"))
    env = environment("tcp", stats, settings)
    port = free_port()
    options = ["-q", "-p", str(port), "-d", "1024:262144", *api]
    with server([tool, *options], port, env) as listener:
        client = [tool, *options, "-i", "20", "-o", "read,write", "127.0.0.1"]
        said = toolbox.run(command(client, env), env)
        listener.send_signal(signal.SIGINT)
        told = listener.communicate(timeout=30)[0]
        assert listener.returncode == 0, told
    return next(line.split("] ")[-1] for line in said.splitlines() if "Client exit" in line)


@pytest.mark.parametrize(
    "api", [pytest.param([], id="tag", marks=pytest.mark.long), pytest.param(["-A"], id="am")]
)
def test_io_demo(api: list[str], tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    said = io_demo(api, stats, SETTINGS["deferred"])
    assert said == "Client exit with status 'OK'"
    found = counters(stats)
    assert len(found) == 2, found
    for row in found:
        assert row["faults"] == 0, row
        assert row["passed"] >= 20, row


def ucxx() -> Path:
    """Folder of ucxx and what it imports, beside pip's cache; skips without a network."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mfs-transport"
    place = cache / "ucxx-0.52"
    if not place.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--target", str(place), "ucxx-cu12==0.52.*", "libucxx-cu12==0.52.*"]
        command += ["rmm-cu12==26.10.*", "librmm-cu12==26.10.*", "rapids-logger"]
        command += ["nvidia-ml-py", "cuda-core", "cuda-bindings", "cuda-pathfinder"]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("ucxx cannot be downloaded here")
    return place


@pytest.mark.long
def test_ucxx(tmp_path: Path) -> None:
    """Messages of several sizes, there and back, compared."""
    pytest.importorskip("libucx")
    path = {"PYTHONPATH": str(ucxx())}
    echo = [sys.executable, str(toolbox.HERE / "ucxx_echo.py")]
    alone = environment("tcp", None, {}) | path
    del alone["LD_LIBRARY_PATH"]
    done = subprocess.run(
        [sys.executable, "-c", "import ucxx"],
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"ucxx cannot be imported here: {done.stderr.splitlines()[-1]}")
    stats = tmp_path / "stats"
    under = environment("tcp", stats, SETTINGS["deferred"]) | path
    del under["LD_LIBRARY_PATH"]
    results = [toolbox.run(command(echo, env), env) for env in (alone, under)]
    assert results == ["4 of 4\n", "4 of 4\n"]
    (row,) = counters(stats)
    assert row["faults"] == 0, row
    assert row["passed"] >= 8, row  # four messages there and back
    assert row["passed_bytes"] > 2 * (4 << 20), row


GPU_CHECK = [sys.executable, str(toolbox.ROOT / "scripts" / "gpu-check")]


def test_gpu_check_refuses() -> None:
    """Without a GPU: one line, and the status of a skipped test."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    done = subprocess.run(GPU_CHECK, capture_output=True, text=True, check=False)
    assert done.returncode == 77, done.stderr
    assert done.stderr.startswith("gpu-check: no NVIDIA "), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.long
@pytest.mark.nixl
def test_gpu_check_in_host_memory(tmp_path: Path) -> None:
    """Its own working, without a GPU."""
    pytest.importorskip("nixl")
    report = tmp_path / "report.json"
    options = ["--memory", "host", "--size", "256k", "--count", "8", "--pairs", "1"]
    env = toolbox.environment(preload=False, **TRANSPORTS["tcp"])
    toolbox.run([*GPU_CHECK, *options, "--rounds", "1", "--json", report], env)
    found = json.loads(report.read_text())
    assert found["hashes_right"] == 8  # put and get, twice, off and on
    assert found["counters"]["bytes"] >= 4 * 8 * 256 << 10
    assert [row["operation"] for row in found["results"]] == ["put", "get"]
