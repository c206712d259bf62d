# SPDX-License-Identifier: Apache-2.0
"""The folder of a node: what `mfs node` puts there and takes away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mfs_transport import __version__, node
from mfs_transport.__main__ import main
from mfs_transport.native import PACKAGE, UCX_SHIM, InputError


def variables(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_install__a_program_uses_it_and_nothing_else(tmp_path: Path):
    folder = tmp_path / "mfs"
    segment = tmp_path / "segment"
    assert main(["node", "install", str(folder), "--segment", str(segment)]) == 0
    found = variables(folder / "env")
    assert found["MFS_SEGMENT"] == str(segment)
    assert found["LD_PRELOAD"] == str(folder / "python" / "mfs_transport" / UCX_SHIM.name)
    said = subprocess.run(
        ["sh", "-c", f". {folder}/env.sh && env"], capture_output=True, text=True, check=True
    )
    assert set(found.items()) <= {tuple(line.split("=", 1)) for line in said.stdout.splitlines()}
    # one library in the process, from there; vLLM finds the plug-in
    program = (
        "import mfs_transport.control as c, importlib.metadata as m;"
        "print(c.__file__); print(c.default_host().path);"
        "print(*(e.value for e in m.entry_points(group='vllm.general_plugins')));"
        "print(*{l.split()[-1] for l in open('/proc/self/maps') if 'libmfs.so' in l})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    module, place, entry, library = done.stdout.splitlines()
    assert module == str(folder / "python" / "mfs_transport" / "control.py")
    assert place == str(segment)
    assert "mfs_transport.engines.vllm.plugin:register" in entry
    assert library == str(folder / "python" / "mfs_transport" / "libmfs.so")


def test_install__again_replaces_files_and_keeps_what_is_open(tmp_path: Path):
    folder = tmp_path / "mfs"
    node.install(folder, Path("/opt/mfs"), "")
    assert "MFS_SEGMENT" not in variables(folder / "env")
    assert variables(folder / "env")["PYTHONPATH"] == "/opt/mfs/python"
    library = folder / "python" / "mfs_transport" / "libmfs.so"
    stale = folder / "python" / "mfs_transport" / "old" / "module.py"
    stale.parent.mkdir()
    stale.write_text("")
    also = tmp_path / "also"
    (also / "cffi").mkdir(parents=True)
    (also / "cffi" / "__init__.py").write_text("")
    with library.open("rb") as file:
        node.install(folder, Path("/opt/mfs"), "", also)
        assert os.fstat(file.fileno()).st_ino != library.stat().st_ino
        assert file.read() == (PACKAGE / "libmfs.so").read_bytes()
    assert not stale.parent.exists()
    assert (folder / "python" / "cffi" / "__init__.py").is_file()
    assert not list(folder.rglob(".new-*"))
    assert not list(folder.rglob("__pycache__"))
    assert (folder / "version").read_text() == f"{__version__}\n"


def test_remove__what_was_put_there(tmp_path: Path):
    folder = tmp_path / "mfs"
    node.install(folder, folder, "")
    (folder / "notes").write_text("mine")
    assert main(["node", "remove", str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["notes"]
    with pytest.raises(InputError, match="nothing is installed there"):
        node.remove(folder)
    (folder / "notes").unlink()
    node.install(folder, folder, "")
    node.remove(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("folder", "seen_as", "reason"),
    [
        ("mfs", "/opt/my mfs", "cannot name a path with ' '"),
        ("mfs", "opt/mfs", "a path from the root on"),
        ("nowhere/mfs", "/opt/mfs", "does not exist"),
    ],
)
def test_install__where_it_cannot_be(folder: str, seen_as: str, reason: str, tmp_path: Path):
    with pytest.raises(InputError, match=reason):
        node.install(tmp_path / folder, Path(seen_as), "")
