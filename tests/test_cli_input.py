# SPDX-License-Identifier: Apache-2.0
"""Bad input of the command line: one line that names it, exit status 2, and nothing half done."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mfs_transport import input_file
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
        ("testbed", "compare", "--json", "/proc/none/r.json"),
        ("testbed", "compare", "--plot", "/proc/none/r.png"),
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


# --- values ---

DEEP = "[" * 5000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--", ""), "no command given"),
        (("run", "--config", "/dev/zero", "--", "true"), "/dev/zero: longer than"),
        (("run", "--config", "deep.toml", "--", "true"), "deep.toml: not TOML that we take"),
        (("run", "--config", "a\0b", "--", "true"), "MFS_CONFIG"),
        (("run", "--set", "x" * 10_000, "--", "true"), "NAME=VALUE is expected"),
        (("run", "--set", "MFS_SLO=garbage", "--", "true"), "MFS_SLO=garbage"),
        (("run", "--set", "MFS_CLASSES=46,64", "--", "true"), "MFS_CLASSES=46,64"),
        (("run", "--set", "MFS_CLASSES_ANSWERS=26", "--", "true"), "one of MFS_CLASSES"),
        (("run", "--set", "MFS_NCCL_CLASSES=garbage", "--", "true"), "MFS_NCCL_CLASSES=garbage"),
        (("run", "--set", "MFS_NCCL_STAGES=garbage", "--", "true"), "MFS_NCCL_STAGES=garbage"),
        (("run", "--policy", "\udcff", "--", "true"), "one of off"),
        (("x" * 10_000,), "No such command"),
        (("doctor", "--", ""), "no command given"),
        (("sim", "run", "--seed", "-1"), "'--seed': -1"),
        (("sim", "run", "--seed", "9" * 400), "'--seed'"),
        (("sim", "explain", "--seed", "-1"), "'--seed': -1"),
        (("sim", "explain", "--list", "-1"), "'--list': -1"),
        (("sim", "run", "--requests", "1000000000000"), "requests 1000000000000: a whole number"),
        (("sim", "run", "--requests", "0"), "requests 0: a whole number"),
        (("sim", "run", "--requests", "9" * 400), "requests 9999"),
        (("sim", "run", "--warmup", "-1"), "warm-up -1: a whole number"),
        (("sim", "run", "--warmup", "1000000000000"), "warm-up 1000000000000"),
        (("sim", "run", "--load", "inf"), "load inf: of what"),
        (("sim", "run", "--load", "nan"), "load nan"),
        (("sim", "run", "--load", "-1"), "load -1.0"),
        (("sim", "run", "--rate", "1e300"), "rate 1e+300: requests a second"),
        (("sim", "run", "--rate", "nan"), "rate nan"),
        (("sim", "run", "--rate", "0"), "rate 0.0"),
        (("sim", "run", "--model", ""), "model '': one of"),
        (("sim", "run", "--cluster", ""), "cluster '': one of"),
        (("sim", "run", "--cluster", "/dev/zero"), "cluster /dev/zero: longer than"),
        (("sim", "run", "--cluster", "./deep.toml"), "cluster deep.toml: not TOML that we take"),
        (("sim", "run", "--cluster", "./packed.toml"), "packed with gzip"),
        (("sim", "run", "--workload", ""), "workload '': one of"),
        (("sim", "run", "--workload", "mooncake:/dev/zero"), "there is no file /dev/zero"),
        (("sim", "run", "--slo", "x" * 10_000), "SLO 'xxx"),
        (("sim", "run", "--estimate-error", "nan"), "estimate_error nan"),
        (("sim", "run", "--set", f"units={DEEP}"), "nested too deeply"),
        (("sim", "run", "--set", "units=" + "9" * 5000), "--set"),
        (("sim", "run", "--set", 'units={"a": 1}'), "units"),
        (("sim", "run", "--set", 'about="\\ud800"'), "half a surrogate pair"),
        (("sim", "run", "--set", "units=1e999"), "units inf: a whole number"),
        (("sim", "run", "--set", "models=[[1]]"), "models"),
        (("sim", "run", "--option", f"levels={DEEP}"), "nested too deeply"),
        (("sim", "run", "--option", "levels=" + "9" * 400), "levels 999"),
        (("sim", "run", "--option", "interval_s=[1]"), "interval_s"),
        (("sim", "compare", "--seeds", "1000000000000"), "'--seeds'"),
        (("sim", "compare", "--seeds", "1000000"), "points or more; at most 1000000"),
        (("sim", "compare", "--first-seed", "-1"), "'--first-seed'"),
        (("sim", "compare", "--jobs", "-1"), "'--jobs'"),
        (("sim", "sweep", "/dev/zero"), "sweep /dev/zero: longer than"),
        (("sim", "sweep", "deep.toml"), "sweep deep.toml: not TOML that we take"),
        (("sim", "sweep", "good.toml", "--results", "/dev/zero"), "it is no regular file"),
        (("sim", "sweep", "good.toml", "--seeds", "1000000000000"), "at most 1000000 are run"),
        (("testbed", "compare", "--policies", "best"), "policy 'best': one of off, fair"),
        (("testbed", "compare", "--policies", ","), "--policies ','"),
        (("testbed", "compare", "--base", "edf_paper"), "--base 'edf_paper': one of off, fifo"),
        (("testbed", "compare", "--exchange"), "cannot agree by karuna, whose ranks are no times"),
        (("testbed", "compare", "--rates", "1,-1"), "--rates '1,-1': numbers from 0.001"),
        (("testbed", "compare", "--time-scale", "nan"), "--time-scale nan: from 0.1"),
        (("testbed", "compare", "--link", "0"), "link 0.0: from 1"),
        (("testbed", "compare", "--cluster", "none"), "none"),
        (("testbed", "compare", "--set", "pod_hosts=2"), "pods are not emulated"),
        (("testbed", "compare", "--model", "gpt"), "model 'gpt'"),
        (("demo", "--trace", "/dev/zero"), "trace /dev/zero, line 1: longer than"),
        (("demo", "--trace", "deep.toml"), "trace deep.toml, line 1: not JSON"),
        (("demo", "--most-tokens", "9" * 400), "--most-tokens 999"),
        (("demo", "--load", "nan"), "--load nan"),
        (("demo", "--seeds", "1000000000000"), "--seeds 1000000000000"),
        (("trace", "--follow", "--seconds", "nan"), "--seconds"),
    ],
)
def test_values__are_refused_in_one_line(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
):
    monkeypatch.setattr(input_file, "MOST_LINE", 1 << 20)  # /dev/zero is sooner over
    Path("deep.toml").write_text(f"x = {DEEP}")
    Path("packed.toml").write_bytes(gzip.compress(b"a"))
    Path("good.toml").write_text('load = 0.5\npolicy = "mfs"\n')
    assert says in refused(*arguments)


def test_paths__that_cannot_be_printed_are_printed_all_the_same(tmp_path: Path):
    small = ("--warmup", "10", "--requests", "20")
    done = subprocess.run(
        [sys.executable, "-m", "mfs_transport", "sim", "run", *small, "--json", b"a\xff.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert rb"results: a\udcff.json" in done.stdout
    assert os.listdir(bytes(tmp_path)) == [b"a\xff.json"]
