# SPDX-License-Identifier: Apache-2.0
"""The shim in front of a UCX that only writes down what it is told: exact orders."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from ucx import toolbox

POLICY = {"order_off": "off", "order_fifo": "fifo"}
SETTINGS = {
    "arm_is_busy_when_paced": {"MFS_PACE": "1000"},
    "order_untagged_share": {"MFS_UNTAGGED_SHARE": "500"},
    "port_is_said": {"UCX_NET_DEVICES": "eth7"},
    "port_of_rails": {"UCX_MAX_RMA_RAILS": "2"},
    "port_of_all_rails": {"UCX_MAX_RMA_RAILS": "inf"},
    "port_of_survivor": {"UCX_MAX_RMA_RAILS": "2"},
    "port_of_no_survivor": {"UCX_MAX_RMA_RAILS": "2"},
}
CASES = [
    "order_off",
    "order_fifo",
    "order_deadline",
    "order_switched_off",
    "order_untagged_share",
    "order_lanes",
    "order_untagged_lanes",
    "pass_through",
    "sends_pass",
    "counts_are_seen",
    "counts_at_exit",
    "gpu_is_said",
    "flush_waits",
    "flush_of_tag",
    "tags_allocate_nothing",
    "flush_of_worker",
    "flush_blocking",
    "fence_keeps_order",
    "fence_waits_for_post",
    "fence_gives_up",
    "callback_once",
    "completes_at_once",
    "completes_early",
    "callback_posts",
    "release_waits_for_callback",
    "cancel_queued",
    "arm_is_busy",
    "arm_is_busy_when_paced",
    "error_is_told",
    "error_of_detached",
    "peer_failure",
    "express_given_back",
    "express_early",
    "express_many",
    "express_fails",
    "express_forms",
    "express_leaves_room",
    "express_asks",
    "close_drains",
    "close_forced",
    "close_old_forms",
    "close_reuses_address",
    "close_while_posting",
    "destroy_leaves_nothing",
    "implicit_forms",
    "implicit_many",
    "old_forms",
    "request_area",
    "requests_are_reused",
    "many_flows",
    "fork_passes",
    "abort_takes_back",
    "cancel_keeps_order",
    "cancel_of_the_rest",
    "abort_is_of_one_transfer",
    "abort_without_tag",
    "abort_too_late",
    "abort_waits_for_post",
    "faults_of_ucx",
    "faults_of_memory",
    "faults_of_set_up",
    "port_by_rdma",
    "port_of_rails",
    "port_of_one_rail",
    "port_of_all_rails",
    "port_of_survivor",
    "port_of_no_survivor",
    "port_not_of_loopback",
    "port_of_each_endpoint",
    "port_when_connected",
    "port_of_memory",
    "port_of_old_ucx",
    "port_is_said",
]
THREADED = {
    "fence_waits_for_post",
    "fence_gives_up",
    "close_while_posting",
    "abort_waits_for_post",
}


def environment(case: str, policy: str, *, preload: bool = True) -> dict[str, str]:
    """A window of two chunks of 128 bytes, nothing small, no share for untagged traffic; and
    however long the machine lets us wait, nobody is late."""
    return toolbox.environment(
        preload=preload,
        **{
            "MFS_ENABLE": "1",
            "MFS_POLICY": policy,
            "MFS_TEST_SMALL": "0",
            "MFS_WINDOW": "256",
            "MFS_TEST_CHUNK": "128",
            "MFS_UNTAGGED_SHARE": "0",
            "MFS_PORT_RATE": "1gbit",
            "MFS_LEASE": "100s",
            "MFS_TEST_WINDOW_TIME": "100s",
            **SETTINGS.get(case, {}),
        },
    )


@pytest.mark.parametrize("case", CASES)
def test_order(case: str) -> None:
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    env = environment(case, POLICY.get(case, "mfs"))
    toolbox.run([program, case], env)
    if case not in THREADED:
        toolbox.run([program, case, "single"], env)


@pytest.mark.parametrize("mode", [[], ["single"]])
def test_counts_at_exit(mode: list[str], tmp_path: Path) -> None:
    """Of a worker that was not given back: in the file all the same."""
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    path = tmp_path / "stats"
    env = environment("counts_at_exit", "mfs") | {"MFS_STATS": str(path)}
    toolbox.run([program, "counts_at_exit", *mode], env)
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["calls"] == 1


def test_gpu_is_said_once() -> None:
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    for enabled, lines in (("1", 1), ("0", 0)):
        env = environment("gpu_is_said", "mfs") | {"MFS_ENABLE": enabled}
        done = subprocess.run(
            [program, "gpu_is_said"], env=env, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == (enabled == "1"), done.stderr
        assert done.stderr.count("cannot be scheduled") == lines, done.stderr


@pytest.mark.parametrize("policy", ["edf", "mfs_paper"])
def test_order_of_deadlines(policy: str) -> None:
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    toolbox.run([program, "order_deadline"], environment("order_deadline", policy))


def test_order_when_not_enabled() -> None:
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    env = environment("order_off", "mfs")
    del env["MFS_ENABLE"]
    toolbox.run([program, "order_off"], env)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_order_sanitized(sanitizer: str) -> None:
    """Every case under ASan and UBSan, and under TSan, with the shim linked in front."""
    program = toolbox.program("order", toolbox.fake_ucp(), sanitizer)
    for case in CASES:
        if sanitizer == "thread" and case == "fork_passes":
            continue
        env = environment(case, POLICY.get(case, "mfs"), preload=False)
        toolbox.run([program, case], env | toolbox.SANITIZER_OPTIONS)


def test_cases_are_all_run() -> None:
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    assert toolbox.run([program], toolbox.environment()).split() == CASES


@pytest.mark.parametrize("nth", range(1, 9))
def test_set_up_without_memory(nth: int) -> None:
    """An allocation of ours that fails before UCX is first used: traffic passes all the same."""
    program = toolbox.program("order", toolbox.fake_ucp(), tags=True)
    env = environment("faults_of_set_up", "mfs") | {"ALLOCATIONS_FAIL": str(nth)}
    toolbox.run([program, "faults_of_set_up"], env)


def test_faults_reach_every_function() -> None:
    table = (toolbox.ROOT / "csrc" / "ucx" / "calls.def").read_text()
    names = re.findall(r"^MFS_UCX_CALL\([^,]*,\s*(ucp_\w+)", table, re.M)
    source = (toolbox.HERE / "order_faults.c").read_text()
    assert len(names) > 40
    assert [name for name in names if f"{name}(" not in source] == []
