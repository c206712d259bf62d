# SPDX-License-Identifier: Apache-2.0
"""The house in its floors: which C files of a folder need one another, by includes and calls.

A file here is NAME.c and NAME.h together. It needs another one of its folder when it includes
that one's header or mentions a function that is defined there. Files that need one another in a
circle can only be understood together, so a circle has three files at most.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"

DEFINITION = re.compile(r"^[A-Za-z_][^\n;{}#]*?(\w+)\([^;{}#]*\)\n\{", re.M)
DECLARATION = re.compile(r"^[A-Za-z_][^;{}#]*\);", re.M)
NO_MENTION = re.compile(r"(->|\.)\s*\w+|\b(struct|union|enum) \w+|\"(\\.|[^\"\\])*\"")


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def needs(folder: Path) -> dict[str, set[str]]:
    """Of each file the others that it needs."""
    text = {path: without_comments(path.read_text()) for path in sorted(folder.glob("*.[ch]"))}
    defined: dict[str, str] = {}
    found: dict[str, set[str]] = {path.stem: set() for path in text}
    for path, code in text.items():
        for match in DEFINITION.finditer(code):
            if path.suffix == ".h" or not match[0].startswith("static"):
                defined[match[1]] = path.stem
    for path, code in text.items():
        found[path.stem].update(re.findall(rf'#include "{folder.name}/(\w+)\.h"', code))
        mentions = set(re.findall(r"\w+", NO_MENTION.sub("", DECLARATION.sub("", code))))
        found[path.stem].update(defined[name] for name in mentions & defined.keys())
    return {name: others & found.keys() - {name} for name, others in found.items()}


def reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for other in edges[ahead.pop()] - seen:
            seen.add(other)
            ahead.append(other)
    return seen


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that all need one another, on whatever ways."""
    ways = {name: reached(name, edges) for name in edges}
    groups = {frozenset(o for o in ways[n] if n in ways[o]) for n in edges if n in ways[n]}
    return sorted(sorted(group) for group in groups)


def test_circles__are_found_by_includes_and_by_calls(tmp_path: Path):
    (tmp_path / "a.h").write_text("void mfs_a(void);\n")
    (tmp_path / "a.c").write_text(f'#include "{tmp_path.name}/b.h"\nvoid mfs_a(void)\n{{\n}}\n')
    (tmp_path / "b.h").write_text("void mfs_b(void); /* mfs_c */\n")
    (tmp_path / "b.c").write_text("void mfs_b(void)\n{\n    mfs_c();\n}\n")
    (tmp_path / "c.c").write_text('void mfs_c(void)\n{\n    mfs_a();\n    say("mfs_d");\n}\n')
    (tmp_path / "d.c").write_text("void mfs_d(void)\n{\n    mfs_a();\n    at->mfs_e();\n}\n")
    (tmp_path / "e.c").write_text("void mfs_e(void)\n{\n    mfs_d();\n}\n")
    assert circles(needs(tmp_path)) == [["a", "b", "c"]]


@pytest.mark.parametrize("folder", ["ucx", "nccl"])
def test_circles__have_three_files_at_most(folder: str):
    edges = needs(CSRC / folder)
    assert len(edges) > 15
    assert [group for group in circles(edges) if len(group) > 3] == []


def test_atomics__are_named_in_one_file():
    named = re.compile(r"\b(atomic_\w+\(|__atomic_\w+|__sync_\w+)")
    files = [path for path in CSRC.rglob("*.[ch]") if named.search(path.read_text())]
    assert files == [CSRC / "core" / "atomic.h"]
