# SPDX-License-Identifier: Apache-2.0
"""`mfs report`: files of demo, benches and simulator as a page, and what it says of others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, needs_browser
from click.testing import CliRunner

from mfs_transport import json_report
from mfs_transport.commands import group
from mfs_transport.native import InputError
from mfs_transport.report import build, charts, documents


def write(path: Path, argv: list[str], rows: list[dict[str, Any]], **more: Any) -> Path:
    document = {**json_report.document(rows, **more), "argv": argv}
    path.write_text(json.dumps(document))
    return path


def demo(folder: Path) -> Path:
    rows = [
        {
            "policy": policy,
            "seed": seed,
            "attainment": attained + seed / 100,
            "ttft_mean_s": 0.8,
            "ttft_p50_s": 0.6,
            "ttft_p99_s": 2.5,
            "goodput_Bps": 12.5e6,
            "requests": 30,
            "mismatches": 0,
            "ttft_s": [0.5, 1.0, 1.5],
            "slo_s": [1.0, 1.0, 1.0],
            "counters": {"faults": 0},
        }
        for policy, attained in (("off", 0.5), ("mfs", 0.8))
        for seed in range(3)
    ]
    argv = ["/venv/lib/mfs_transport/__main__.py", "demo", "--json", "a file.json", "--inside", "7"]
    return write(folder / "demo.json", argv, rows, network="namespaces", load=0.65)


def bench(folder: Path) -> Path:
    rows = [
        {
            "scene": scene,
            "system": system,
            "alone_ms": 141.0,
            "contended_ms": ms,
            "ratio": None,
            "spread": [ms - 1, ms + 1],
            "unit": "ms",
            "every": list(range(9)),
            "ttft": {"mean": ms / 2},
        }
        for scene in ("process", "three processes, which keep the port full all the time")
        for system, ms in (("plain", 4582.0), ("mfs", 142.0))
    ]
    return write(folder / "contend.json", ["/x/bench/contend.py", "--pairs", "5"], rows)


def sweep(folder: Path) -> Path:
    rows = [
        {"policy": policy, "seed": seed, "load": load, "attainment": 1.0 - load / (2 + worth)}
        for policy, worth in (("fair", 0), ("mfs", 1), ("karuna", 0.5))
        for load in (0.5, 0.7, 0.9)
        for seed in range(2)
    ]
    argv = ["/venv/bin/mfs", "sim", "sweep", "loads.toml"]
    return write(folder / "sweep.json", argv, rows, details=[{}] * len(rows))


def report(*files: Path) -> str:
    out = files[0].parent / "report.html"
    command = ["report", *map(str, files), "--out", str(out), "--title", "All of <it>"]
    done = CliRunner().invoke(group, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"{len(files)} run" in done.output
    return out.read_text()


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_report__of_a_demo(tmp_path: Path):
    page = report(demo(tmp_path))
    text = words(page)
    assert "All of &lt;it&gt;" in page
    assert "off 51 (50 to 52)" in text
    assert "mfs 81 (80 to 82)" in text
    assert "mfs demo --json 'a file.json'" in page.replace("&#x27;", "'")
    assert "--inside" not in text
    assert "network namespaces" in text
    assert "cores" in text
    assert page.count("<svg") == 2  # attainment, and the distribution of TTFT
    assert not re.search(r'(?:src|href)="(?!#)|url\(|@import|<link|https?:', page)


def test_report__of_a_bench(tmp_path: Path):
    text = words(report(bench(tmp_path)))
    assert "mfs bench contend --pairs 5" in text
    assert "process plain 4,582 4,581 to 4,583 2,291" in text
    assert "The same in all rows alone_ms 141 ratio - unit ms" in text
    assert "Not shown, being lists: every." in text
    assert not re.search(r"\b(nan|None)\b", text)


def test_report__of_a_sweep(tmp_path: Path):
    page = report(sweep(tmp_path))
    assert page.count("<polyline") == 3
    assert "mfs sim sweep loads.toml" in words(page)
    assert "Also in the file, and not shown: details." in words(page)


def test_report__of_several(tmp_path: Path):
    page = report(demo(tmp_path), bench(tmp_path), sweep(tmp_path))
    assert page.count("<h2") == 3
    for index in range(3):
        assert f'href="#run{index}"' in page
        assert f'id="run{index}"' in page


def test_report__of_no_results(tmp_path: Path):
    assert "It has no results." in report(write(tmp_path / "none.json", [], []))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "a JSON object is expected"),
        ("{}", "schema_version None: this version reads 1"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1}', "results None: a list is expected"),
        ('{"schema_version": 1, "results": [1]}', "objects are expected"),
        ('{"schema_version": 1, "results": []}', "argv None: a list"),
        ('{"schema_version": 1, "results": [], "argv": []}', "environment None: an object"),
    ],
)
def test_read__of_some_other_file(text: str, says: str, tmp_path: Path):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(says)) as error:
        documents.read(tmp_path / "file.json")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="No such file"):
        documents.read(tmp_path / "nowhere.json")


def test_read__what_its_numbers_are(tmp_path: Path):
    """Whatever stands in a row, the page is made, and no NaN is on it."""
    rows = [
        {"a": float("nan"), "b": True, "c": None, "policy": "x"},
        {"a": -1.5, "b": [1, 2], "d": {"e": [1]}, "policy": 7, "attainment": "?"},
    ]
    page = report(write(tmp_path / "odd.json", ["prog"], rows))
    assert not re.search(r"\b(nan|NaN)\b", page)
    rows = [{"policy": "x", "attainment": None}, {"policy": "y", "attainment": float("inf")}]
    page = report(write(tmp_path / "odd.json", ["prog"], rows))
    assert not re.search(r"\b(nan|NaN|inf)\b", words(page))


def test_ticks():
    assert list(charts.ticks(0.0, 1.0)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert list(charts.ticks(0.0, 130.0)) == pytest.approx([0, 50, 100])
    assert list(charts.ticks(3.0, 3.0)) == [3.0]


def test_cell():
    values = [None, 0.123456, 12345, True, [1.0, 2.0], "x", float("nan")]
    assert [build.cell(one) for one in values] == [
        *("-", "0.123", "12,345", "yes", "1 to 2", "x", "-"),
    ]


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_page__in_a_browser(tmp_path: Path, width: int):
    report(demo(tmp_path), bench(tmp_path), sweep(tmp_path))
    with Browser(tmp_path / "report.html", width) as browser:
        assert browser.errors == []
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.run("document.querySelectorAll('svg').length") >= 5
        small = (
            "[...document.querySelectorAll('svg text')].map((one) => one.getBoundingClientRect())"
        )
        # words that can be read, inside their picture
        assert browser.run(f"Math.min(...{small}.map((box) => box.height))") > 8
        assert browser.run(f"{small}.every((box) => box.left >= 0 && box.right <= innerWidth)")
        assert browser.run(
            "[...document.querySelectorAll('.wide')].every((one) => one.clientWidth <= innerWidth)"
        )
