# SPDX-License-Identifier: Apache-2.0
"""For all tests: an environment without settings of the developer's shell, and a segment."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mfs_transport as mfs
from mfs_transport.native import config_rows

pytest.register_assert_rewrite("small_connector")  # which has fixtures, and is imported before


def pytest_configure(config: pytest.Config) -> None:
    for row in config_rows():
        os.environ.pop(row.name, None)
    # Where a segment lies that no test has named, in this process and those that it starts: not
    # where the developer's own programs have theirs. A folder of a resource claim comes before it.
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(
        prefix="mfs-tests-", dir=memory if os.access(memory, os.W_OK) else None
    )
    os.environ["NVIDIA_DRA_LOCAL_IPC_DIR"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[mfs.Host]:
    """A segment of the test's own."""
    with mfs.Host(str(tmp_path / "segment")) as opened:
        yield opened
