# SPDX-License-Identifier: Apache-2.0
"""For all tests: an environment without settings of the developer's shell, and a segment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import mfs_transport as mfs
from mfs_transport.native import config_rows

pytest.register_assert_rewrite("small_connector")  # which has fixtures, and is imported before


def pytest_configure() -> None:
    for row in config_rows():
        os.environ.pop(row.name, None)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[mfs.Host]:
    """A segment of the test's own."""
    with mfs.Host(str(tmp_path / "segment")) as opened:
        yield opened
