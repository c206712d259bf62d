# SPDX-License-Identifier: Apache-2.0
"""Faults by table (tests/faults): the n-th call of the system, of UCX, or for memory fails.

n is 1, 2, ... until a scenario ends without; under ASan, which also looks for what is left behind.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from nccl import toolbox
from ucx import toolbox as ucx

HERE = Path(__file__).parent / "faults"
CSRC = HERE.parent.parent / "csrc"
SANITIZER = "address,undefined"


def wrapped() -> list[str]:
    """Every call that faults.c stands in front of."""
    source = (HERE / "faults.c").read_text()
    names = re.findall(r"^WRAP\(\w+, [^,]+, (\w+),", source, re.M)
    names += re.findall(r"^int __wrap_(\w+)\(.*\)$", source, re.M)
    return [f"-Wl,--wrap={name}" for name in names]


def program(name: str, *floors: str) -> Path:
    sources = [path for floor in floors for path in sorted((CSRC / floor).glob("*.c"))]
    flags = [f"-fsanitize={SANITIZER}", "-fno-sanitize-recover=all", "-O1", '-DMFS_VERSION="test"']
    own = [HERE / f"{name}.c", HERE / "faults.c"]
    output = ucx.folder() / f"faults-{name}"
    return ucx.compile_(output, *flags, *wrapped(), "-rdynamic", *own, *sources, "-lm", "-ldl")


def run(name: str, *floors: str, arguments: tuple[str, ...] = ()) -> str:
    options = {**ucx.SANITIZER_OPTIONS, "ASAN_OPTIONS": "detect_leaks=1"}
    env = ucx.environment(preload=False, **options, FAULTS=os.environ.get("FAULTS", ""))
    return ucx.run([program(name, *floors), *arguments], env, 600)


def met(said: str, scenario: str) -> dict[str, int]:
    """How many calls of each kind failed, one after the other."""
    found = re.findall(rf"^{scenario} +(\w+) +(\d+) calls failed$", said, re.M)
    return {kind: int(count) for kind, count in found}


ALL_BEHIND = pytest.mark.parametrize("more", [(), pytest.param(("all",), marks=pytest.mark.long)])
NCCL = ("core", "host", "nccl")
needs_headers = pytest.mark.skipif(ucx.wheel("include") is None, reason="no headers of UCX")


@needs_headers
@ALL_BEHIND
def test_nccl_plugin(more: tuple[str, ...]) -> None:
    loop = str(toolbox.loop_ucp(SANITIZER))
    failed = met(run("nccl", *NCCL, arguments=("ours", loop, *more)), "later")
    assert failed["memory"] > 20
    assert failed["socket"] > 20
    assert failed["ucx"] > 40


@needs_headers
@ALL_BEHIND
def test_nccl_gate(more: tuple[str, ...]) -> None:
    inner = str(toolbox.inner_plugin())
    failed = met(run("nccl", *NCCL, arguments=("gate", inner, *more)), "first")
    assert failed["memory"] > 5
    assert failed["file"] > 5


@ALL_BEHIND
def test_control_plane(more: tuple[str, ...], tmp_path: Path) -> None:
    said = run("control", "core", "host", arguments=(str(tmp_path), *more))
    for scenario in ("first", "later"):
        failed = met(said, scenario)
        assert failed["memory"] > 5
        assert failed["file"] > 10
        assert failed["map"] > 1
