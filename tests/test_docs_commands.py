# SPDX-License-Identifier: Apache-2.0
"""The commands that the docs name are there, with the options that are shown."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mfs_transport.commands import group

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]  # decisions say what was
ENDS = re.compile(r"\s(?:--(?:\s|$)|[|&;#>]).*")
NOT_OURS = {"bench"}  # a bench has options of its own


def shown(page: Path) -> list[list[str]]:
    """Words behind `mfs`, of code in lines and in blocks."""
    text = page.read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    lines += re.findall(r"^    (.+)$", text, re.M)
    found = []
    for line in lines:
        match = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?mfs ([a-z].*)", line)
        if match:
            found.append(ENDS.sub("", match[1]).split())
    return found


def options_of(command: click.Command) -> set[str]:
    named = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return named | {"--help", "--version", "-h"}


def wrong(words: list[str]) -> str:
    """What is not there; "": all is."""
    command: click.Command = group
    at = 0
    while isinstance(command, click.Group) and at < len(words) and words[at][0].islower():
        name = words[at].rstrip(".,:")
        found = command.get_command(click.Context(command), name)
        if found is None:
            return f"no command {name}"
        command, at = found, at + 1
    if words[0] in NOT_OURS:
        there = len(words) < 2 or (ROOT / "bench" / f"{words[1]}.py").exists()
        return "" if there or not words[1][0].islower() else f"no bench {words[1]}"
    given = {re.split(r"[=,]", word)[0] for word in words[at:] if re.match(r"--\w", word)}
    return ", ".join(sorted(given - options_of(command)))


def test_wrong__names_what_is_not_there():
    assert wrong(["run", "--policy", "edf"]) == ""
    assert wrong(["run", "--polcy", "edf"]) == "--polcy"
    assert wrong(["walk"]) == "no command walk"
    assert wrong(["trace", "view", "run.html", "--from", "x"]) == ""
    assert wrong(["trace", "view", "--last", "--upside-down"]) == "--upside-down"
    assert wrong(["bench", "hosts"]) == ""
    assert wrong(["bench", "guests"]) == "no bench guests"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands__of_a_page_are_there(page: Path):
    lacking = [f"mfs {' '.join(words)}: {why}" for words in shown(page) if (why := wrong(words))]
    assert lacking == []


def test_commands__are_found():
    assert sum(len(shown(page)) for page in PAGES) > 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts__of_a_page_are_there(page: Path):
    for name in re.findall(r"(?:^|`|\./)(scripts/[\w-]+)", page.read_text(), re.M):
        assert (ROOT / name).exists(), name
