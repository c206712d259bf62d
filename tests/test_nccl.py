# SPDX-License-Identifier: Apache-2.0
"""The NCCL net plug-in, driven as NCCL drives it (tests/nccl/harness.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from nccl import toolbox

pytestmark = pytest.mark.skipif(toolbox.libucp() is None, reason="no libucx")

RING_SENDS = 2 * 60  # of a rank with HARNESS_SLOW
SCENES = (
    *("ring", "lines", "semantics", "threads", "together"),
    *("close", "kill", "stop", "abandon", "finalize"),
)


def symbols(library: Path) -> set[str]:
    done = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    )
    return {line.split()[-1] for line in done.stdout.splitlines()}


def test_exports__the_tables_and_nothing_else():
    assert symbols(toolbox.PLUGIN) == {f"ncclNetPlugin_v{version}" for version in range(7, 13)}


@pytest.mark.parametrize("transport", ["tcp", "shm"])
@pytest.mark.parametrize("scene", SCENES)
def test_scene(scene: str, transport: str):
    puts = {"HARNESS_LL128": "none"} if transport == "shm" else {}  # the other process puts
    toolbox.run(scene, UCX_TLS=transport, MFS_NCCL_PEER_TIMEOUT="5s", **puts)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_abandoned__with_a_copy_between_processes_under_way(seed: int):
    """UCX would end the process if its worker went while one is pending."""
    toolbox.run("abandon", seed=seed, UCX_TLS="shm", MFS_NCCL_PEER_TIMEOUT="5s")


@pytest.mark.parametrize("version", range(7, 12))
def test_older_tables(version: int):
    toolbox.run("ring", version=version, HARNESS_SLOW="1", UCX_TLS="shm")
    toolbox.run("semantics", version=version, UCX_TLS="shm")


@pytest.mark.parametrize("version", [7, 10])
def test_older_tables__whole_context_is_shared(version: int):
    toolbox.run("finalize", version=version)


def test_loads_through_a_link_of_another_name(tmp_path: Path):
    link = tmp_path / "libnccl-net.so"
    link.symlink_to(toolbox.PLUGIN)
    said = toolbox.run("finalize", library=link, WORLD_LOG="1")
    assert "policy mfs" in said  # one line that tells what is at work


@pytest.mark.parametrize("scene", SCENES)
def test_delays_and_reordered_channels(scene: str):
    toolbox.run(
        scene,
        MFS_NCCL_UCX=str(toolbox.chaos()),
        CHAOS_UCP=str(toolbox.libucp()),
        MFS_NCCL_CHANNELS="3",
        HARNESS_SLOW="1",
    )


@pytest.mark.parametrize("scene", SCENES)
def test_puts_that_are_complete_before_they_land(scene: str):
    """Then only a flush tells; FIN, and memory that is given back, wait for it."""
    toolbox.run(
        scene,
        MFS_NCCL_UCX=str(toolbox.chaos()),
        CHAOS_UCP=str(toolbox.libucp()),
        CHAOS_EARLY="1",
        MFS_NCCL_CHANNELS="2",
        HARNESS_SLOW="1",
    )


def test_puts_that_ucx_emulates_are_flushed():
    said = toolbox.run("ring", UCX_PROTO_ENABLE="n", WORLD_LOG="1", HARNESS_SLOW="1")
    assert "puts are flushed" in said
    assert "puts are flushed" not in toolbox.run("ring", WORLD_LOG="1", HARNESS_SLOW="1")


@pytest.mark.parametrize("scene", ["ring", "lines"])
def test_small_chunks_and_window(scene: str):
    """Chunks of one line, more messages than the window has room for."""
    toolbox.run(
        scene,
        MFS_TEST_CHUNK="4k",
        MFS_WINDOW="16k",
        MFS_TEST_SMALL="0",
        MFS_NCCL_CHANNELS="2",
        MFS_NCCL_CLASSES="0:8,3:16",
        HARNESS_SLOW="1",
    )


def test_without_eager_messages():
    toolbox.run("ring", MFS_NCCL_EAGER="0", HARNESS_SLOW="1")
    toolbox.run("lines", MFS_NCCL_EAGER="0", HARNESS_SLOW="1")


@pytest.mark.parametrize("transport", ["tcp", "shm"])
@pytest.mark.parametrize(
    ("sanitizer", "eager"),
    [("", "64k"), ("", "1m"), pytest.param("thread", "1m", marks=pytest.mark.slow)],
)
def test_lines_of_128_bytes_beside_a_reader(sanitizer: str, eager: str, transport: str):
    """What is copied by us a thread of its own may read while it comes: all NCCL sends, with 1m."""
    by_us = {"MFS_NCCL_EAGER": eager, "HARNESS_LL128": {"64k": "65536", "1m": "1048576"}[eager]}
    toolbox.run("lines", sanitizer=sanitizer, UCX_TLS=transport, **by_us)


@pytest.mark.parametrize("scene", ["ring", "lines", "close"])
def test_eager_messages_longer_than_the_window(scene: str):
    toolbox.run(
        scene,
        MFS_NCCL_EAGER="1m",
        MFS_TEST_CHUNK="4k",
        MFS_WINDOW="16k",
        HARNESS_LL128="1048576",
        HARNESS_SLOW="1",
    )


def test_flush_reads_back():
    toolbox.run("ring", MFS_TEST_NCCL_FLUSH="1", HARNESS_SLOW="1")


def test_under_the_ucx_shim__chunks_are_not_queued_twice(tmp_path: Path):
    stats = tmp_path / "stats"
    shim = str(toolbox.PACKAGE / "libmfs_ucx.so")
    toolbox.run("ring", LD_PRELOAD=shim, MFS_ENABLE="1", MFS_STATS=str(stats), HARNESS_SLOW="1")
    counted = toolbox.totals(stats)
    assert [row["calls"] for row in counted] == [RING_SENDS] * 3
    assert {row["passed"] for row in counted} == {0}  # the shim has seen no active message


@pytest.mark.parametrize("ending", ["finalize", "gate"])
def test_counters_are_written_at_the_end(ending: str, tmp_path: Path):
    stats = tmp_path / "stats"
    gate = {"MFS_NCCL_INNER": str(toolbox.inner_plugin())} if ending == "gate" else {}
    toolbox.run("ring", MFS_STATS=str(stats), HARNESS_SLOW="1", **gate)
    assert [row["calls"] for row in toolbox.totals(stats)] == [RING_SENDS] * 3


def test_not_enabled__nothing_is_scheduled():
    said = toolbox.run("finalize", MFS_ENABLE="0", WORLD_LOG="1")
    assert "policy off" in said


def test_kill__while_it_only_waits():
    said = toolbox.run("kill", seed=2, MFS_NCCL_PEER_TIMEOUT="5s")
    assert " pid " in said  # the peer is named


def test_no_ucx__is_said_and_refused(tmp_path: Path):
    with pytest.raises(AssertionError, match=r"MFS_NCCL_UCX=.*cannot be loaded"):
        toolbox.run("finalize", MFS_NCCL_UCX=str(tmp_path / "none.so"))


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_address_sanitizer(scene: str):
    toolbox.run(scene, sanitizer="address,undefined")


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_thread_sanitizer(scene: str):
    toolbox.run(scene, sanitizer="thread")


# --- what comes over the wire (tests/nccl/wire.c) ---


@pytest.mark.parametrize("sanitizer", ["", "address,undefined"])
@pytest.mark.parametrize("part", ["forged", "strangers", "endings"])
def test_wire(part: str, sanitizer: str):
    toolbox.run_wire(part, sanitizer=sanitizer)


@pytest.mark.parametrize("minor", [12, 13])
def test_a_ucx_that_does_not_tell_its_transports__puts_are_flushed(minor: int):
    assert "flush" in toolbox.run_wire("ucx", minor)
    assert "flush" not in toolbox.run_wire("ucx", "15")


def test_a_ucx_that_is_too_old__is_refused_in_one_line():
    said = toolbox.run_wire("ucx", "11")
    assert "is too old: 1.12 or newer is needed" in said
    assert len(said.splitlines()) == 1


def verbs(folder: Path) -> None:
    (folder / "ucx").mkdir(exist_ok=True)
    (folder / "ucx" / "libuct_ib.so.0").touch()


def test_which_ucx__suits_the_host(tmp_path: Path):
    """A libucx package, and the system's UCX: on a host without and with RDMA devices."""
    package, system = tmp_path / "package", tmp_path / "system"
    for folder in (package, system):
        folder.mkdir()
        shutil.copy(toolbox.loop_ucp(), folder / "libucp.so.0")
    plugin = toolbox.plugin_on(tmp_path)

    def which() -> tuple[str, bool]:
        """Which of the two, and was there a word of TCP?"""
        env = toolbox.ucx.environment(preload=False, LD_LIBRARY_PATH=str(system))
        said = toolbox.ucx.run([toolbox.wire(), plugin, "-", "which"], env)
        opened = next(line for line in said.splitlines() if "wire version" in line)
        return ("package" if str(package) in opened else "system"), "all goes over TCP" in said

    assert which() == ("package", False)
    verbs(system)
    assert which() == ("package", False)
    (tmp_path / "sys" / "class" / "infiniband" / "mlx5_0").mkdir(parents=True)
    assert which() == ("system", False)
    shutil.rmtree(system / "ucx")
    assert which() == ("package", True)
    verbs(package)
    assert which() == ("package", False)


def test_wire__changed_at_random():
    """`FUZZ_SEEDS=FROM:COUNT` runs as many as one likes."""
    first, count = os.environ.get("FUZZ_SEEDS", "1:150").split(":")
    said = toolbox.run_wire(
        "fuzz", first, count, sanitizer="address,undefined", timeout=60 + int(count)
    )
    assert f"{count} seeds" in said
