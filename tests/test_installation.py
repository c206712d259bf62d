# SPDX-License-Identifier: Apache-2.0
"""What is installed is told without loading it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mfs_transport import installation


def test_packages__those_that_are_there():
    found = installation.packages(("numpy", "no-such-package"))
    assert list(found) == ["numpy"]


def test_ucx_version__a_library_that_does_not_load_has_none(tmp_path: Path):
    (tmp_path / "libucp.so.0").write_text("no library")
    assert installation.ucx_version(str(tmp_path / "libucp.so.0")) == ""


def test_versions__loads_no_ucx():
    pytest.importorskip("libucx")
    program = (
        "from mfs_transport import installation; ucx = installation.versions()['ucx']; "
        "print(len(ucx), 'libucp' in open('/proc/self/maps').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    copies, loaded = done.stdout.split()
    assert int(copies) >= 1
    assert loaded == "False"


def test_libraries__are_there():
    for path in installation.libraries():
        assert path.is_file()
