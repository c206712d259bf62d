# SPDX-License-Identifier: Apache-2.0
"""Segments of a group: what `mfs segment create` makes, and what it leaves alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mfs_transport import shared_segment
from mfs_transport.__main__ import main
from mfs_transport.commands import group
from mfs_transport.control import Host
from mfs_transport.native import InputError, ffi
from mfs_transport.observe.segment import look, members_of

OWN = str(os.getegid())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def create(path: Path, who: str = OWN) -> Result:
    return CliRunner().invoke(group, ["segment", "create", str(path), "--group", who])


def test_create__a_file_of_the_group_that_programs_use(tmp_path: Path):
    path = tmp_path / "mfs" / "host"
    done = create(path)
    assert done.exit_code == 0, done.output
    assert f"MFS_SEGMENT={path}" in done.output
    assert (mode(path.parent), mode(path)) == (0o3770, 0o660)
    assert look(str(path)).state == "idle"
    host = Host(str(path))
    assert host.path == str(path)
    assert look(str(path)).state == "live"
    # again, while it is in use: nothing changes
    assert create(path).exit_code == 0
    assert look(str(path)).state == "live"
    host.close()
    assert (mode(path.parent), mode(path)) == (0o3770, 0o660)


def test_create__an_empty_folder_of_ours_will_do(tmp_path: Path):
    (tmp_path / "mfs").mkdir(0o755)
    assert create(tmp_path / "mfs" / "host").exit_code == 0
    assert mode(tmp_path / "mfs") == 0o3770


def folder_of_others(folder: Path) -> str:
    (folder / "diary").write_text("dear diary")
    return "holds other files"


def folder_is_a_file(folder: Path) -> str:
    folder.rmdir()
    folder.write_text("")
    return "is no folder"


def folder_is_a_link(folder: Path) -> str:
    folder.rmdir()
    folder.symlink_to("/tmp")
    return "is no folder"


def file_is_a_link(folder: Path) -> str:
    folder.chmod(0o3770)
    (folder / "host").symlink_to("/tmp/diary")
    return "is no ordinary file"


def file_is_a_folder(folder: Path) -> str:
    folder.chmod(0o3770)
    (folder / "host").mkdir()
    return "is no ordinary file"


def file_is_a_pipe(folder: Path) -> str:
    folder.chmod(0o3770)
    os.mkfifo(folder / "host")
    return "is no ordinary file"


@pytest.mark.parametrize(
    "spoil",
    [
        *(folder_of_others, folder_is_a_file, folder_is_a_link),
        *(file_is_a_link, file_is_a_folder, file_is_a_pipe),
    ],
)
def test_create__leaves_alone_what_is_not_its_own(spoil: Any, tmp_path: Path):
    folder = tmp_path / "mfs"
    folder.mkdir(0o755)
    expected = spoil(folder)
    before = mode(folder)
    with pytest.raises(InputError, match=expected):
        shared_segment.create(folder / "host", os.getegid())
    assert mode(folder) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_create__others_folders_and_files(tmp_path: Path):
    folder = tmp_path / "mfs"
    folder.mkdir()
    os.chown(folder, 4711, 4711)
    with pytest.raises(InputError, match="belongs to user 4711"):
        shared_segment.create(folder / "host", 4711)
    os.chown(folder, 0, 4711)
    shared_segment.create(folder / "host", 4711)
    assert (folder / "host").stat().st_gid == 4711
    os.chown(folder / "host", 4711, 4711)
    with pytest.raises(InputError, match="belongs to user 4711"):
        shared_segment.create(folder / "host", 4711)


@pytest.mark.parametrize("name", ["nobody-has-this-group", str(2**32 - 1), "-1"])
def test_create__of_no_group(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["segment", "create", str(tmp_path / "mfs" / "host"), f"--group={name}"]) == 2
    assert f"group {name}" in capsys.readouterr().err.replace("'", "")
    assert not (tmp_path / "mfs").exists()


def test_file_system__of_what_it_lies_on():
    assert shared_segment.file_system(Path("/proc/self")) == "proc"


def named(*rows: tuple[int, int, str]) -> list[str]:
    raw = ffi.new("struct mfs_look *")
    raw.pid_namespace = 10
    raw.process_count = len(rows)
    for index, (pid, namespace, host) in enumerate(rows):
        raw.processes[index].pid = pid
        raw.processes[index].pid_namespace = namespace
        raw.processes[index].host = host.encode()
    return [one.name for one in members_of(raw)]


def test_members__are_named_by_where_their_numbers_are_from():
    assert named((7, 10, "node"), (7, 11, "decode-0"), (7, 12, "decode-1")) == [
        *("7", "7@decode-0", "7@decode-1")
    ]
    # pods that call their host the same, or nothing
    assert named((1, 11, "node"), (1, 12, "node"), (1, 13, "")) == ["1@11", "1@12", "1@13"]
    assert named((1, 10, "node"), (1, 12, "node"), (1, 0, "old")) == ["1", "1@node", "1"]
