# SPDX-License-Identifier: Apache-2.0
"""Bad input of the command line: one line that names it, exit status 2, and nothing half done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mfs_transport.__main__ import main

Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Runs `mfs` in an empty folder; the line with which it refuses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments: str) -> str:
        status = main(list(arguments))
        out, err = capsys.readouterr()
        assert (status, out) == (2, ""), err
        assert err.startswith("mfs: ")
        assert err.count("\n") == 1
        assert len(err) < 600
        return err

    return run


# --- files that cannot be written ---


@pytest.mark.parametrize(
    "arguments",
    [
        ("sim", "run", "--json", "/proc/none/r.json"),
        ("sim", "run", "--plot", "/proc/none/r.png"),
        ("sim", "run", "--plot", "picture.docx"),
        ("sim", "compare", "--plot", "/proc/none/r.png"),
        ("sim", "sweep", "none.toml", "--json", "/proc/none/r.json"),
        ("sim", "sweep", "none.toml", "--plot", "/proc/none/r.png"),
        ("demo", "--json", "/proc/none/r.json"),
        ("demo", "--plot", "/proc/none/r.png"),
        ("trace", "--json", "/proc/none/r.json"),
    ],
)
def test_files__what_cannot_be_written_is_said_before_the_run(
    refused: Refused, arguments: tuple[str, ...]
):
    said = refused(*arguments)
    assert arguments[-2] in said
    assert arguments[-1] in said


def test_files__without_matplotlib_no_picture_is_begun(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = refused("sim", "run", "--plot", "r.png")
    assert "matplotlib" in said
    assert "pip install mfs-transport[bench]" in said
