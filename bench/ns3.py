# SPDX-License-Identifier: Apache-2.0
"""A second judge of hosts that agree: the cases of `mfs bench hosts` in ns-3.

Hosts at a switch, ports of 1 Gbit/s with queues of 1 MB, packet by packet, over
TCP; the senders and the owners are those that ship (csrc/core), agents speak
every millisecond or two by datagrams that wait in the same queues.

    pull    host A puts 8 MiB, urgent, to another host every 200 ms; three
            others read A's memory all the time
    incast  seven hosts put 1 to 8 MiB each to an eighth, at random times, a
            third of them with a tight deadline
    off     no order; local: each host's own; exchange: the agents agree;
    loss    the same, and 30 % of the datagrams are lost

reads_share is what the reads get of what the urgent puts leave of capacity_Bps, which
is what they have without them (reads_share_of_link: of a link without headers).

    mfs bench ns3 --tcp TcpCubic --json out/ns3.json

It installs nothing: apt-get install libns3-dev g++ (ns-3.37), or --prefix for an
ns-3 elsewhere. Without, it says what is missing and ends with status 77.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from hosts import LINK_BPS, Job, arrivals, computed, percentile

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import LIBRARY
from mfs_transport.terminal import Column, Table, help_of, make_console, number, status, track

HERE = Path(__file__).parent
CSRC = HERE.parent / "csrc"
CASES = ("pull", "incast")
VARIANTS = ("off", "local", "exchange", "loss")
NEEDED = ("core", "network", "internet", "point-to-point", "traffic-control")
SKIPPED = 77
HINT = "apt-get install libns3-dev g++, or --prefix"
TIGHT_TIMES = 10  # times alone, below which a deadline is a tight one


class Missing(Exception):
    """The scene cannot be built here; says why."""


def libraries(prefix: Path) -> list[str]:
    """Paths of ns-3's shared libraries below the prefix, of whatever version and build."""
    folders = (prefix / "lib", *(prefix / "lib").glob("*-linux-gnu"), prefix / "lib64")
    there = sorted(path for folder in folders for path in folder.glob("libns3*.so"))
    found = []
    for module in NEEDED:
        name = re.compile(rf"libns3[\d.]*-{module}(-default|-debug|-optimized|-release)?\.so")
        paths = [path for path in there if name.fullmatch(path.name)]
        if not paths:
            raise Missing(f"no ns-3: {prefix}/lib has no libns3-{module}.so; {HINT}")
        found.append(str(paths[0]))
    return found


def run_or_say(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        wrong = [line for line in done.stderr.splitlines() if "error" in line]
        raise Missing(f"{what}: {(wrong or done.stderr.splitlines() or ['it failed'])[0]}")


def build(prefix: Path, folder: Path) -> Path:
    """The scene, compiled."""
    if not (prefix / "include" / "ns3" / "core-module.h").exists():
        raise Missing(f"no ns-3: {prefix}/include/ns3 is not there; {HINT}")
    for compiler in ("gcc", "g++"):
        if not shutil.which(compiler):
            raise Missing(f"no {compiler}: apt-get install {compiler}")
    linked = libraries(prefix)
    rule, program = folder / "rule.o", folder / "scene"
    run_or_say(
        [
            *("gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", f"-I{CSRC}"),
            *("-c", str(HERE / "ns3_rule.c"), "-o", str(rule)),
        ],
        "the rules do not compile",
    )
    folders = dict.fromkeys([str(LIBRARY.parent), *(str(Path(one).parent) for one in linked)])
    run_or_say(
        [
            *("g++", "-std=c++17", "-O2", f"-I{prefix / 'include'}", f"-I{HERE}"),
            *(str(HERE / "ns3_scene.cpp"), str(rule), str(LIBRARY), *linked),
            *(f"-Wl,-rpath,{one}" for one in folders),
            *("-Wl,--allow-shlib-undefined", "-lm", "-o", str(program)),
        ],
        "ns-3 does not fit",
    )
    return program


# --- a scene ---


def simulate(
    program: Path, case: str, variant: str, tcp: str, seconds: float, known: bool, jobs: list[Job]
) -> list[list[str]]:
    """The lines that it prints, in words."""
    text = f"{case} {variant} ns3::{tcp} {seconds} {LINK_BPS:.0f} {LINK_BPS if known else 0:.0f}\n"
    if case == "incast":
        text += f"{len(jobs)}\n" + "".join(
            f"{job.sender} {job.at_s!r} {job.size} {job.due_s!r}\n" for job in jobs
        )
    done = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        sys.exit(f"the scene {case}, {variant} has failed: {last[-1]}")
    return [line.split() for line in done.stdout.splitlines()]


def judge(case: str, lines: list[list[str]], jobs: list[Job]) -> dict[str, Any]:
    """The figures of `mfs bench hosts`, of a scene's lines."""
    told = {words[0]: float(words[1]) for words in lines if len(words) == 2}
    puts = [(words[1], float(words[2])) for words in lines if words[0] == "put"]
    share = told["datagrams"] / LINK_BPS
    if case == "pull":
        alone = [took for phase, took in puts if phase == "alone"]
        beside = [took for phase, took in puts if phase == "beside"]
        return {
            "p99_alone_s": percentile(alone, 0.99),
            "p99_s": percentile(beside, 0.99),
            "p50_s": statistics.median(beside),
            "collective_p99_ratio": percentile(beside, 0.99) / percentile(alone, 0.99),
            "capacity_Bps": told["capacity"],
            "reads_Bps": told["reads"],
            "reads_share": told["reads"] / (told["capacity"] - told["stream"]),
            "reads_share_of_link": told["reads"] / (LINK_BPS - told["stream"]),
            "link_share": share,
        }
    took = {int(index): seconds for index, seconds in puts}
    met = [took.get(index, float("inf")) <= job.due_s for index, job in enumerate(jobs)]
    tight = [
        one
        for one, job in zip(met, jobs, strict=True)
        if job.due_s < TIGHT_TIMES * job.size / LINK_BPS
    ]
    return {
        "on_time": statistics.mean(met),
        "on_time_tight": statistics.mean(tight) if tight else None,
        "link_share": share,
    }


def record(case: str, variant: str, tcp: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""
    names = sorted({name for run in runs for name in run})
    return {
        "case": case,
        "variant": variant,
        "tcp": tcp,
        "rounds": len(runs),
        "collective_p99_ratio": None,
        "reads_share": None,
        "on_time": None,
        "link_share": None,
        **{
            name: statistics.median(run[name] for run in runs if run[name] is not None)
            for name in names
            if any(run[name] is not None for run in runs)
        },
    }


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        *(Column(one, left=True) for one in ("case", "variant", "TCP")),
        *(Column(one) for one in ("p99 / alone", "reads %", "on time %", "% of link")),
    )
    for one in records:
        percent = (
            number(None if one[name] is None else 100 * one[name], form)
            for name, form in (("reads_share", ".1f"), ("on_time", ".1f"), ("link_share", ".2f"))
        )
        ratio = number(one["collective_p99_ratio"], ".2f")
        view.add_row(one["case"], one["variant"], one["tcp"], ratio, *percent)
    return view


@click.command(help=help_of(__doc__))
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES), default=CASES,
              help="Which; both if not given.")  # fmt: skip
