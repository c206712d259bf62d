# SPDX-License-Identifier: Apache-2.0
"""mfs sim: what scheduling does for a cluster, by simulation with the scheduler that ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from .. import output_file
from ..native import InputError, shown
from ..sim import against, engine, explain, models, plots, report, setting, study, sweep
from ..sim import point as points
from ..sim.sweep import Store
from ..terminal import Column, Table, make_console, status
from . import _sim
from ._files import PictureFile

POLICIES = "fair,srpt,edf,karuna,karuna+h,mfs_paper,mfs"


@click.group(name="sim")
def command() -> None:
    """Simulate a serving cluster under several policies, with the scheduler that ships.

    \b
    Example:
        mfs sim list
        mfs sim run --cluster small --workload agent --load 0.8 --policy mfs
        mfs sim compare --policies fair,karuna,mfs --plot out/compare.png
        mfs sim sweep FILE.toml --results out/sweep.jsonl
        mfs sim explain --load 0.9 --request 700
    """


@command.command(name="list")
def list_all() -> None:
    """Clusters, models, policies, options of the engine."""
    console = make_console()
    table = Table("cluster", "hosts", Column("for", fold=True))
    for name in setting.names():
        one = setting.read(name)
        table.add_row(name, str(one.cluster.hosts), f"{one.about} ({', '.join(one.models)})")
    console.print(table)
    table = Table("model", "layers", "KV bytes a token", "to experts, bytes a token and layer")
    for spec in models.MODELS.values():
        experts = f"{spec.dispatch_layer_bytes:,}" if not spec.dense else "dense"
        table.add_row(spec.name, str(spec.layers), f"{spec.kv_bytes:,}", experts)
    console.print()
    console.print(table)
    console.print()
    console.print(f"policies: {', '.join(engine.POLICIES)}; with +h or -h: the hopeless rule")
    console.print(f"enforcement: {', '.join(engine.ENFORCEMENTS)}")
    defaults = {name: one.default for name, one in points.OPTIONS.items()}
    console.print("options: " + ", ".join(f"{name}={value}" for name, value in defaults.items()))


def _policies(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InputError(f"--policies {text!r}: at least one is needed")
    for name in names:
        points.split_label(name)
    return names


def _row(run: points.Run) -> dict[str, Any]:
    return {**run.details, **run.result}


@command.command()
@_sim.point_options
@click.option("--policy", default="mfs", show_default=True, help="With +h, -h: hopeless rule.")
@_sim.seed_option
@click.option("--plot", type=PictureFile(), help="TTFT, earliness, utilisation.")
@_sim.json_option
def run(policy: str, seed: int, plot: Path | None, json_path: Path | None, **given: Any) -> None:
    """One run, and all that is measured of it.

    \b
    Example:
        mfs sim run --cluster paper-simulation --model dbrx --policy karuna
        mfs sim run --workload mooncake:conversation_trace.jsonl --times trace
    """
    console = make_console()
    point = _sim.make_point(policy, seed, given)
    points.make(point)  # what is wrong is said before anything is drawn
    (done,) = _sim.run_all([point], Store(None), 1, None)
    row = _row(done)
    console.print(f"{point.cluster}, {row['model']}, {row['workload']}, {point.name}, seed {seed}")
    console.print(report.one(row))
    if plot:
        plots.distributions([done], plot, f"{point.cluster}, {row['workload']}")
        console.print(f"picture: {plot}", soft_wrap=True)
    _sim.write(json_path, console, [row])


@command.command()
@_sim.point_options
@click.option("--policies", default=POLICIES, show_default=True, help="In this order.")
@click.option("--base", default="", help="What they are compared with.  [default: the first]")
@click.option("--seeds", type=click.IntRange(1, sweep.MOST_POINTS), default=5, show_default=True)
@click.option("--first-seed", type=click.IntRange(0, 2**62), default=0, show_default=True)
@click.option("--plot", type=PictureFile(), help="TTFT, earliness, ports.")
@_sim.where_options
@_sim.json_option
def compare(
    policies: str,
    base: str,
    seeds: int,
    first_seed: int,
    plot: Path | None,
    jobs: int,
    dask: str | None,
    json_path: Path | None,
    **given: Any,
) -> None:
    """The same requests under several policies, at one load.

    \b
    Example:
        mfs sim compare --cluster small-four --model dbrx --load 0.8 --seeds 10
        mfs sim compare --policies fair,mfs,inf --slo 2x --plot out/compare.png
    """
    console = make_console()
    names = _policies(policies)
    sweep.check_points("--seeds", len(names) * seeds)
    base = base or names[0]
    if base not in names:
        raise InputError(f"--base {base!r}: one of {', '.join(names)}")
    wanted = [
        _sim.make_point(name, seed, given)
        for seed in range(first_seed, first_seed + seeds)
        for name in names
    ]
    points.make(wanted[0])
    done = _sim.run_all(wanted, Store(None), jobs, dask)
    done.sort(key=lambda one: (names.index(one.point.name), one.point.seed))
    rows = [_row(one) for one in done]
    first = rows[0]
    title = (
        f"{first['cluster']}, {first['model']}, {first['workload']}, load {first['load']:.2f} "
        f"({first['rate']:.4g} requests/s), SLO {first['slo']}, {first['enforcement']}"
    )
    seeds_words = "one seed" if seeds == 1 else f"{seeds} seeds, 95 % intervals"
    console.print(f"{title}; {seeds_words}")
    console.print(report.compare(rows, base))
    console.print()
    console.print(report.tails(rows))
    if plot:
        plots.distributions(done, plot, title)
        console.print(f"picture: {plot}", soft_wrap=True)
    _sim.write(json_path, console, rows)


@command.command(name="sweep")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--results",
    "store_path",
    type=click.Path(path_type=Path),
    help="Where they are kept, and found again.  [default: out/FILE.jsonl]",
)
@click.option("--fresh", is_flag=True, help="Run again what is kept there.")
@click.option("--base", default="mfs", show_default=True, help="What the others are compared with.")
@click.option("--plot", type=PictureFile(), help="Attainment over load.")
@click.option("--pareto", type=PictureFile(), help="Attained over mean and over tail.")
@click.option("--only", default="", help="Of the file's policies these, by name or label.")
@click.option("--judge", is_flag=True, help="Where --base is better, even or worse.")
@click.option("--changes", is_flag=True, help="What --base's attained, mean and p99 become.")
@click.option("--beyond", default="", help="And the mean TTFT beyond that policy's, as inf.")
@click.option("--ratios", is_flag=True, help="What --base attains, and its rate, over others'.")
@click.option("--best", is_flag=True, help="Of each policy the variant that attains most.")
@click.option("--seeds", type=click.IntRange(1), help="Instead of the file's.")
@_sim.where_options
@_sim.json_option
def run_sweep(
    file: Path,
    store_path: Path | None,
    fresh: bool,
    base: str,
    plot: Path | None,
    pareto: Path | None,
    only: str,
    judge: bool,
    changes: bool,
    beyond: str,
    ratios: bool,
    best: bool,
    seeds: int | None,
    jobs: int,
    dask: str | None,
    json_path: Path | None,
) -> None:
    """Everything a file asks for; may be stopped and run again at any time.

    \b
    Example:
        mfs sim sweep bench/study/paper.toml --jobs 4 --plot out/paper.png
        mfs sim sweep FILE.toml --dask tcp://10.0.0.1:8786
    """
    console = make_console()
    plan = sweep.read(file, {} if seeds is None else {"seeds": seeds})
    store_path = store_path or Path("out") / f"{file.stem}.jsonl"
    if fresh:
        output_file.remove(store_path)
    store = Store(store_path)
    wanted = _only(plan.points, only)
    known = dict.fromkeys(one.name for one in wanted)
    for name in (beyond, base if changes or beyond or ratios else ""):
        if name and name not in known:
            raise InputError(f"policy {shown(name)}: not in the file, which has {', '.join(known)}")
    for one in sweep.distinct(wanted):
        points.make(one)
    kept = len(wanted) - len(store.missing(wanted))
    console.print(f"{len(wanted)} points, {kept} of them kept in {store_path}", soft_wrap=True)
    if store.other_builds:
        console.print(f"{store.other_builds} of these are of another build; --fresh runs all anew")
    for turn in range(plan.refine + 1):
        words = f"round {turn + 1} of {plan.refine + 1}" if plan.refine else "simulating"
        _sim.run_all(wanted, store, jobs, dask, words)
        if turn < plan.refine:
            wanted += sweep.more_loads(wanted, store)
    rows = store.table(wanted)
    if best:
        done = [(one, store.rows[one.key()]["result"]["attainment"]) for one in wanted]
        console.print(study.tuned(study.bests(done)))
    elif changes or beyond:
        _changes(console, rows, base, beyond)
    elif ratios:
        console.print(against.ratios(rows, base))
    elif judge:
        _judge(console, rows, base)
    else:
        _show(console, rows, base)
    if plot:
        plots.attainment(rows, plot, file.stem)
        console.print(f"picture: {plot}", soft_wrap=True)
    if pareto:
        plots.pareto(rows, pareto, file.stem)
        console.print(f"picture: {pareto}", soft_wrap=True)
    _sim.write(json_path, console, rows)


def _only(wanted: Sequence[points.Point], names: str) -> list[points.Point]:
    chosen = {name.strip() for name in names.split(",") if name.strip()}
    known = {one.name for one in wanted}
    if not chosen <= known:
        lacking = ", ".join(sorted(chosen - known))
        raise InputError(f"--only {lacking}: not in the file, which has {', '.join(sorted(known))}")
    return [one for one in wanted if not chosen or one.name in chosen]


def _judge(console: Console, rows: list[dict[str, Any]], base: str) -> None:
    found = {one: study.verdicts(rows, base, measure=one) for one in study.MEASURES}
    others = list(dict.fromkeys(one.other for one in found[study.ATTAINED]))
    every = [one for each in found.values() for one in each]
    every.sort(key=lambda one: others.index(one.other))
    console.print(study.promises(study.summaries(rows, base)))
    console.print()
    console.print(study.counts(every))
    console.print()
    console.print(study.losses(found[study.ATTAINED]))


def _changes(console: Console, rows: list[dict[str, Any]], base: str, beyond: str) -> None:
    for title, group in against.cases(rows).items():
        console.print(f"\n{title}; against {base}, seed by seed", style="bold")
        console.print(against.changes(group, base, beyond))


def _show(console: Console, rows: list[dict[str, Any]], base: str) -> None:
    for (cluster, model, work, slo, enforcement), group in report.by(
        rows, "cluster", "model", "workload", "slo", "enforcement"
    ).items():
        names = list(dict.fromkeys(row["policy"] for row in group))
        console.print(
            f"\n{cluster}, {model}, {work}, SLO {slo}, {enforcement}: attained at load",
            style="bold",
        )
        console.print(report.over_load(group))
        console.print(report.tails(group))
        if len(report.by(group, "load")) > 1:
            console.print(report.goodput(group, base if base in names else names[0]))


@command.command(name="explain")
@_sim.point_options
@click.option("--policy", default="mfs", show_default=True)
@_sim.seed_option
@click.option("--request", type=int, help="Its number.  [default: the latest of those measured]")
@click.option(
    "--list", "listed", type=click.IntRange(0), default=0, help="So many of the latest, instead."
)
def explain_one(policy: str, seed: int, request: int | None, listed: int, **given: Any) -> None:
    """One request's time line, and what it waited for.

    \b
    Example:
        mfs sim explain --load 0.9 --list 10
        mfs sim explain --load 0.9 --request 700
    """
    console = make_console()
    case = points.make(_sim.make_point(policy, seed, given))
    if request is not None:
        explain.check(case, request)  # before the run
    with status("simulating"):
        outcome = engine.simulate(
            case.setting.cluster, case.model, case.requests, case.options, trace=True
        )
        late = explain.latest(case, outcome)
    if listed > 0:
        console.print(explain.listing(case, outcome, late[:listed]))
        return
    story = explain.story(case, outcome, late[0] if request is None else request)
    console.print(explain.summary(story))
    console.print(explain.table(story))
    console.print(explain.delays(story))
