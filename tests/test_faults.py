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


@pytest.mark.skipif(ucx.wheel("include") is None, reason="no headers of UCX")
@pytest.mark.parametrize("more", [(), pytest.param(("all",), marks=pytest.mark.long)])
def test_nccl_plugin(more: tuple[str, ...]) -> None:
    loop = str(toolbox.loop_ucp(SANITIZER))
    said = run("nccl", "core", "host", "nccl", arguments=(loop, *more))
    met = {
        kind: int(n) for kind, n in re.findall(r"^later +(\w+) +(\d+) calls failed$", said, re.M)
    }
    assert met["memory"] > 20
    assert met["socket"] > 20
    assert met["ucx"] > 40
