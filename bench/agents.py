# SPDX-License-Identifier: Apache-2.0
"""What an agent costs: processor time of agents whose hosts' levels change.

Hosts are addresses of loopback with a segment and a real agent each. What
their senders want of each other is written into the segments by a program in
C (agents_load.c), and the level of one claim of each host changes --changes
times a second:

    incast  all that have traffic want the port of the first, which judges
    all     each wants the port of each

--hosts of them have traffic; the other agents, up to --agents, are known to
all and have none. cpu_share is of one core, by the kernel's count of what the
process and the system for it have used; datagrams are those it sends,
link_share what they are of a link of 1 Gbit/s, at 400 bytes with headers.

    mfs bench agents --json out/agents.json
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.exchange.seal import new_key
from mfs_transport.terminal import Column, Table, help_of, make_console, number

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror"]
PORT = 9755
LINK_BPS = 125e6
FRAME_BYTES = 400
PATTERNS = ("incast", "all")
TICKS = os.sysconf("SC_CLK_TCK")


def compile_load(folder: Path) -> Path:
    program = folder / "agents_load"
    sources = [Path(__file__).with_name("agents_load.c")]
    sources += [path for floor in ("core", "host") for path in (ROOT / "csrc" / floor).glob("*.c")]
    command = [*shlex.split(os.environ.get("CC", "gcc")), *FLAGS, f"-I{ROOT / 'csrc'}"]
    subprocess.run([*command, "-o", str(program), *map(str, sources), "-lm"], check=True)
    return program


class Agents:
    """That many, each on an address of its own."""

    def __init__(self, count: int, folder: Path) -> None:
        key = folder / "key"
        key.write_text(new_key())
        key.chmod(0o600)
        self.segments = [folder / f"host-{n}" for n in range(count)]
        self.peers = ",".join(f"127.0.0.{n + 1}:{PORT}" for n in range(count))
        self.processes: list[subprocess.Popen[bytes]] = []
        for n, segment in enumerate(self.segments):
            environ = {
                **os.environ,
                "MFS_SEGMENT": str(segment),
                "MFS_PEERS": self.peers,
                "MFS_AGENT_KEY_FILE": str(key),
                "MFS_AGENT_ADDRESS": f"127.0.0.{n + 1}:{PORT}",
                "MFS_PORT_RATE": "1Gbit",
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            command = [sys.executable, "-m", "mfs_transport", "agent", "--stays"]
            self.processes.append(subprocess.Popen(command, env=environ))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def state(self, place: int) -> dict[str, Any]:
        path = self.segments[place]
        try:
            found: dict[str, Any] = json.loads(
                path.with_name(path.name + ".agent.json").read_text()
            )
        except (OSError, ValueError):
            return {}
        return found

    def wait(self, first: int, seconds: float) -> None:
        """Until the first so many know all others."""
        ends = time.monotonic() + seconds
        while any(
            len(self.state(n).get("peers", [])) < len(self.segments) - 1 for n in range(first)
        ):
            if time.monotonic() > ends:
                sys.exit("error: the agents do not find each other")
            time.sleep(0.2)

    def cpu_s(self, place: int) -> float:
        fields = Path(f"/proc/{self.processes[place].pid}/stat").read_text().rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / TICKS


def measure(
    program: Path, pattern: str, hosts: int, agents: int, changes: float, seconds: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mfs-agents-") as name:
        made = Agents(agents, Path(name))
        try:
            made.wait(hosts, 60 + 3 * agents)
            segments = map(str, made.segments[:hosts])
            load = subprocess.Popen(
                [str(program), pattern, str(seconds + 2), str(changes), *segments],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert load.stdout
            if load.stdout.readline().strip() != "ready":
                sys.exit("error: agents_load did not begin")
            time.sleep(1)
            before = [(made.cpu_s(n), made.state(n)["counts"]) for n in range(agents)]
            began = time.monotonic()
            time.sleep(seconds)
            span = time.monotonic() - began
            after = [(made.cpu_s(n), made.state(n)["counts"]) for n in range(agents)]
            done = int(load.communicate()[0])
        finally:
            made.end()
    cpu = [(now[0] - was[0]) / span for was, now in zip(before, after, strict=True)]
    counts = [(was[1]["sent"], now[1]["sent"]) for was, now in zip(before, after, strict=True)]
    sent = [(now - was) / span for was, now in counts]
    return {
        "case": pattern,
        "hosts": hosts,
        "agents": agents,
        "changes_per_s": done / (seconds + 2),
        "cpu_share": max(cpu[:hosts]),
        "cpu_share_median": statistics.median(cpu[:hosts]),
        "cpu_share_idle": statistics.median(cpu[hosts:]) if agents > hosts else None,
        "datagrams_per_s": max(sent[:hosts]),
        "link_share": max(sent[:hosts]) * FRAME_BYTES / LINK_BPS,
    }


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("case", left=True),
        *(Column(one) for one in ("hosts", "agents", "changes/s")),
        *(Column(one, 1) for one in ("busiest % of core", "median %", "idle %")),
        *(Column(one) for one in ("datagrams/s", "% of link")),
    )
    for one in records:
        shares = (
            number(None if one[name] is None else 100 * one[name], ".2f")
            for name in ("cpu_share", "cpu_share_median", "cpu_share_idle")
        )
        view.add_row(
            one["case"],
            *(number(one[name], ".0f") for name in ("hosts", "agents", "changes_per_s")),
            *shares,
            number(one["datagrams_per_s"], ".0f"),
            number(100 * one["link_share"], ".2f"),
        )
    return view


@click.command(help=help_of(__doc__))
@click.option("--case", "cases", multiple=True, type=click.Choice(PATTERNS), default=PATTERNS,
              help="Which; both if not given.")  # fmt: skip
@click.option("--hosts", default=8, show_default=True, type=click.IntRange(2, 32),
              help="With traffic.")  # fmt: skip
@click.option("--agents", default=8, show_default=True, type=click.IntRange(2, 64),
              help="That know each other.")  # fmt: skip
@click.option("--changes", default=125.0, show_default=True, type=click.FloatRange(0, 1000),
              help="Of levels, a second and host.")  # fmt: skip
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(1, 600))
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
def main(
    cases: tuple[str, ...],
    hosts: int,
    agents: int,
    changes: float,
    seconds: float,
    json_path: Path | None,
) -> None:
    agents = max(agents, hosts)
    with tempfile.TemporaryDirectory(prefix="mfs-agents-") as folder:
        program = compile_load(Path(folder))
        records = [
            measure(program, case, hosts, agents, changes, seconds) for case in dict.fromkeys(cases)
        ]
    make_console().print(table(records))
    if json_path:
        json_report.write(json_path, records, seconds=seconds, link_Bps=LINK_BPS)


if __name__ == "__main__":
    begin(main)
