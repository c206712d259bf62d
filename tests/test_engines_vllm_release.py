# SPDX-License-Identifier: Apache-2.0
"""Which releases of vLLM the plug-in acts in: by number, and by what their source says."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mfs_transport.engines.vllm import release

NEWER = "0.99.0"


def written(folder: Path, *, drop: str = "", change: tuple[str, str] = ("", "")) -> Path:
    """A vLLM that has what is relied on, and no more; without the member `drop`."""
    for (file, name), members in release.RELIED_ON.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"class {name}:", "    pass"]
        for member, arguments in members.items():
            if member == drop:
                continue
            if arguments is None:
                lines.append(f"    {member}: int = 0")
            else:
                lines.append(f"    def {member}({', '.join(('self', *arguments))}): ...")
        text = "\n".join(lines).replace(*change) if change[0] else "\n".join(lines)
        with path.open("a") as out:
            out.write(text + "\n")
    return folder


@pytest.mark.parametrize("version", ["0.31.0", "0.32.0", "0.32.1+cpu", "0.32.0rc1"])
def test_verdict__tested_acts_and_says_nothing(version: str):
    assert release.verdict(version, None) == release.Verdict(True, None)


@pytest.mark.parametrize("version", ["0.9.1", "0.30.2", "dev"])
def test_verdict__older_is_refused_in_one_line_whatever_its_source(version: str, tmp_path: Path):
    found = release.verdict(version, written(tmp_path))
    assert not found.acts
    assert found.line is not None
    assert version in found.line
    assert "MFS_VLLM_UNTESTED=1" in found.line
    assert "\n" not in found.line


@pytest.mark.parametrize("version", ["0.33.0", "1.0"])
def test_verdict__newer_and_unchanged_is_tried_and_said(version: str, tmp_path: Path):
    found = release.verdict(version, written(tmp_path))
    assert found.acts
    assert found.line is not None
    assert "is tried" in found.line
    assert "\n" not in found.line


def test_verdict__newer_without_source_is_refused():
    found = release.verdict(NEWER, None)
    assert (found.acts, "source is not to be found" in (found.line or "")) == (False, True)


@pytest.mark.parametrize(
    ("drop", "line"),
    [
        ("take_events", "KVConnectorBase_V1.take_events() is not there"),
        ("num_scheduled_tokens", "SchedulerOutput.num_scheduled_tokens is not there"),
        ("nixl_wrapper", "NixlBaseConnectorWorker.nixl_wrapper is not there"),
    ],
)
def test_verdict__newer_without_something_is_refused_with_its_name(
    drop: str, line: str, tmp_path: Path
):
    found = release.verdict(NEWER, written(tmp_path, drop=drop))
    assert not found.acts
    assert line in (found.line or "")


@pytest.mark.parametrize(
    "change",
    [
        ("layer_name, kv_layer", "kv_layer, layer_name"),  # another order
        ("self, request, block_ids)", "self, request, block_ids, more)"),  # one more is wanted
        ("request_finished(self, request, ", "request_finished(self, req, "),  # another name
        ("def wait_for_save(self)", "def wait_for_save(self, *, steps)"),
        ("class NixlPullConnector", "class Pull"),
    ],
)
def test_verdict__newer_that_takes_something_else_is_refused(
    change: tuple[str, str], tmp_path: Path
):
    found = release.verdict(NEWER, written(tmp_path, change=change))
    assert not found.acts
    assert len(release.changes(tmp_path)) >= 1


@pytest.mark.parametrize(
    "change",
    [
        ("self, request, block_ids)", "self, request, block_ids, more=1, *, other=2)"),
        ("def generate", "async def generate"),
        ("    pass", "    def a_later_one(self): ..."),
    ],
)
def test_verdict__what_is_only_added_is_no_change(change: tuple[str, str], tmp_path: Path):
    assert release.changes(written(tmp_path, change=change)) == []


def test_changes__source_that_cannot_be_read(tmp_path: Path):
    folder = written(tmp_path)
    (folder / "v1/outputs.py").write_text("class KVConnectorOutput(:")
    assert release.changes(folder) == ["v1/outputs.py has no class KVConnectorOutput"]


@pytest.mark.long
@pytest.mark.parametrize("version", ["0.31.0", "0.32.0", "0.33.0"])
def test_changes__none_in_the_real_releases(version: str, tmp_path: Path):
    """From their own wheels, which are downloaded (340 MB each)."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path))
    done = subprocess.run([*pip, f"vllm=={version}"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"vllm {version} is not to be had here")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        for file, _ in release.RELIED_ON:
            wheel.extract(f"vllm/{file}", tmp_path)
    assert release.changes(tmp_path / "vllm") == []
