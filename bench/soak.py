# SPDX-License-Identifier: Apache-2.0
"""Mixed traffic for hours: does anything leak, and is every byte where it belongs?

    mfs bench soak --hours 2 --json out/soak.json --plot out/soak.png
    mfs bench soak --read out/soak.json --plot docs/soak.png

On one port of loopback that the shim paces, in one segment, live all the time

    ucx1, ucx2    pairs of processes: puts, gets and tagged messages of
                  8 bytes to 4 MiB, in bursts
    nccl          two ranks with the net plug-in, which connect anew after
                  every 100 bursts
    control       registers requests, tells of their progress, finishes them

and beside them young ones come and go: pairs of the first two kinds that work for some seconds and
end, or whose sender or receiver is killed (SIGKILL). Every byte says which transfer it is of, and
is looked at where it arrives. It is light traffic: about a fifth of a core.

The exit status is 1 if in the second half of the run a process that lives all the time grows (its
own memory by more than 1 MiB an hour, by the line through its samples; its descriptors over what
they were in the second quarter), if more of the segment is in use in the last quarter than in the
second (by more than a fifth), or anything at all when all have ended; if bytes posted are not bytes
verified and bytes failed (those that a killed process had under way), or not what the segment's
counters say; if a byte is wrong; if somebody stands still for five minutes. Runs of less than ten
minutes say nothing of growth.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _soak_judge as judge
import _soak_world as world
import click
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import PictureFile, ResultFile
from mfs_transport.native import NCCL_PLUGIN, UCX_SHIM, InputError
from mfs_transport.terminal import Column, Table, help_of, make_console, progress

PAUSE_S = 0.2  # between bursts, on average
YOUNG = ("ucx", "ucx", "ucx-kill-sender", "ucx-kill-receiver", "nccl")
YOUNG_EVERY_S = 6.0
STILL_S = 300.0  # whoever moves nothing for so long hangs
KEEP_S = 300.0  # between two writes of the results of a run that goes on


@dataclass
class Pair:
    """Two processes and their accounts."""

    name: str
    slot: int
    process: subprocess.Popen[bytes]
    begun_s: float
    kill_s: float | None = None  # when one of them is killed; None: never
    victim: int = 0  # 0: the sender, 1: the receiver
    moved: tuple[int, float] = (0, 0.0)  # bursts, and when it last had one more
    killed: bool = False


@dataclass
class Soak:
    folder: Path
    seconds: float
    chance: random.Random
    env: dict[str, str]
    accounts: world.Accounts
    stack: ExitStack
    pairs: list[Pair] = field(default_factory=list)
    young: dict[str, int] = field(default_factory=lambda: dict.fromkeys(YOUNG, 0))
    samples: list[judge.Sample] = field(default_factory=list)
    next_slot: int = 0

    def pair(self, name: str, kind: str, slot: int, seconds: float, last: int) -> Pair:
        command = [str(self.folder / f"soak_{kind}"), str(self.accounts.path), str(slot)]
        command += [str(seconds), str(self.chance.getrandbits(32)), str(PAUSE_S), str(last)]
        env = dict(self.env)
        if kind == "nccl":
            command += [str(NCCL_PLUGIN), "-1"]
        else:
            env["LD_PRELOAD"] = str(UCX_SHIM)
        process = subprocess.Popen(command, env=env)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        now = time.monotonic()
        found = Pair(name, slot, process, now, moved=(0, now))
        self.pairs.append(found)
        return found

    def start(self) -> None:
        for slot, name in enumerate(("ucx1", "ucx2", "nccl")):
            kind = name.rstrip("12")
            # pairs over UCX keep their connection: UCX itself leaves a socket behind at each close
            last = 100 if kind == "nccl" else 1  # bursts of a connection; receivers
            self.pair(name, kind, 2 * slot, self.seconds, last)
        command = [sys.executable, str(world.HERE / "_soak_control.py"), str(self.seconds), "1"]
        self.control = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True)
        self.segment = subprocess.Popen(
            [str(self.folder / "soak_segment"), self.env["MFS_SEGMENT"]],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in (self.control, self.segment):
            self.stack.callback(process.wait)
            self.stack.callback(process.kill)

    def spawn(self) -> None:
        """A young pair, of a kind that is drawn."""
        kind = self.chance.choice(YOUNG)
        self.young[kind] += 1
        self.next_slot = (self.next_slot + 1) % (world.SLOTS // 2 - 8)
        seconds = self.chance.uniform(0.5, 4.0)
        young = self.pair(kind, kind.split("-")[0], 16 + 2 * self.next_slot, seconds, 1)
        if "kill" in kind:
            young.kill_s = self.chance.uniform(0.2, seconds)
            young.victim = 1 if kind.endswith("receiver") else 0

    def use(self, order: str = "") -> dict[str, int]:
        """What is in use of the segment, and its counters; see bench/soak_segment.c."""
        assert self.segment.stdin
        assert self.segment.stdout
        self.segment.stdin.write(f"{order}\n")
        self.segment.stdin.flush()
        words = self.segment.stdout.readline().split()
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))

    def watch(self) -> None:
        """Kill whose moment has come, and look after those that have ended."""
        now = time.monotonic()
        for pair in list(self.pairs):
            bursts = self.accounts.of(pair.slot)["bursts"]
            if bursts != pair.moved[0]:
                pair.moved = bursts, now
            # not in the first burst: UCX itself may wait for ever for who dies while it connects
            if pair.kill_s is not None and now - pair.begun_s > pair.kill_s and bursts > 0:
                pair.kill_s, pair.killed = None, True
                os.kill(self.accounts.of(pair.slot + pair.victim)["pid"], signal.SIGKILL)
            status = pair.process.poll()
            # of two that end together the receiver may be the last
            if status is None or world.lives(self.accounts.of(pair.slot + 1)["pid"]):
                if now - pair.moved[1] > STILL_S:
                    raise world.Failed(f"{pair.name} stands still")
                continue
            # one that was killed may have been over in the same moment
            died = pair.killed and pair.victim == 0 and status == -signal.SIGKILL
            if status != 0 and not died:
                raise world.Failed(f"{pair.name} has ended with {status}")
            self.pairs.remove(pair)
            self.accounts.close(pair.slot, pair.killed)

    def sample(self, at_s: float) -> None:
        pids = {"control": self.control.pid}
        for pair in self.pairs[:3]:
            name = pair.name
            ends = ("sends", "receives") if name != "nccl" else ("rank0", "rank1")
            for index, end in enumerate(ends):
                pids[f"{name} {end}"] = self.accounts.of(pair.slot + index)["pid"]
        if not all(map(world.lives, pids.values())):  # at the start, and at the end
            return
        processes = {name: world.memory(pid) for name, pid in pids.items()}
        totals = self.accounts.totals([pair.slot for pair in self.pairs])
        one = {"s": at_s, "processes": processes, "segment": self.use(), "totals": totals}
        self.samples.append(one)


# --- the run ---


def document_of(
    soak: Soak, seconds: float, wrong: list[str], use: dict[str, int]
) -> dict[str, Any]:
    totals = soak.accounts.totals([pair.slot for pair in soak.pairs])
    cpu = os.times()
    return {
        "seconds": seconds,
        "wrong": wrong,
        "totals": totals,
        "young": soak.young,
        "segment": use,
        "cpu_share": (cpu.children_user + cpu.children_system) / seconds if seconds else 0.0,
        "pace_Bps": world.PACE_BPS,
        "samples": soak.samples,
    }


def run(hours: float, every_s: float, seed: int, json_path: Path | None) -> Any:
    """The document of a run, as it is written."""
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else None
    wrong: list[str] = []
    use: dict[str, int] = {}

    def keep(soak: Soak, at_s: float) -> dict[str, Any]:
        document = document_of(soak, at_s, wrong, use)
        rows = judge.rows(soak.samples) if soak.samples else []
        if json_path:
            json_report.write(json_path, rows, **document)
        return {**document, "results": rows}

    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mfs-soak-", dir=place))
        )
        world.compile_(folder)
        soak = Soak(
            folder,
            3600 * hours,
            random.Random(seed),
            world.environment(folder),
            world.Accounts(folder),
            stack,
        )
        tell = stack.enter_context(progress("soak", soak.seconds))
        soak.start()
        begun = time.monotonic()
        next_young = next_sample = 0.0
        next_keep = KEEP_S
        try:
            while soak.pairs:
                at_s = time.monotonic() - begun
                tell(min(at_s, soak.seconds), f"soak, {at_s / 60:.0f} min")
                soak.watch()
                if at_s >= next_young and at_s < soak.seconds - 10:
                    next_young = at_s + soak.chance.uniform(0.5, 1.5) * YOUNG_EVERY_S
                    soak.spawn()
                if at_s >= next_sample and at_s < soak.seconds:
                    next_sample = at_s + every_s
                    soak.sample(at_s)
                if at_s >= next_keep:
                    next_keep = at_s + KEEP_S
                    keep(soak, at_s)
                time.sleep(0.2)
            said, _ = soak.control.communicate(timeout=STILL_S)
            control = json.loads(said)
            if control["registered"] != control["finished"]:
                wrong.append(f"control: {control}")
            use = soak.use("e")
            wrong += judge.left_behind(use)
            kills = sum(number for kind, number in soak.young.items() if "kill" in kind)
            wrong += judge.counted_otherwise(use, soak.accounts.past["posted_bytes"], kills)
            if use["faults"]:
                wrong.append(f"segment: {use['faults']} internal errors were counted")
        except (world.Failed, subprocess.TimeoutExpired) as error:
            wrong.append(str(error))
        seconds = time.monotonic() - begun
        wrong += judge.grown(soak.samples, soak.seconds) if soak.samples else []
        wrong += judge.not_adding_up(soak.accounts.totals([pair.slot for pair in soak.pairs]))
        return keep(soak, seconds)


def table(rows: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("process", left=True),
        *(Column(one) for one in ("own MiB", "end", "KiB/h", "RSS MiB", "end", "fds", "end")),
    )
    for one in rows:
        view.add_row(
            one["process"],
            *(f"{one[f'own_KiB_{when}'] / 1024:.1f}" for when in ("middle", "end")),
            f"{one['own_KiB_per_hour']:.0f}",
            *(f"{one[f'rss_KiB_{when}'] / 1024:.1f}" for when in ("middle", "end")),
            *(str(one[f"descriptors_{when}"]) for when in ("middle", "end")),
        )
    return view


def show(document: dict[str, Any]) -> None:
    console = make_console()
    console.print(table(document["results"]))
    totals = document["totals"]
    out = ", ".join(
        f"{totals[f'{word}_bytes'] / 1e6:.3f} {word}" for word in ("verified", "failed", "wrong")
    )
    console.print(
        f"{document['seconds'] / 3600:.2f} h, {totals['operations']} transfers, "
        f"{sum(document['young'].values())} young pairs, {document['cpu_share']:.2f} cores"
    )
    console.print(f"MB: {totals['posted_bytes'] / 1e6:.3f} posted = {out}")
    console.print("\n".join(document["wrong"]) or "nothing grows, nothing is lost")


@click.command(help=help_of(__doc__))
@click.option("--hours", default=2.0, show_default=True, type=click.FloatRange(0.002, 1000))
@click.option("--every", default=10.0, show_default=True, help="Seconds between two samples.")
@click.option("--seed", default=1, show_default=True, help="Of sizes, pauses, lives and deaths.")
@click.option("--read", "read", type=click.Path(exists=True, path_type=Path), help="Run nothing.")
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON, with all samples.")
@click.option("--plot", type=PictureFile(), help="Memory, descriptors, segment, bytes, over time.")
def main(
    hours: float,
    every: float,
    seed: int,
    read: Path | None,
    json_path: Path | None,
    plot: Path | None,
) -> None:
    if not 0.1 <= every <= 600:
        raise click.UsageError(f"--every {every!r}: from 0.1 to 600 seconds")
    for library in (UCX_SHIM, NCCL_PLUGIN):
        if not library.exists():
            sys.exit(f"bench/soak.py: {library} is not built: pip install -e .")
    if read:
        try:
            document = json.loads(read.read_text())
            document["samples"], document["totals"], document["wrong"]
        except (ValueError, KeyError) as error:
            raise InputError(f"{read}: no results of a soak: {error}") from None
    else:
        document = run(hours, every, seed, json_path)
    show(document)
    if plot and document["samples"]:
        judge.draw(document, plot)
    sys.exit(1 if document["wrong"] else 0)


if __name__ == "__main__":
    begin(main)
