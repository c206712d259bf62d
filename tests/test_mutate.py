# SPDX-License-Identifier: Apache-2.0
"""Mutants of the sender: which are made. Whether one survives is a test of minutes."""

from __future__ import annotations

import json
import subprocess

import mutate
import pytest

SOURCE = """\
#define MOST 8 /* 9 < 10 */
#include "no 1.h"
static bool fits(int *a, int b)
{
    int sum = *a + b;

    /* a && b */
    if (sum < MOST &&
        b == 0)
        return true;
    *a -= 2; // 3
    call(a, "1 + 1");
    return -EAGAIN;
}
"""


def test_edits() -> None:
    made = [
        (what, SOURCE[start:end], becomes)
        for what, start, end, becomes in mutate.edits(mutate.blank(SOURCE))
    ]
    assert made == [
        ("negated", "(sum < MOST &&\n        b == 0)", "(!(sum < MOST &&\n        b == 0))"),
        ("bound", " < ", " <= "),
        ("equal", " == ", " != "),
        ("sum", " + ", " - "),
        ("sum", " -= ", " += "),
        ("logic", "&&", "||"),
        ("number", "8", "16"),
        ("number", "0", "1"),
        ("number", "2", "4"),
        ("returned", "true", "false"),
        ("returned", "-EAGAIN", "0"),
        ("taken out", 'call(a, "1 + 1");', ";"),
    ]


def test_changed__the_lines_that_it_is_in() -> None:
    negated = next(mutate.edits(mutate.blank(SOURCE)))
    mutant = mutate.changed("a.c", SOURCE, *negated)
    assert (mutant.file, mutant.line, mutant.function) == ("a.c", 8, "fits")
    assert mutant.was == "    if (sum < MOST &&\n        b == 0)"
    assert mutant.becomes == "    if (!(sum < MOST &&\n        b == 0))"


def test_chosen__by_the_seed() -> None:
    first = mutate.chosen(mutate.ROOT, 1)
    assert first == mutate.chosen(mutate.ROOT, 1)
    assert first != mutate.chosen(mutate.ROOT, 2)
    assert set(first) == set(mutate.chosen(mutate.ROOT, 2))
    assert len({mutant.file for mutant in first[:60]}) >= 5


def test_known__are_in_the_sources_of_today() -> None:
    named, equivalent = mutate.known(mutate.ROOT)
    made = {mutate.change(mutant) for mutant in mutate.candidates(mutate.ROOT)}
    assert len(named) >= 10
    assert not [change for change in equivalent if change not in made]
    assert all(len(reason) > 20 for reason in equivalent.values())


@pytest.mark.long
def test_mutate() -> None:
    done = subprocess.run(
        [mutate.ROOT / "scripts" / "mutate", "--json"],
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    results = json.loads(done.stdout)
    assert done.returncode == 0, [row["mutant"] for row in results if not row["killed_by"]]
    assert len(results) >= 40
