# SPDX-License-Identifier: Apache-2.0
"""Many points: from a TOML file to a file of results that can be resumed.

    cluster = "small"                       any of these may be a list:
    model = ["dbrx", "llama3-8b"]           each combination is run
    workload = ["conversation", "agent"]
    load = [0.5, 0.7, 0.9]                  of the units' capacity; or rate, requests a second
    policy = ["fair", "karuna", "karuna+h", "mfs"]
    slo = "3x"
    seeds = 10                              numbers first_seed, first_seed + 1, ...
    first_seed = 1000
    refine = 2                              rounds of more loads where attainment crosses 90 %
    [set]                                   of the cluster, as in its file
    link_Gbps = 100
    [[case]]                                keys here stand for those above; without a case the
    enforcement = "sender"                  file is one
    [[case.variant]]                        besides the policies: one with options of its own
    label = "K = 4"
    policy = "mfs"
    levels = 4
    [[case.variant]]                        a list in it: each combination, under the names of the
    policy = ["edf", "edf+h"]               options that are not as usual
    stage_first = ["none", "collective"]

A result is appended as one line of JSON when its point is done, with the point's key and the
build of the library; a point whose key is there already is not run again.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import input_file, output_file
from ..native import InputError, shown
from . import models, statistics
from . import point as points
from .point import Point

AXES = (
    *("cluster", "model", "workload", "rate", "load", "slo", "enforcement"),
    *("estimate_error", "times", "policy"),
)
MOST_POINTS = 1_000_000
MOST_COUNT = 10**12
_NUMBERS = ("rate", "load", "estimate_error")
_COUNTS = {"seeds": 1, "first_seed": 0, "warmup": 0, "measured": 1, "refine": 0}
_TABLES = ("set", "options", "variant", "case", "about")


@dataclass(frozen=True)
class Plan:
    """What a file asks for."""

    points: tuple[Point, ...]
    refine: int


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> Plan:
    """InputError names the key that does not fit."""
    table = input_file.toml(path, f"sweep {path}")
    return plan(f"sweep {path}", {**table, **(overrides or {})})


def plan(where: str, table: Mapping[str, Any]) -> Plan:
    cases = _tables(where, table, "case") if "case" in table else [{}]
    common = {key: value for key, value in table.items() if key != "case"}
    found: dict[str, Point] = {}
    for number, case in enumerate(cases, start=1):
        name = f"{where}, case {number}" if "case" in table else where
        for one in _expand(name, {**common, **case}):
            found.setdefault(f"{one.key()} {one.name}", one)
        check_points(where, len(found))
    refine = _count(where, table, "refine", 0)
    return Plan(tuple(found.values()), refine)


def check_points(where: str, count: int) -> None:
    if count > MOST_POINTS:
        raise InputError(f"{where}: {shown(count)} points or more; at most {MOST_POINTS} are run")


def _tables(where: str, table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of tables."""
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{where}: {key} {shown(found)}: [[{key}]] is expected")
    return found


def _table(where: str, table: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"{where}: {key} {shown(found)}: [{key}] is expected")
    return found


