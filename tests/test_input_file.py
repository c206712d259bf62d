# SPDX-License-Identifier: Apache-2.0
"""Files from outside: nothing is read without end, nothing is waited for, all is told."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from mfs_transport import input_file
from mfs_transport.native import InputError


def test_text__a_pipe_that_nobody_writes_to_is_empty(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert input_file.text(tmp_path / "pipe", "here") == ""


def test_text__a_pipe_is_read_to_its_end():
    ours, theirs = os.pipe()
    os.write(theirs, b"a = 1")
    os.close(theirs)
    assert input_file.toml(Path(f"/proc/self/fd/{ours}"), "here") == {"a": 1}
    os.close(ours)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x" * 101, "here: longer than 100 bytes"),
        (b"\xff", r"here: no UTF-8 text \(byte 0\)"),
        ("a".encode("utf-16"), "here: no UTF-8 text"),
        (gzip.compress(b"a"), "here: it is packed with gzip; unpack it first"),
    ],
)
def test_text__says_what_is_wrong(tmp_path: Path, content: bytes, says: str):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=says):
        input_file.text(tmp_path / "file", "here", 100)


def test_text__the_mark_of_utf_8_is_no_part_of_it(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa")
    assert input_file.text(tmp_path / "file", "here") == "a"


@pytest.mark.parametrize("path", ["/nowhere/x", "/", "a\0b", "\ud800", "x" * 5000])
def test_text__a_path_that_leads_nowhere(path: str):
    with pytest.raises(InputError, match="here: "):
        input_file.text(Path(path), "here")


def test_lines__numbers_and_what_is_wrong_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfone\n\ntwo\n\xff\n")
    found = input_file.lines(path, "here")
    assert [next(found) for _ in range(3)] == [(1, "one\n"), (2, "\n"), (3, "two\n")]
    with pytest.raises(InputError, match="here, line 4: no UTF-8 text"):
        next(found)
    monkeypatch.setattr(input_file, "MOST_LINE", 1000)
    with pytest.raises(InputError, match="here, line 1: longer than 1000 bytes"):
        next(input_file.lines(Path("/dev/zero"), "here"))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "here: not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "here: not JSON"),
        ('"\\ud800"', "half a surrogate pair"),
    ],
)
def test_parse_json__says_what_is_wrong(document: str, says: str):
    with pytest.raises(InputError, match=says):
        input_file.parse_json(document, "here")


def test_parse_json__what_is_right():
    assert input_file.parse_json('{"a": [1, 2.5, "\\u00e9"]}', "here") == {"a": [1, 2.5, "é"]}
