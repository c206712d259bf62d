# SPDX-License-Identifier: Apache-2.0
"""The order across processes, explored by seeds: tests/explore."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def explore(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "explore"), *arguments],
        env={**os.environ, "JOBS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_explore() -> None:
    done = explore("1:10000")
    assert done.returncode == 0, done.stdout + done.stderr


def test_explore__asan() -> None:
    done = explore("1:500", "asan")
    assert done.returncode == 0, done.stdout + done.stderr


def test_explore__orders() -> None:
    done = explore("1:1", "orders")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "34650 orders\n"


def test_explore__bad_range() -> None:
    done = explore("1-3000")
    assert done.returncode == 2
    assert done.stderr == (
        "explore: '1-3000': FROM:COUNT, two numbers, then orders, asan or nothing\n"
    )
