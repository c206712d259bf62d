# SPDX-License-Identifier: Apache-2.0
"""What the subcommands of `mfs sim` share: options that make a point, progress, results."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from .. import input_file, json_report
from ..native import InputError, shown
from ..sim import execute, models
from ..sim import point as points
from ..sim.point import Point, Run
from ..sim.sweep import Store, with_options
from ..terminal import progress
from ._files import ResultFile

Command = TypeVar("Command", bound=Callable[..., Any])

_POINT = (
    click.option("--cluster", default="small", show_default=True, help="Shipped, or FILE.toml."),
    click.option("--model", help="[default: the first that the cluster is meant for]"),
    click.option(
        "--workload",
        default="conversation",
        show_default=True,
        help="conversation, agent, lognormal:MEAN[:SIGMA[:REUSE]], azure:FILE, mooncake:FILE, or "
        "mooncake:FILE,block=16,unit=s for a file with other blocks and times.",
    ),
    click.option("--load", type=float, help="Of what the units can do.  [default: 0.7]"),
    click.option("--rate", type=float, help="Requests a second, instead of --load."),
    click.option("--slo", default="3x", show_default=True, help="3x, 500ms, tight=2x:0.3,loose=5x"),
    click.option("--times", default="poisson", show_default=True, help="poisson, trace, waves:N."),
    click.option("--enforcement", default="global", show_default=True, help="Who keeps order."),
    click.option("--warmup", default=512, show_default=True, help="Requests before them."),
    click.option("--requests", default=1024, show_default=True, help="Requests measured."),
    click.option("--estimate-error", default=0.0, show_default=True, help="0.3: ±30 %."),
    click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Of the cluster."),
    click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Of the engine."),
)

seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True
)
json_option = click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")


def point_options(command: Command) -> Command:
    """The options that make a point, but for policy and seed."""
    for option in reversed(_POINT):
        command = option(command)
    return command


def where_options(command: Command) -> Command:
    """The options that say where points are run."""
    command = click.option(
        "--jobs",
        type=click.IntRange(0, 1024),
        default=0,
        help="Local processes.  [default: one a core]",
        show_default=False,
    )(command)
    return click.option("--dask", metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:PORT.")(
        command
    )


def pairs(name: str, texts: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """KEY=VALUE with the value as in TOML; a bare word is a text."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{name} {shown(text)}: KEY=VALUE is expected")
        found[key] = input_file.parse_value(value, f"{name} {shown(text)}")
    return points.frozen(name, found)


def make_point(policy: str, seed: int, given: dict[str, Any]) -> Point:
    """From the values of `point_options`."""
    load = given["load"]
    if load is None and given["rate"] is None and given["times"] != "trace":
        load = 0.7
    base = Point(
        warmup=given["warmup"],
        measured=given["requests"],
        changes=pairs("--set", given["changes"]),
    )
    if given["model"] is not None:
        models.find(given["model"])
    names = ("cluster", "workload", "rate", "slo", "times", "enforcement")
    return with_options(
        base,
        "",
        policy,
        dict(pairs("--option", given["options"])),
        seed=seed,
        load=load,
        model=given["model"] or "",
        estimate_error=given["estimate_error"],
        **{name: given[name] for name in names},
    )


def run_all(
    wanted: Sequence[Point],
    store: Store,
    jobs: int,
    dask: str | None,
    words: str = "",
) -> list[Run]:
    """Run what is not in the store yet, with progress; the new runs."""
    words = words or "simulating"
    with progress(words, 1.0) as move:

        def tell(done: float, of: int) -> None:
            counted = f" {int(done)}/{of}" if done >= 1 else ""
            move(done / max(1, of), f"{words}{counted}")

        try:
            return execute.missing(wanted, store, jobs, dask, tell)
        except execute.WorkerDied as error:
            execute.kill_workers()
            click.echo(f"mfs: {error}", err=True)
            os._exit(1)  # the pool's own thread may wait for ever for what the dead one held


def write(path: Path | None, console: Console, rows: Sequence[dict[str, Any]], **more: Any) -> None:
    if path is None:
        return
    json_report.write(path, **points.parted(rows), **more)
    console.print(f"results: {path}", soft_wrap=True)
