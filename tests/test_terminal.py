# SPDX-License-Identifier: Apache-2.0
"""Tables and help at 80 columns and in a pipe: nothing too wide, cut, or not a number."""

from __future__ import annotations

import ast
import io
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benches
import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

from mfs_transport import terminal
from mfs_transport.commands import doctor, group, info, trace
from mfs_transport.diagnose import Check
from mfs_transport.observe.trace import Event
from mfs_transport.sim import against, explain, report, study
from mfs_transport.sim.statistics import Interval
from mfs_transport.terminal import Column, Table
from mfs_transport.testbed import paired, results
from mfs_transport.testbed import report as testbed
from mfs_transport.testbed.outcome import Outcome
from mfs_transport.testbed.vllm import report as vllm

ROOT = Path(__file__).parent.parent
BENCHES = sorted(path for path in (ROOT / "bench").glob("*.py") if path.name[0] != "_")
WIDTHS = (80, terminal.PIPE_WIDTH)
NAN = math.nan


def text_of(shown: Any, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(shown)
    return out.getvalue()


def words_of(text: str) -> list[str]:
    return text.split()


# --- a table that fits ---


def wide() -> Table:
    table = Table("name", Column("most", 2), Column("least", 1), "number that stays")
    table.add_row("one", "m" * 20, "l" * 20, "1")
    return table


def test_table__headings_fold_first_then_the_least_goes():
    assert "number that stays" in text_of(wide(), 80).splitlines()[0]
    folded = text_of(wide(), 57)
    assert "l" * 20 in folded
    assert "number that stays" not in folded
    narrow = text_of(wide(), 40)
    assert "m" * 20 in narrow
    assert "l" * 20 not in narrow
    assert narrow.splitlines()[-1].strip() == "(no room for: least)"


def test_table__columns_that_stay_go_on_below():
    table = Table("policy", *(f"load {number}" for number in range(20)))
    table.add_row("mfs", *(f"0.{number:03}" for number in range(20)))
    text = text_of(table, 40)
    assert text.count("mfs") > 1
    assert [word for word in words_of(text) if word.startswith("0.")] == [
        f"0.{number:03}" for number in range(20)
    ]


def test_table__words_fold_and_use_what_room_there_is():
    table = Table("name", Column("words", fold=True))
    table.add_row("one", "word " * 36)
    at_80, at_100 = text_of(table, 80).splitlines(), text_of(table, 100).splitlines()
    assert len(at_80) > len(at_100)
    assert text_of(table, 80).split().count("word") == 36


def test_number__that_is_none():
    assert [terminal.number(one, ".1f") for one in (1.25, NAN, math.inf, None)] == [
        "1.2",
        *("-" for _ in range(3)),
    ]


# --- all tables there are, with results that are made up: long names, large and missing numbers ---

LONG = "mixtral-8x22b-with-a-long-name"
POLICIES = ("fair", "mfs_paper+h", "sincronia-h")


def sim_rows() -> list[dict[str, Any]]:
    times = ("ttft_mean_s", "ttft_p50_s", "ttft_p99_s", "collective_mean_s", "earliness_mean_s")
    ports = [f"utilisation_{one}_{way}" for one in ("prefill", "decode") for way in WAYS]
    rows = []
    for place, policy in enumerate(POLICIES):
        for load in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
            for seed in range(2 if place else 1):
                rows.append(
                    {
                        **dict.fromkeys(times, (0.0001234, NAN, math.inf)[place]),
                        **dict.fromkeys(("ttft_kept_mean_s", "ttft_kept_p99_s"), NAN),
                        **{f"ttft_slos_{name}": 1234.5 for name in ("mean", "p50", "p99")},
                        **dict.fromkeys(ports, 0.5),
                        "policy": policy,
                        "load": load,
                        "rate": 123456.7 * load,
                        "seed": seed,
                        "shed": 123456,
                        "attainment": (0.0, NAN, 1 - load)[place],
                        "utilisation": 0.5,
                        "requests": 1_000_000,
                        "events": 10**10,
                        "flows": 10**10,
                        "seconds": 12345.6,
                        "attainment_by_class": {f"class-{n}": 0.5 for n in range(9)},
                    }
                )
    return rows


def bed_rows() -> list[dict[str, Any]]:
    measured = ("attainment", "ttft_mean_s", "ttft_p99_s", "collective_mean_s", "earliness_mean_s")
    return [
        {
            **dict.fromkeys(measured, value),
            **{f"predicted_{name}": value for name in measured},
            "workload": "conversation",
            "policy": policy,
            "seed": seed,
            "rate": 123.4,
            "cpu_bound": seed == 0,
        }
        for policy, value in zip(POLICIES, (0.0, NAN, 123.4), strict=True)
        for seed in range(4)
    ]


WAYS = ("egress", "ingress")
CASE = (
    "paper-simulation",
    LONG,
    f"mooncake:/a/long/folder/{LONG}.jsonl",
    "3x",
    "sender+pressure",
    0.3,
)
CASE_KEYS = ("cluster", "model", "workload", "slo", "enforcement")
INTERVAL = Interval(0.123456, 0.0123, 5)
NO_INTERVAL = Interval(NAN, NAN, 0)


def story() -> explain.Story:
    pieces = tuple(
        explain.Piece(what, 10, place / 7, place / 7 + 0.1)
        for place, what in enumerate(explain.WORDS)
    )
    return explain.Story(
        *(12345, 0.0, 1.0, 0.5, 0.1, 3, 12344, pieces, (1, 2)),
        worst=(("collective", 11, 1.234567, NAN),),
        longest=pieces[1],
        beside=(("kv_reuse", 12, 1e12),),
    )


def outcome(policy: str, seed: int) -> Outcome:
    return Outcome(
        *(policy, seed, 0.0 if policy == "off" else 1.0, 12.34, 12.34, 123.45, 0.1, 10**10, 1234.5),
        *(1e9, 1000, 0, [1.0], [1.0], {}),
    )


def vllm_row() -> dict[str, Any]:
    times = dict.fromkeys(("ttft_mean_s", "ttft_p50_s", "ttft_p99_s"), 123.456)
    return {
        "slo_class": "a-long-class",
        "policy": "mfs_paper",
        "slo_ttft_s": 12.5,
        **times,
        "attainment": 1.0,
        "attainment_by_run": [0.0, 1.0],
        "requests": 12345,
        "mismatched_outputs": 12345,
    }


EVENT = Event(
    *(10**12, "queued", "cmpl-" + "0" * 36, "collective", 1234, 3, 8, 10**10, 10**10, 10**9),
    *(True, "mlx5_0", "egress", 4194304, "late", -(10**12), 10**11, ""),
)


def trace_lines(width: int) -> str:
    shown = trace.columns(width)
    return trace.heading(shown) + "\n" + trace.line(EVENT, 0, shown, width)


BENCH_ROWS: dict[str, list[dict[str, Any]]] = {
    "chaos": [
        {
            "scene": "ucx-one",
            "fault": "clock-namespace",
            "problem": "",
            "hang": False,
            **dict.fromkeys(("verified_bytes", "failed_bytes", "wrong_bytes"), 123456789012),
        }
    ],
    "contend": [
        {
            "scene": "process",
            "system": "mooncake",
            "alone_ms": 123456.7,
            "ratio": NAN,
            **dict.fromkeys(("contended_ms", "contended_min_ms", "contended_max_ms"), 1234567.8),
            "rate_MBps": 12345.6,
        }
    ],
    "core": [
        {
            "name": "mfs_paper",
            "operations": 10**6,
            "flows": 10**5,
            "ns_per_pair": 12345.6,
            "instructions_per_pair": None,
            "bytes_per_operation": 1234,
            "allocations": 12,
        }
    ],
    "soak": [
        {
            "process": "ucx1 receives",
            **dict.fromkeys(("own_KiB_middle", "own_KiB_end", "own_KiB_per_hour"), 12345678.9),
            **dict.fromkeys(("rss_KiB_middle", "rss_KiB_end"), 12345678),
            **dict.fromkeys(("descriptors_middle", "descriptors_end"), 1234),
        }
    ],
    "faults": [
        {
            "fault": "kill_locked",
            "count": 10000,
            "stall_median_ms": NAN,
            "stall_p99_ms": 12345.6,
            "stall_max_ms": 12345.6,
            "silence_max_ms": 12345.6,
            "away_max_ms": 12345.6,
            "given_back_max_ms": 12345.6,
        }
    ],
    "nccl": [
        {
            "operation": "bandwidth",
            "transport": "tcp",
            "size_bytes": 1 << 30,
            "off": 12345.67,
            "mfs": NAN,
            "unit": "MB/s",
            "ratio": 1.0,
            "against": "ucx_perftest",
        }
    ],
    "hosts": [
        {
            "case": "incast",
            "variant": "exchange",
            "collective_p99_ratio": 1234.5,
            **dict.fromkeys(("reads_share", "on_time", "agent_cpu_share", "link_share"), 1.0),
        }
    ],
    "late": [
        {
            "case": "stopped",
            "way": "put",
            "look_ms": look_ms,
            "variant": variant,
            "share_of_link": 0.9876,
            **dict.fromkeys(("ratio_to_off", "ratio_to_off_least", "ratio_to_off_most"), ratio),
            "after_stop_ratio": ratio,
        }
        for look_ms, variant, ratio in ((0.25, "off", None), (1000.0, "learned", 12.345))
    ],
    "agents": [
        {
            "case": "incast",
            "hosts": 32,
            "agents": 64,
            "changes_per_s": 32000.0,
            **dict.fromkeys(("cpu_share", "cpu_share_median", "cpu_share_idle"), 1.0),
            "datagrams_per_s": 123456.7,
            "link_share": 1.0,
        }
    ],
    "nics": [
        {
            "system": system,
            "rounds": 5,
            "alone_ms": 699.4,
            "together_ms": 701.25,
            "times_alone": [1.002] * 8,
            "worst_times_alone": 7.913,
            "used": 0.9938,
            "senders": senders,
        }
        for system, senders in (("plain", {}), ("own", dict.fromkeys("abcdefgh", 1)))
    ],
    "ns3": [
        {
            "case": "incast",
            "variant": "exchange",
            "tcp": "TcpLinuxReno",
            "collective_p99_ratio": 1234.5,
            "reads_share": 0.9876,
            "on_time": 0.9876,
            "link_share": 0.12345,
        }
    ],
    "pods": [
        {
            "system": "shared",
            "case": "rubbish",
            "times_alone": 123.45,
            "cost_ms": -12345.6,
            "wire": 0.987,
            **dict.fromkeys(("ms", "min_ms", "max_ms"), 1234567.8),
        }
    ],
    "sim": [
        {
            "cluster": "1,024 hosts, units of 4",
            "policy": "mfs_paper",
            "requests": 100_000,
            "attainment": 0.9,
            "utilisation": 0.5,
            "events": 10**9,
            "visited_per_event": 123.4,
            "seconds": 12345.6,
            "cpu_seconds": 12345.6,
            "memory_bytes": 10**10,
        }
    ],
    "sim_simgrid": [
        {
            "hosts": 1024,
            "load": 0.8,
            "apart_s": 1e-9,
            "flows_per_s": 1e8,
            "simgrid_flows_per_s": 1e8,
            "times": 1234.5,
        }
    ],
    "stall": [
        {
            "scene": "down-errors",
            "operation": "message",
            "size_bytes": 1 << 26,
            "mfs": 1234.5,
            "stuck": "other",
            "transport": "tcp",
            "policy": "mfs_paper",
            "plain": 1234.5,
            "unit": "MB/s",
            "ratio": 12.5,
            "spread": (10.25, 12.75),
            "met": False,
        }
    ],
    "ucx": [
        {
            "operation": "get_lat",
            "transport": "as set",
            "size_bytes": 1 << 30,
            "off": 123456.7,
            "mfs": 123456.7,
            "unit": "instructions",
            "ratio": 12.5,
            "spread": (0.5, 12.75),
        }
    ],
    "vllm_pull": [
        {
            "variant": "exchange",
            **dict.fromkeys(("collective_p99_ratio", "collective_p50_ratio"), 123.45),
            **dict.fromkeys(("pull_p50_s", "pull_most_s", "xfer_mean_s"), 123.45),
            **dict.fromkeys(("port_share", "reads_share", "cpu_busy"), 1.0),
            "agent_cpu_share": None,
            **dict.fromkeys(("wrong", "answers"), 1234),
            "lost": 0,
            **dict.fromkeys(("valid", "rounds"), 10),
        }
    ],
}

WEIGHTS_ROW = {
    "by": "MFS_WEIGHT",
    "traffic": "no deadline",
    "case": "goes on",
    "shares": [0.1234] * 8,
    "off": 12.345,
    "lost_ms": -12345.6,
    "wire": 0.987,
}

VERDICT = study.Verdict(CASE, 0.85, "sincronia-h", 0.1, 0.9, INTERVAL)
OF_A_TIME = study.Verdict(CASE, 0.85, "sincronia-h", 0.1, 0.9, INTERVAL, "ttft_slos_mean")
SUMMARIES = [
    study.Summary(CASE, 1.5, 2.5, 0.85, 0.75, {"fair": INTERVAL, "karuna": NO_INTERVAL}),
    study.Summary(CASE, NAN, NAN, NAN, NAN, {}),
]
TABLES = {
    "sim run": lambda width: report.one(sim_rows()[15]),
    "sim compare": lambda width: report.compare(sim_rows(), "fair"),
    "sim compare, another base": lambda width: report.compare(sim_rows(), POLICIES[2]),
    "sim compare, mean and tail": lambda width: report.tails(sim_rows()),
    "sim sweep": lambda width: report.over_load(sim_rows()),
    "sim sweep, goodput": lambda width: report.goodput(sim_rows(), "fair"),
    "sim sweep --judge": lambda width: study.promises(SUMMARIES),
    "sim sweep --judge, counts": lambda width: study.counts([VERDICT, OF_A_TIME]),
    "sim sweep --judge, losses": lambda width: study.losses([VERDICT]),
    "sim sweep --changes": lambda width: against.changes(sim_rows(), "fair"),
    "sim sweep --beyond": lambda width: against.changes(sim_rows(), POLICIES[2], "fair"),
    "sim sweep --ratios": lambda width: against.ratios(
        [{**row, **dict(zip(CASE_KEYS, CASE, strict=False))} for row in sim_rows()], POLICIES[2]
    ),
    "sim sweep --best": lambda width: study.tuned(
        [study.Best("mfs", NAN, f"mfs,{LONG}=1,{LONG}=2,{LONG}=3", NAN, 12)]
    ),
    "sim explain": lambda width: explain.table(story()),
    "sim explain, words": lambda width: explain.summary(story()),
    "sim explain, flows": lambda width: explain.delays(story()),
    "demo": lambda width: testbed.table(
        [outcome(policy, seed) for policy in ("off", "edf_paper") for seed in range(3)]
    ),
    "testbed compare": lambda width: results.measured(bed_rows()),
    "testbed compare, changes": lambda width: results.changes(bed_rows(), POLICIES[0]),
    "testbed compare, simulator": lambda width: results.agreement(bed_rows()),
    "testbed compare, choices": lambda width: paired.table(
        [
            *({**row, "choices": dict.fromkeys(paired.ASKED, 12345)} for row in bed_rows()),
            *({**row, "policy": f"{row['policy']}, slack, decode fit"} for row in bed_rows()),
        ],
        [(f"{policy}, slack, decode fit", policy) for policy in POLICIES],
    ),
    "vllm-demo": lambda width: vllm.table([vllm_row()]),
    "info": lambda width: info.grid([("MFS_SEGMENT", "/a" * 100, "environment", "words " * 30)]),
    "trace": trace_lines,
    "bench pods --weights": lambda width: benches.load("_pods_weights").table([WEIGHTS_ROW]),
    **{
        f"bench {name}": lambda width, name=name: benches.load(name).table(BENCH_ROWS[name])
        for name in BENCH_ROWS
    },
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_tables__fit_and_are_whole(name: str, width: int):
    text = text_of(TABLES[name](width), width)
    for line in text.splitlines():
        assert cell_len(line) <= width, line
    assert "…" not in text
    assert "..." not in text
    assert not re.search(r"\bnan\b|(?<!/ )\binf\b", text, re.I), text


SIM_REPORTS = ("one", "compare", "tails", "over_load", "goodput")


def test_tables__all_are_walked_over():
    made = set()
    for path in [*(ROOT / "mfs_transport").rglob("*.py"), *(ROOT / "bench").glob("*.py")]:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.table":
                assert path.name == "terminal.py", f"{path}: rich's own tables are cut"
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(one, ast.Call)
                and isinstance(one.func, ast.Name)
                and one.func.id == "Table"
                for one in ast.walk(node)
            ):
                made.add(f"{path.relative_to(ROOT).with_suffix('')}:{node.name}")
    walked = {f"bench/{name}:table" for name in BENCH_ROWS} | {
        "bench/_pods_weights:table",
        *(f"mfs_transport/sim/report:{one}" for one in SIM_REPORTS),
        *(f"mfs_transport/sim/study:{one}" for one in ("promises", "counts", "losses", "tuned")),
        *(f"mfs_transport/sim/against:{one}" for one in ("changes", "ratios")),
        *(f"mfs_transport/sim/explain:{one}" for one in ("table", "delays")),
        *("mfs_transport/testbed/report:table", "mfs_transport/testbed/vllm/report:table"),
        *(f"mfs_transport/testbed/results:{one}" for one in ("measured", "changes", "agreement")),
        "mfs_transport/testbed/paired:table",
        "mfs_transport/commands/info:grid",
    }
    run = {  # by commands that are quick: test_commands__fit
        "mfs_transport/commands/bench:command",
        "mfs_transport/commands/sim:list_all",
        "mfs_transport/commands/top:port_table",  # tests/test_cli_top.py
        "mfs_transport/commands/top:process_table",
        "mfs_transport/commands/slack:table",  # tests/test_observe_slack.py
        "mfs_transport/commands/agent:peer_table",  # tests/test_cli_agent.py
        "mfs_transport/commands/info:far_table",  # tests/test_cli_info.py
        "mfs_transport/commands/dump:table",  # tests/test_cli_dump.py
        "mfs_transport/observe/explain:beside_table",  # tests/test_observe_explain.py
        "mfs_transport/commands/doctor:show",
        "mfs_transport/sim/explain:listing",
    }
    assert made == walked | run


COMMANDS = (
    ("sim", "list"),
    ("sim", "explain", "--requests", "40", "--warmup", "10", "--list", "3"),
    ("info",),
    ("bench",),
)


@pytest.fixture(params=[80, None])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """What a command in a pipe has."""
    monkeypatch.setenv("MFS_SEGMENT", str(tmp_path / "segment"))
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param or terminal.PIPE_WIDTH


def check_fits(text: str, width: int) -> None:
    assert text
    assert "…" not in text
    for line in text.splitlines():
        assert cell_len(line) <= width, line


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands__fit(arguments: tuple[str, ...], columns: int):
    done = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    check_fits(done.stdout, columns)


def test_doctor__fits(columns: int, capsys: pytest.CaptureFixture[str]):
    checks = [Check("interception", "FAIL", "words " * 30 + "/a" * 60, "do this " * 30)]
    doctor.show(checks, "as it is")
    check_fits(capsys.readouterr().out, columns)


# --- help ---


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_help__of_a_bench_fits_and_examples_stand_as_they_are(path: Path):
    module = benches.load(path.stem)
    text = module.__doc__  # argparse shows it as it is
    if isinstance(module.main, click.Command):
        text = CliRunner().invoke(module.main, ["--help"], terminal_width=80).output
    for line in text.splitlines():
        assert cell_len(line) <= 80, line
    examples = [line for line in module.__doc__.splitlines() if line.startswith("    ")]
    assert any(f"mfs bench {path.stem}" in line for line in examples)
    for line in examples:
        assert line in text


def commands_of(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            yield from commands_of(inner, (*words, name))


@pytest.mark.parametrize("words", list(commands_of(group)), ids=" ".join)
def test_help__fits(words: tuple[str, ...]):
    done = CliRunner().invoke(group, [*words, "--help"], terminal_width=80)
    assert done.exit_code == 0
    check_fits(done.output, 80)


def test_completion__of_commands_and_benches():
    def completed(*words: str) -> list[str]:
        env = {"_MFS_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("mfs", *words))}
        done = CliRunner().invoke(
            group, [], prog_name="mfs", env={**env, "COMP_CWORD": str(len(words))}
        )
        return [line.partition(",")[2] for line in done.output.splitlines()]

    assert completed("ex") == ["explain", "exporter"]
    assert completed("bench", "ucx") == ["ucx"]


# --- progress in a pipe ---


def test_progress__a_line_at_once_and_then_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now_s = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now_s[0])
    seen = []
    for item in terminal.track(range(20), "pairs"):
        seen.append(item)
        if item == 0:
            assert capsys.readouterr().err == "pairs\n"
        now_s[0] += 1.0
    told = capsys.readouterr().err.splitlines()
    assert seen == list(range(20))
    assert told == [f"pairs {n + 1} of 20, {5 * n} %" for n in (5, 10, 15)]


def test_status__is_said_in_a_pipe(capsys: pytest.CaptureFixture[str]):
    with terminal.status("compiling"):
        assert capsys.readouterr().err == "compiling\n"


def test_benches__show_progress_by_what_a_pipe_shows():
    for path in BENCHES:
        source = path.read_text()
        assert "rich.progress" not in source, path
        assert "console.status" not in source, path


# --- what is missing is said before the run ---


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mfs` where that module is not installed."""
    program = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        f"u.find_spec = lambda name, *more: None if name == {module!r} else find(name, *more)\n"
        "from mfs_transport.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_plot__without_matplotlib(tmp_path: Path):
    done = without("matplotlib", "sim", "run", "--plot", str(tmp_path / "p.png"))
    assert done.returncode == 2
    assert "matplotlib is not installed" in done.stderr
    assert "pip install" in done.stderr
    assert "simulating" not in done.stdout + done.stderr


def test_demo__without_nixl(tmp_path: Path):
    done = without("nixl", "demo", "--plot", str(tmp_path / "p.png"))
    assert done.returncode == 2
    assert "NIXL is not installed" in done.stderr
    assert "pip install" in done.stderr
