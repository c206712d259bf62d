# SPDX-License-Identifier: Apache-2.0
"""What a deferred operation owes its caller, on real UCX: one program judges UCX alone and
UCX with the shim in the way. See tests/ucx/conformance_*.c for the promises, case by case."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ucx import toolbox

CASES = [
    "data",
    "many",
    "detached",
    "datatypes",
    "fence_and_atomic",
    "tag_messages",
    "callbacks",
    "callback_posts",
    "request_calls",
    "canceled",
    "own_request",
    "request_area",
    "flush_forms",
    "blocking_forms",
    "implicit_forms",
    "reused_buffer",
    "old_forms",
    "close_flushes",
    "close_forced",
    "close_many",
    "peer_failure",
    "listener",
    "destroyed",
    "sleeps",
    "waits",
    "threads",
]

# What UCX itself cannot do over shared memory: detect a dead peer, listen, wake a worker whose
# peer is a thread, destroy a worker that has sends waiting.
NOT_OVER_SHM = {"peer_failure", "listener", "waits", "destroyed"}

DEFERRED = {"MFS_TEST_SMALL": "0", "MFS_WINDOW": "8k", "MFS_TEST_CHUNK": "4k"}
MODES = {
    "alone": {},
    "off": {"MFS_ENABLE": "1", "MFS_POLICY": "off"},
    "mfs": {"MFS_ENABLE": "1", "MFS_POLICY": "mfs"},
    # nearly everything waits, for the window or for the pacer; each post has another tag
    "deferred": {"MFS_ENABLE": "1", "MFS_POLICY": "mfs", "MFS_PACE": "400000000", **DEFERRED},
    "fifo": {"MFS_ENABLE": "1", "MFS_POLICY": "fifo", **DEFERRED},
}
TRANSPORTS = {
    "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"},
    "shm": {"UCX_TLS": "shm,self"},
}
# Other releases, and what they do not keep even alone: 1.14 calls back from inside a post,
# and mixes up scattered puts.
RELEASES = {"1.14.1.post2": {"callbacks", "datatypes"}, "1.17.0": set[str](), "1.22.0": set[str]()}


def libucp() -> Path:
    place = toolbox.wheel("lib")
    if not place:
        pytest.skip("no libucx wheel")
    return place / "libucp.so.0"


def judge(program: Path, case: str, mode: str, transport: str) -> None:
    if transport == "shm" and case in NOT_OVER_SHM:
        pytest.skip("UCX itself does not do this over shared memory")
    stats = toolbox.folder() / f"stats-{mode}-{transport}-{case}"
    env = toolbox.environment(
        UCX_WARN_UNUSED_ENV_VARS="n",
        UCX_LOG_LEVEL="error",
        MFS_STATS=str(stats),
        **MODES[mode],
        **TRANSPORTS[transport],
    )
    toolbox.run([program, case], env)
    if mode == "alone":
        assert not stats.exists(), "the shim did something though it is not enabled"
    else:
        assert '"faults": 0' in stats.read_text(), stats.read_text()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["alone", "off", "mfs", "deferred"])
def test_tcp(mode: str, case: str) -> None:
    judge(toolbox.program("conformance", libucp()), case, mode, "tcp")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["fifo"])
def test_shm(mode: str, case: str) -> None:
    judge(toolbox.program("conformance", libucp()), case, mode, "shm")


def test_cases_are_all_run() -> None:
    assert (
        toolbox.run([toolbox.program("conformance", libucp())], dict(os.environ)).split() == CASES
    )


def release(version: str) -> Path:
    """libucp of another release, from a folder beside pip's cache; skips without a network."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mfs-transport"
    place = cache / f"libucx-{version}"
    if not place.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--target", str(place), f"libucx-cu12=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"libucx {version} cannot be downloaded here")
    return place / "libucx" / "lib" / "libucp.so.0"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["off", "deferred"])
@pytest.mark.parametrize("version", RELEASES)
def test_release(version: str, mode: str) -> None:
    """Built against one UCX, run with an older and a newer one."""
    libucp_of = release(version)
    program = toolbox.program("conformance", libucp_of)
    for case in CASES:
        if case not in RELEASES[version]:
            judge(program, case, mode, "tcp")


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitized(sanitizer: str) -> None:
    program = toolbox.program("conformance", libucp(), sanitizer)
    cases = ["threads"] if sanitizer == "thread" else ["many", "detached", "callbacks", "canceled"]
    cases += ["close_forced", "threads", "destroyed", "peer_failure", "request_area"]
    for case in cases:
        env = toolbox.environment(preload=False, **MODES["deferred"], **TRANSPORTS["tcp"])
        env |= {"UCX_LOG_LEVEL": "error", "UCX_HANDLE_ERRORS": "none"}
        toolbox.run([program, case], env | toolbox.SANITIZER_OPTIONS)
