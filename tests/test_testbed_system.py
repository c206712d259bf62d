# SPDX-License-Identifier: Apache-2.0
"""Packages of the system: asked for by root alone, said, and not at all when it is forbidden."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mfs_transport.testbed import system


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stub of apt-get was asked for, on a machine where we are root."""
    path = tmp_path / "asked"
    stub = tmp_path / "apt-get"
    stub.write_text(f"#!/bin/sh\necho $@ >>{path}\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("MFS_SETUP_APT", raising=False)
    path.touch()
    return path


def test_install__says_what_and_how_not_to(asked: Path):
    said: list[str] = []
    system.install(["a", "b"], "a test", said.append)
    assert said == ["installing a b by apt-get, for a test; MFS_SETUP_APT=0 installs nothing"]
    assert asked.read_text().splitlines() == ["-qq update", "-qq install -y a b"]


@pytest.mark.parametrize("value", ["0", "no", "OFF", "false"])
def test_install__not_when_it_is_forbidden(
    asked: Path, monkeypatch: pytest.MonkeyPatch, value: str
):
    monkeypatch.setenv("MFS_SETUP_APT", value)
    said: list[str] = []
    system.install(["a"], "a test", said.append)
    assert (said, asked.read_text()) == ([], "")


def test_install__not_by_an_ordinary_user(asked: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    system.install(["a"], "a test", lambda _: None)
    assert asked.read_text() == ""