def _count(where: str, table: Mapping[str, Any], key: str, default: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < _COUNTS[key]:
        raise InputError(f"{where}: {key} {shown(value)}: a whole number from {_COUNTS[key]}")
    if value > MOST_COUNT:
        raise InputError(f"{where}: {key} {shown(value)}: at most {MOST_COUNT}")
    return value


def _axis(where: str, table: Mapping[str, Any], key: str) -> list[Any]:
    values = table[key] if isinstance(table[key], list) else [table[key]]
    for value in values:
        right = isinstance(value, (int, float)) if key in _NUMBERS else isinstance(value, str)
        if not right or isinstance(value, bool):
            what = "a number" if key in _NUMBERS else "a text"
            raise InputError(f"{where}: {key} {shown(value)}: {what} is expected")
        if key == "model":
            models.find(value)
    return [float(value) for value in values] if key in _NUMBERS else values


def _expand(where: str, table: Mapping[str, Any]) -> Iterator[Point]:
    for key in table:
        if key not in (*AXES, *_COUNTS, *_TABLES):
            raise InputError(
                f"{where}: unknown key {key!r}; there are {', '.join((*AXES, *_COUNTS, *_TABLES))}"
            )
    if ("rate" in table) == ("load" in table) and table.get("times") != "trace":
        raise InputError(f"{where}: either rate or load is needed")
    axes = [key for key in AXES if key in table and key != "policy"]
    lists = [_axis(where, table, key) for key in axes]
    first = _count(where, table, "first_seed", 1000)
    base = Point(
        warmup=_count(where, table, "warmup", 512),
        measured=_count(where, table, "measured", 1024),
        changes=points.frozen(f"{where}: set", _table(where, table, "set")),
    )
    common = points.plain(f"{where}: options", _table(where, table, "options"))
    variants: list[tuple[str, str, dict[str, Any]]] = []
    for policy in _axis(where, table, "policy") if "policy" in table else []:
        variants.append(("", policy, {}))
    for one in _tables(where, table, "variant"):
        variants += _combinations(where, one)
    if not variants:
        raise InputError(f"{where}: a policy or a variant is needed")
    seeds = _count(where, table, "seeds", 10)
    check_points(where, math.prod(map(len, lists)) * seeds * len(variants))
    for values in itertools.product(*lists):
        given = dict(zip(axes, values, strict=True))
        for seed in range(first, first + seeds):
            for label, policy, own in variants:
                yield with_options(base, label, policy, {**common, **own}, seed=seed, **given)


def _combinations(
    where: str, variant: Mapping[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(label, policy, options) of a variant: one, or as many as its lists have combinations."""
    given = {"policy": "mfs", **variant}
    label = str(given.pop("label", ""))
    several = any(isinstance(value, list) for value in given.values())
    lists = [value if isinstance(value, list) else [value] for value in given.values()]
    check_points(where, math.prod(map(len, lists)))
    for values in itertools.product(*lists):
        own = points.plain(f"{where}: variant", dict(zip(given, values, strict=True)))
        policy = str(own.pop("policy"))
        if not several:
            yield label, policy, own
            continue
        usual = {name: one.default for name, one in points.OPTIONS.items()}
        words = [f"{name}={value}" for name, value in own.items() if usual.get(name) != value]
        yield ", ".join([label or policy, *words]), policy, own


def with_options(
    base: Point, label: str, policy: str, options: Mapping[str, Any], **given: Any
) -> Point:
    """A point of which some options are fields of its own (enforcement, estimate_error)."""
    own = {k: v for k, v in options.items() if k in ("enforcement", "estimate_error")}
    rest = points.frozen("options", {k: v for k, v in options.items() if k not in own})
    made = dataclasses.replace(base, label=label, policy=policy, options=rest, **{**given, **own})
    points.make_options(made)
    return made


# --- results on file ---


class Store:
    """Results by the key of their point, in a file of JSON lines; None: in memory only."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self.other_builds = 0
        if path is not None:
            output_file.check(path)
        if path is not None and path.exists():
            if not path.is_file():
                raise InputError(f"results {path}: it is no regular file")
            for number, line in input_file.lines(path, f"results {path}"):
                try:
                    row = input_file.parse_json(line, f"results {path}, line {number}")
                except InputError:
                    continue  # half a line: the run was ended while it was written
                if not isinstance(row, dict) or not isinstance(row.get("key"), str):
                    continue
                if isinstance(row.get("result"), dict) and isinstance(row.get("details"), dict):
                    self.rows[row["key"]] = row
            build = points.build()
            self.other_builds = sum(row.get("build") != build for row in self.rows.values())

    def missing(self, wanted: Iterable[Point]) -> list[Point]:
        found = {one.key(): one for one in wanted if one.key() not in self.rows}
        return list(found.values())

    def add(self, run: points.Run) -> None:
        key = run.point.key()
        row = {"key": key, "build": points.build(), "result": run.result, "details": run.details}
        self.rows[key] = row
        if self.path is not None:
            with output_file.open_append(self.path) as file:
                if file.tell() > 0:
                    file.seek(file.tell() - 1)
                    if file.read(1) != "\n":
                        file.write("\n")
                file.write(json.dumps(row) + "\n")

    def table(self, wanted: Iterable[Point]) -> list[dict[str, Any]]:
        """Rows of the points that are done: result and details in one, named as asked for."""
        return [
            {**row["details"], **row["result"], "policy": one.name}
            for one in wanted
            if (row := self.rows.get(one.key()))
        ]


# --- where attainment crosses 90 % ---


def group_of(one: Point) -> Point:
    """What is compared over loads: the point without load, rate and seed."""
    return dataclasses.replace(one, load=None, rate=None, seed=0)


def more_loads(wanted: Iterable[Point], store: Store) -> list[Point]:
    """For each group the points at the load, halfway between two that were run, where its mean
    attainment crosses 90 %; at half the least, or 1.25 times the largest, if it does not."""
    groups: dict[Point, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    members: dict[Point, list[Point]] = defaultdict(list)
    for one in wanted:
        if one.load is not None and (row := store.rows.get(one.key())):
            groups[group_of(one)][one.load].append(row["result"]["attainment"])
            members[group_of(one)].append(one)
    found: dict[str, Point] = {}
    for group, by_load in groups.items():
        loads = sorted(by_load)
        means = [sum(by_load[load]) / len(by_load[load]) for load in loads]
        at = statistics.crossing(loads, means)
        if at is None:
            new = loads[0] / 2
        elif at >= loads[-1]:
            new = loads[-1] * 1.25
        else:
            above = next(load for load in loads if load > at)
            below = max(load for load in loads if load <= at)
            if above - below < 0.04 * at:
                continue
            new = (above + below) / 2
        for one in members[group]:
            point = dataclasses.replace(one, load=round(new, 6))
            found[f"{point.key()} {point.name}"] = point
    return list(found.values())


def distinct(wanted: Iterable[Point]) -> list[Point]:
    """One point for each combination of names that can be wrong."""
    found: dict[Any, Point] = {}
    for one in wanted:
        found.setdefault((one.cluster, one.changes, one.model, one.workload, one.slo), one)
    return list(found.values())
