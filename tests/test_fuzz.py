# SPDX-License-Identifier: Apache-2.0
"""The fuzzers of tests/fuzz, each on its corpus and for a moment; scripts/fuzz runs them for long.

A workflow does 30 s each; here it is about a broken target and inputs that have broken something.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import fuzz

MOMENT_S = 2


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_corpus_and_a_moment(name: str, tmp_path: Path) -> None:
    """Each input that is kept, and where libFuzzer is there new ones for a moment."""
    if name in fuzz.C_TARGETS and (why := fuzz.clang_missing()):
        pytest.skip(why)
    kept = len(list((fuzz.CORPUS / name).iterdir()))
    replayed = fuzz.replay(name)
    assert replayed.findings == 0, replayed.said
    assert replayed.executions >= kept > 0
    if not fuzz.missing(name):
        found = fuzz.run(name, MOMENT_S, tmp_path)
        assert found.findings == 0, found.said
        assert found.executions >= kept


def test_what_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that a target does not survive is counted, told, and kept."""
    monkeypatch.setattr(fuzz, "OUT", tmp_path)
    monkeypatch.setattr(
        fuzz, "command", lambda _: [sys.executable, "-c", "raise SystemExit('x y')"]
    )
    found = fuzz.run("files", 1, tmp_path)
    assert found.findings == 1
    assert "x y" in found.said
    assert "1 findings" in found.line()


def test_corpora_are_small() -> None:
    sizes = [path.stat().st_size for path in fuzz.CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < 150_000
    assert {path.name for path in fuzz.CORPUS.iterdir()} == set(fuzz.TARGETS)


def test_command_line__a_name_that_is_none() -> None:
    done = subprocess.run(
        [sys.executable, fuzz.__file__, "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "operations" in done.stderr


def test_clang_missing__is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "CLANG", ["no-such-clang"])
    assert (
        fuzz.clang_missing() == "no-such-clang is missing; install it with: apt-get install clang"
    )
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    monkeypatch.setattr(fuzz, "CLANG", ["gcc"])  # which has no libFuzzer
    assert "libFuzzer" in fuzz.clang_missing()
