# SPDX-License-Identifier: Apache-2.0
"""`mfs trace record` where there is no room, and what `mfs trace view` makes of a trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser, needs_browser
from click.testing import CliRunner
from test_observe_explain import run
from test_observe_trace import EACH, put_through

from mfs_transport.commands import _trace, group
from mfs_transport.control import Host
from mfs_transport.observe import recording
from mfs_transport.observe.recording import EVENT, HEAD_BYTES
from mfs_transport.observe.view import united

# --- no room ---

FULL = r"""
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_observe_trace import put_through
from mfs_transport.commands import _trace
from mfs_transport.control import Host
from mfs_transport.__main__ import main
events, real = int(sys.argv[2]), _trace.time.sleep
def sleep(seconds):  # in the loop that records: something happens
    for index in range(events):
        put_through(host, f"r{{index}}", 0, 10**10)
_trace.time.sleep = sleep
with Host(sys.argv[3]) as host:
    sys.exit(main(["trace", "record", sys.argv[1], "--seconds", "0.3"]))
"""


def on_small_disk(folder: Path, size: int, events: int) -> tuple[int, str, Path]:
    """`mfs trace record` onto a file system of so many bytes; status, stderr, the copied file."""
    script, mount, kept = folder / "full.py", folder / "disk", folder / "kept"
    script.write_text(FULL.format(tests=str(Path(__file__).parent)))
    mount.mkdir()
    shell = (
        f"mount -t tmpfs -o size={size} none {mount} && "
        f"{sys.executable} {script} {mount}/run.mfst {events} {folder}/segment; "
        f"status=$?; cp -r {mount} {kept}; exit $status"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell],
        env={**os.environ, "MFS_SEGMENT": f"{folder}/segment"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr, kept / "run.mfst"


def may_mount(folder: Path) -> bool:
    shell = f"mount -t tmpfs -o size=4096 none {folder}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_record__on_a_disk_that_becomes_full(tmp_path: Path):
    """One line says so, and what was written until then can be read."""
    if not may_mount(tmp_path):
        pytest.skip("no mount namespaces here")
    status, said, file = on_small_disk(tmp_path, 16 * 4096, 60)
    assert status == 1, said
    (line,) = said.strip().splitlines()
    told = re.fullmatch(
        r"mfs: .*run\.mfst: No space left on device: recording has ended, with the ([\d,]+) events "
        r"until then",
        line,
    )
    assert told, said
    count = int(told[1].replace(",", ""))
    assert 0 < count <= (16 * 4096 - HEAD_BYTES) // EVENT.itemsize
    assert (file.stat().st_size - HEAD_BYTES) / EVENT.itemsize == count
    assert len(recording.load(file).events) == count


def test_record__on_a_full_disk(tmp_path: Path):
    if not may_mount(tmp_path):
        pytest.skip("no mount namespaces here")
    status, said, file = on_small_disk(tmp_path, 4096, 1)
    assert status == 1
    assert len(said.strip().splitlines()) == 1
    assert said.startswith("mfs: ")
    assert "No space left on device" in said
    assert not file.exists()


def test_keep__writes_all_that_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And names the ports that have come meanwhile."""
    with Host(str(tmp_path / "segment")) as host:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            put_through(host, f"r{len(waits)}", 0, 10**10)

        monkeypatch.setattr(_trace.time, "sleep", sleep)
        file = tmp_path / "run.mfst"
        with file.open("wb", buffering=0) as out:
            count, lost, problem = _trace.keep(host, out, _trace.time.monotonic() + 0.05)
    assert (lost, problem) == (0, None)
    assert count in (EACH * len(waits), EACH * (len(waits) - 1))
    found = recording.load(file)
    assert len(found.events) == count
    assert [port.name for port in found.ports.values()] == ["eth3"]


# --- the page and the picture ---


def view(folder: Path, name: str) -> Path:
    recording.write(folder / "run.mfst", run())
    arguments = ["trace", "view", str(folder / name), "--from", str(folder / "run.mfst")]
    done = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder / name


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return dict(json.loads(found[1]))


def test_view__has_all_in_it(tmp_path: Path):
    page = view(tmp_path, "run.html").read_text()
    assert not re.search(r'(?:src|href)="(?!#)|url\(|@import|https?:', page)
    data = data_of(page)
    assert data["names"] == ["late", "first", "elsewhere"]
    assert data["ports"] == ["eth0 out", "eth1 out"]
    flows = data["flows"]
    assert isinstance(flows, list)
    assert len(flows) == 4
    assert flows[0][4:7] == [0, 10_000, 14_000]  # begin, left, acknowledged, in microseconds
    assert "It waited 80 ms for new KV to reach the decode host" in page


def test_view__of_names_that_would_be_tags(tmp_path: Path):
    found = run()
    found.events = found.events.copy()
    found.events["name"][found.events["request"] == 1] = b"</script><b>"
    recording.write(tmp_path / "run.mfst", found)
    arguments = ["trace", "view", str(tmp_path / "v.html"), "--from", str(tmp_path / "run.mfst")]
    assert CliRunner().invoke(group, arguments, catch_exceptions=False).exit_code == 0
    page = (tmp_path / "v.html").read_text()
    assert "<b>" not in page
    assert page.count("</script>") == 2
    assert "</script><b>" in data_of(page)["names"]  # type: ignore[operator]


def test_view__as_a_picture(tmp_path: Path):
    pytest.importorskip("matplotlib")
    assert view(tmp_path, "run.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in view(tmp_path, "run.svg").read_text()
    for name in ("run", "run.doc"):
        done = CliRunner().invoke(group, ["trace", "view", str(tmp_path / name)])
        assert done.exit_code == 2


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_view__in_a_browser(tmp_path: Path, width: int):
    """It draws what is there, nothing is wider than the page, and a flow tells of itself."""
    with Browser(view(tmp_path, "run.html"), width) as browser:
        assert browser.errors == []
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.run("rows.map((row) => row.title)") == ["late", "first", "elsewhere"]
        assert browser.run("hits.length") == 4
        middle = "(hits[0][0] + hits[0][2]) / 2"
        browser.run(
            "canvas.dispatchEvent(new PointerEvent('pointermove', {clientX: "
            f"canvas.getBoundingClientRect().left + {middle}, clientY: "
            "canvas.getBoundingClientRect().top + (hits[0][1] + hits[0][3]) / 2}))"
        )
        assert "late, cached KV, layer 3, eth0 out, 1.00 MB" in browser.run("told.textContent")
        browser.run("document.getElementById('by').value = 'port'; arrange()")
        assert browser.run("rows.map((row) => row.title)") == ["eth0 out", "eth1 out"]
        browser.run("document.getElementById('in').click()")
        assert browser.run("to - from") < 113_000


def test_united__of_what_overlaps():
    spans = [(3.0, 4.0), (0.0, 2.0), (1.0, 2.5), (2.5, 2.75), (0.5, 1.0)]
    assert united(spans) == [(0.0, 2.75), (3.0, 1.0)]
    assert united([]) == []