@click.option("--variant", "variants", multiple=True, type=click.Choice(VARIANTS),
              default=VARIANTS, help="Which; all if not given.")  # fmt: skip
@click.option("--tcp", "tcps", multiple=True, default=("TcpCubic",), show_default=True,
              help="ns-3's name of a congestion control; several, if given so often.")  # fmt: skip
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1),
              help="Of incast, with other puts each time.")  # fmt: skip
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(1, 600),
              help="Of a scene.")  # fmt: skip
@click.option("--load", default=0.8, show_default=True, type=click.FloatRange(0.05, 2),
              help="Of the port in incast.")  # fmt: skip
@click.option("--known-rate", is_flag=True, help="Senders know the rate, and need not learn it.")
@click.option("--prefix", default="/usr", show_default=True, type=click.Path(path_type=Path),
              help="Where ns-3 is installed.")  # fmt: skip
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
def main(
    cases: tuple[str, ...],
    variants: tuple[str, ...],
    tcps: tuple[str, ...],
    rounds: int,
    seconds: float,
    load: float,
    known_rate: bool,
    prefix: Path,
    json_path: Path | None,
) -> None:
    console = make_console()
    for one in tcps:
        if not re.fullmatch(r"Tcp\w{1,32}", one):
            raise click.BadParameter(f"{one!r}: as ns-3 calls it, like TcpCubic or TcpBbr")
    # nothing of a pull is drawn: its rounds would be the same
    plan = [
        (case, variant, tcp, n)
        for case in cases
        for tcp in tcps
        for variant in variants
        for n in range(rounds if case == "incast" else 1)
    ]
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            with status("compiling"):
                program = build(prefix, Path(folder))
        except Missing as missing:
            console.print(f"skipped: {missing}", highlight=False)
            sys.exit(SKIPPED)
        for case, variant, tcp, n in track(plan, "scenes"):
            jobs = arrivals(load, seconds, n) if case == "incast" else []
            lines = simulate(program, case, variant, tcp, seconds, known_rate, jobs)
            found.setdefault((case, variant, tcp), []).append(judge(case, lines, jobs))
    records = [record(*key, runs) for key, runs in found.items()]
    if "incast" in cases:
        all_jobs = [arrivals(load, seconds, n) for n in range(rounds)]
        for name, caps in (("global", [None]), ("cap", [*range(1, 8)])):
            shares = [[computed(jobs, cap) for jobs in all_jobs] for cap in caps]
            best = max(shares, key=statistics.median)
            records.append(record("incast", name, "", [{"on_time": share} for share in best]))
    console.print(table(records))
    if json_path:
        json_report.write(json_path, records, load=load, seconds=seconds, link_Bps=LINK_BPS)


if __name__ == "__main__":
    main()
