# SPDX-License-Identifier: Apache-2.0
"""When a request is due, from what it says of itself. No vLLM is needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mfs_transport.engines.vllm.deadline import Slo, due, parse_classes
from mfs_transport.native import InputError, config_check

CLASSES = parse_classes("tight=300ms,loose=8x")


def alone() -> float:
    return 0.5


def found(params: Any = None, extra: Any = None, age_ms: float = 0.0) -> Any:
    return due(CLASSES, params, extra, age_ms, alone)


# --- classes ---


def test_parse_classes__fixed_and_factor():
    assert parse_classes("tight=300ms, loose=8x,slow=1.5s,") == {
        "tight": Slo("tight", seconds=0.3),
        "loose": Slo("loose", factor=8.0),
        "slow": Slo("slow", seconds=1.5),
    }
    assert parse_classes("") == {}


@pytest.mark.parametrize(
    "text", ["tight", "tight=", "tight=300", "tight=0ms", "=3s", "a=1x,a=2x", "a=-1s", "a=1 h"]
)
def test_parse_classes__what_cannot_be_used_is_named(text: str):
    with pytest.raises(InputError, match="MFS_SLO"):
        parse_classes(text)


# --- requests ---


@pytest.mark.parametrize(
    ("params", "extra", "left_ms"),
    [
        ({"mfs_deadline_ms": 800}, None, 700),
        (None, {"mfs_deadline_ms": 800}, 700),
        (None, {"mfs_deadline_ms": "800"}, 700),
        ({"mfs_deadline_ms": 800}, {"mfs_deadline_ms": 5}, 700),
        ({"do_remote_decode": True}, {"mfs_deadline_ms": 800}, 700),
        ({"mfs_slo_class": "tight"}, None, 200),
        (None, {"mfs_slo_class": "loose"}, 3900),
        # what came over from the host before counts from the arrival here as well
        ({"mfs_left_ms": 250.5}, {"mfs_deadline_ms": 800}, 150.5),
        ({"mfs_left_ms": -30}, None, -130),
        ({}, {}, None),
        (None, None, None),
        ("no mapping", 7, None),
    ],
)
def test_due__first_that_is_there(params: Any, extra: Any, left_ms: float | None):
    answer = found(params, extra, age_ms=100.0)
    assert answer.left_ms == left_ms
    assert answer.complaint == ""


# what each place says, from the one that goes before all others to the last; see deadline.py
SAYINGS: list[tuple[str, dict[str, Any], float]] = [
    ("params", {"mfs_left_ms": 100}, 100),
    ("params", {"mfs_deadline_ms": 200}, 200),
    ("extra", {"mfs_deadline_ms": 250}, 250),
    ("extra", {"mfs_header_ms": 400.0}, 400),
    ("params", {"mfs_slo_class": "tight"}, 300),
    ("extra", {"mfs_slo_class": "loose"}, 4000),
    ("extra", {"mfs_header_priority": 7}, 700),
    ("extra", {}, 9000),
]


@pytest.mark.parametrize("least", range(len(SAYINGS)))
def test_due__of_all_that_is_said_the_first_holds(least: int):
    classes = parse_classes("tight=300ms,loose=8x,priority-5=700ms,default=9s")
    said: dict[str, dict[str, Any]] = {"params": {}, "extra": {}}
    for place, words, _ in reversed(SAYINGS[least:]):
        said[place].update(words)
    answer = due(classes, said["params"], said["extra"], 0.0, alone)
    assert answer.left_ms == pytest.approx(SAYINGS[least][2])
    assert answer.complaint == ""


@pytest.mark.parametrize(
    ("priority", "left_ms"),
    [(12, 100), (10, 100), (9, 500), (0, 500), (-3, 500), (-4, 9000), (True, 9000), ("12", 9000)],
)
def test_due__a_priority_is_of_the_class_with_the_largest_number_up_to_it(
    priority: Any, left_ms: float
):
    classes = parse_classes("priority-10=100ms,priority--3=500ms,priority-x=1ms,default=9s")
    answer = due(classes, None, {"mfs_header_priority": priority}, 0.0, alone)
    assert answer.left_ms == left_ms


def test_due__a_wrong_class_leaves_the_priority_in_force():
    classes = parse_classes("priority-0=700ms")
    answer = due(classes, {"mfs_slo_class": "fast"}, {"mfs_header_priority": 1}, 0.0, alone)
    assert (answer.left_ms, answer.slo_class) == (pytest.approx(700), "priority-0")
    assert "'fast'" in answer.complaint


def test_due__class_default_is_for_who_says_nothing():
    classes = parse_classes("default=2s")
    assert due(classes, None, None, 500.0, alone).left_ms == 1500
    assert due(classes, {"mfs_deadline_ms": 900}, None, 500.0, alone).left_ms == 400


@pytest.mark.parametrize("value", ["soon", 0, -5, float("nan"), float("inf"), 1e12, [1], True])
def test_due__wrong_deadline_is_told_and_not_used(value: Any):
    answer = found({"mfs_deadline_ms": value, "mfs_slo_class": "tight"})
    assert answer.left_ms == 300
    assert "mfs_deadline_ms" in answer.complaint
    assert "\n" not in answer.complaint


def test_due__any_class_goes_with_a_deadline_of_its_own():
    answer = found({"mfs_deadline_ms": 900, "mfs_slo_class": "of our reports"})
    assert (answer.left_ms, answer.slo_class, answer.complaint) == (900, "of our reports", "")


@pytest.mark.parametrize("name", ["fast", 7, ""])
def test_due__unknown_class_is_told_with_those_there_are(name: Any):
    answer = found({"mfs_slo_class": name})
    assert answer.left_ms is None
    assert "loose, tight" in answer.complaint


texts = st.text("a1.-\n\x00é", max_size=4)
plain = st.none() | st.booleans() | st.floats() | st.integers() | texts
json_values = plain | st.lists(plain, max_size=2) | st.dictionaries(texts, plain, max_size=2)
places = st.dictionaries(
    st.sampled_from(
        [
            *("mfs_left_ms", "mfs_deadline_ms", "mfs_slo_class", "other"),
            *("mfs_header_ms", "mfs_header_priority"),
        ]
    ),
    json_values,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(params=places, extra=places, age_ms=st.floats(0, 1e6))
def test_due__whatever_a_client_sends_there_is_an_answer(params: Any, extra: Any, age_ms: float):
    answer = due(CLASSES, params, extra, age_ms, alone)
    assert answer.left_ms is None or abs(answer.left_ms) <= 1e9 + 1e6
    assert "\n" not in answer.complaint.replace("\\n", "")


_PARTS = st.one_of(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,3}=[0-9]{0,3}\.?[0-9]{0,3}(x|ns|us|ms|s|h)?"),
    st.text(alphabet="aZ09=.:,xms \t-_\n", max_size=8),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(st.lists(_PARTS, max_size=4).map(",".join), st.text(max_size=12)))
@example("a=0." + "0" * 400 + "1s")
@example("a=" + "9" * 400 + "s")
@example("a=1000000000s,b=1000000000x")
@example("a=1s,\x1eb=2s")  # a blank of Python alone
def test_parse_classes__and_the_table_in_c_agree(text: str):
    """What `mfs run` and the library let pass is what the plug-in understands."""
    try:
        config_check("MFS_SLO", text)
    except InputError:
        passed = False
    else:
        passed = True
    try:
        parse_classes(text)
    except InputError:
        understood = False
    else:
        understood = True
    assert passed == understood or "\0" in text, text
