# SPDX-License-Identifier: Apache-2.0
"""MFS_CLASSES as `mfs info` and `mfs run` have it. The rule itself is tested in C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mfs_transport import classes
from mfs_transport.native import InputError


def mfs(cwd: Path, *arguments: str, **environ: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_"))}
    clean |= {"MFS_SEGMENT": str(cwd / "segment"), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-m", "mfs_transport", *arguments],
        cwd=cwd,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def info(cwd: Path, **environ: str) -> Any:
    return json.loads(mfs(cwd, "info", "--json", **environ))["classes"]


def test_table__each_row_is_of_the_levels_that_have_it():
    assert classes.table("46,26,0") == [
        classes.Class(0, 0, 46),
        classes.Class(1, 1, 26),
        classes.Class(2, None, 0),
    ]
    assert classes.table("26") == [classes.Class(0, None, 26)]
    assert classes.table("") == []


@pytest.mark.parametrize("text", ["64", "ef", "1,2,3,4,5,6,7,8,9", "46,"])
def test_table__what_is_no_list(text: str):
    with pytest.raises(InputError, match="MFS_CLASSES"):
        classes.table(text)


def test_environment__ucx_has_one_class_for_all_that_a_process_sends():
    assert classes.environment("26", {}) == {"UCX_IB_TRAFFIC_CLASS": "104"}
    assert classes.environment("26", {"UCX_IB_TRAFFIC_CLASS": "32"}) == {}
    assert classes.environment("46,0", {}) == {}
    assert classes.environment("", {}) == {}


def test_answers__one_of_the_classes():
    assert classes.answers("26", "46,26,0") == 26
    assert classes.answers("", "46,26,0") is None
    for text, values in (("27", "46,26,0"), ("46,26", "46,26,0"), ("26", "")):
        with pytest.raises(InputError, match="MFS_CLASSES_ANSWERS"):
            classes.answers(text, values)


def test_run__hands_it_to_ucx(tmp_path: Path):
    shown = mfs(tmp_path, "run", "--set", "MFS_CLASSES=26", "--print-env")
    assert "export UCX_IB_TRAFFIC_CLASS=104" in shown
    assert "export MFS_CLASSES=26" in shown
    assert "UCX_IB" not in mfs(tmp_path, "run", "--print-env")


def test_info__says_what_has_which_class(tmp_path: Path):
    rows = info(tmp_path, MFS_CLASSES="46,0")
    assert [(row["first_level"], row["dscp"], row["traffic_class"]) for row in rows] == [
        (0, 46, 184),
        (1, 0, 0),
    ]
    shown = mfs(tmp_path, "info", MFS_CLASSES="46,0")
    assert "Traffic classes" in shown
    assert "level 1 and all behind it" in shown
    assert "DSCP 0: puts over TCP, and what others read" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "DSCP 26: over TCP" in mfs(tmp_path, "info", MFS_CLASSES="26")


def test_info__the_class_that_was_chosen_for_what_others_read(tmp_path: Path):
    rows = info(tmp_path, MFS_CLASSES="46,26,0", MFS_CLASSES_ANSWERS="26")
    assert [row["answers"] for row in rows] == [False, True, False]


@pytest.mark.parametrize("text", ["", "46,64"])
def test_info__without(text: str, tmp_path: Path):
    assert info(tmp_path, MFS_CLASSES=text) == []
    assert "Traffic classes" not in mfs(tmp_path, "info", MFS_CLASSES=text)
