# SPDX-License-Identifier: Apache-2.0
"""Files that are written: what is replaced, what is written to, and what is never touched."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mfs_transport import InputError, json_report, output_file

ROOT = os.geteuid() == 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def null_device(path: Path) -> Path:
    """A device of our own like /dev/null: the machine's is not put at stake."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.write_bytes(b"")  # a container may make one and not let us open it
    except OSError:
        pytest.skip("needs the right to make devices")
    return path


def test_write__replaces_a_regular_file_as_a_whole(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "r.json"
    output_file.write(path, "one")
    with path.open() as before:
        output_file.write(path, "two")
        assert (before.read(), path.read_text()) == ("one", "two")
    assert names(path.parent) == ["r.json"]


def test_write__a_device_stays_a_device(tmp_path: Path):
    path = null_device(tmp_path / "null")
    output_file.check(path)
    json_report.write(path, [{"a": 1}])
    output_file.remove(path)
    assert stat.S_ISCHR(path.stat().st_mode)
    assert names(tmp_path) == ["null"]


def test_write__a_pipe_is_written_to(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output_file.check(path)
    output_file.write(path, b"bytes")
    assert os.read(reader, 99) == b"bytes"
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_write__a_pipe_that_nobody_reads_is_an_error_not_a_wait(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="nobody reads this pipe"):
        output_file.write(path, b"bytes")


def test_write__a_pipe_takes_more_than_it_holds(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)  # a writer, too: no end of file before ours comes
    got = bytearray()

    def read() -> None:
        while len(got) < 1 << 20:
            got.extend(os.read(reader, 65536))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    output_file.write(path, bytes(1 << 20))
    thread.join(60)
    os.close(reader)
    assert len(got) == 1 << 20


@pytest.mark.parametrize("name", ["r.json.part", "r.part", ".r.json.part"])
def test_write__planted_links_are_not_followed(tmp_path: Path, name: str):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / name).symlink_to(victim)
    (folder / "r.json").symlink_to(victim)
    json_report.write(folder / "r.json", [])
    assert victim.read_text() == "precious"
    assert not (folder / "r.json").is_symlink()


def test_write__the_name_in_between_cannot_be_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr(output_file.secrets, "token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".mfs-{'0' * 16}.part").symlink_to(victim)  # as if it had been foreseen
    with pytest.raises(FileExistsError):
        output_file.write(tmp_path / "r.json", "x")
    assert victim.read_text() == "precious"


def test_write__leaves_nothing_behind_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "r.json"
    path.write_text("before")
    monkeypatch.setattr(output_file.os, "replace", full)
    with pytest.raises(OSError, match=r"r\.json"):
        output_file.write(path, "x")
    assert (names(tmp_path), path.read_text()) == (["r.json"], "before")


def test_write__dev_stdout_goes_where_stdout_goes(tmp_path: Path):
    link, out = tmp_path / "stdout", tmp_path / "out"
    link.symlink_to("/proc/self/fd/1")
    program = (
        "import sys; from pathlib import Path; from mfs_transport import output_file\n"
        "path = Path(sys.argv[1]); output_file.check(path); print('before')\n"
        "output_file.write(path, 'report\\n'); print('after')\n"
    )
    with out.open("w") as file:
        subprocess.run([sys.executable, "-c", program, str(link)], stdout=file, check=True)
    assert out.read_text() == "before\nreport\nafter\n"
    assert link.is_symlink()


def test_check__leaves_nothing_behind(tmp_path: Path):
    output_file.check(tmp_path / "not" / "there" / "r.json")
    assert names(tmp_path) == []


def test_check__says_what_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(str(tmp_path / "socket"))
    for path, says in (
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "r.json", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\0b", "null"),
        (Path("/proc/none/r.json"), "No such file"),
    ):
        with pytest.raises(InputError, match=says):
            output_file.check(path)
    taken.close()


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_check__a_folder_of_others(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        output_file.check(tmp_path / "r.json")


def test_check_picture__the_ending_must_be_a_format(tmp_path: Path):
    for name in ("a.png", "a.PDF", "a"):
        output_file.check_picture(tmp_path / name)
    with pytest.raises(InputError, match="its ending is none of"):
        output_file.check_picture(tmp_path / "a.docx")


def test_open_log__does_not_follow_a_link_that_dangles_and_keeps_devices(tmp_path: Path):
    (tmp_path / "log").symlink_to(tmp_path / "planted")
    with pytest.raises(OSError, match="symbolic link"):
        output_file.open_log(tmp_path / "log")
    with output_file.open_log(tmp_path / "new") as log:
        log.write(b"x")
    assert names(tmp_path) == ["log", "new"]


def test_remove__what_is_not_there(tmp_path: Path):
    output_file.remove(tmp_path / "nothing")
    (tmp_path / "r").write_text("")
    output_file.remove(tmp_path / "r")
    assert names(tmp_path) == []


def test_open_append__adds_and_makes_nothing_through_a_link(tmp_path: Path):
    path, link = tmp_path / "new" / "kept", tmp_path / "link"
    for line in ("one\n", "two\n"):
        with output_file.open_append(path) as file:
            file.write(line)
    assert path.read_text() == "one\ntwo\n"
    link.symlink_to(tmp_path / "planted")
    with pytest.raises(FileExistsError):
        output_file.open_append(link)
    assert names(tmp_path) == ["link", "new"]
