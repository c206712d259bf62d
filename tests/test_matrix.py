# SPDX-License-Identifier: Apache-2.0
"""scripts/matrix: its rows, and that the docs have each. The rows themselves take minutes."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def matrix(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "matrix_rows.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_rows__stand_in_the_docs_with_a_date():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    cells = r"^\| (\w+) \| ([\d.]+) \| [^|]+ \| (?:passed|not here) \| [^|]* \| \d{4}-\d\d-\d\d \|$"
    documented = {f"{of}-{version}" for of, version in re.findall(cells, page, re.M)}
    assert set(matrix("--list").stdout.split()) == documented


def test_row_that_is_not_there__is_named():
    done = matrix("nccl", "mpi")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("mpi: no such row; --list shows them")


def test_tests_of_the_rows__are_all_there():
    spec = importlib.util.spec_from_file_location("rows", ROOT / "scripts" / "matrix_rows.py")
    assert spec
    assert spec.loader
    rows = importlib.util.module_from_spec(spec)
    sys.modules["rows"] = rows  # its dataclass looks itself up
    try:
        spec.loader.exec_module(rows)
    finally:
        del sys.modules["rows"]
    names = (*rows.PACKAGE_TESTS, *rows.UCX_TESTS, *rows.NIXL_TESTS)
    assert [name for name in names if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.long
def test_nccl__results_are_a_table_and_json(tmp_path: Path):
    done = matrix("nccl", "--json", str(tmp_path / "results.json"))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [one["of"] for one in results] == ["nccl", "nccl"]
    assert {one["result"] for one in results} <= {"passed", "not here"}
