# SPDX-License-Identifier: Apache-2.0
"""The scenes and faults of bench/chaos.py: pairs of processes on emulated hosts.

host left ====== fabric ====== host sick       the pair that is hit
  both senders     |
                   +========== host well       the one that is not
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _soak_judge as judge
import _soak_world as world

from mfs_transport.native import NCCL_PLUGIN, UCX_SHIM
from mfs_transport.testbed import network

HERE = Path(__file__).resolve().parent
HOSTS = ("left", "sick", "well")
LIMIT_S = 90.0  # whatever takes longer hangs; everything together takes two seconds
PAUSE_S = 0.005
PLACE_BYTES = 48 << 20  # of the file system of the left host's segment
JUMPS_S = (3600.0, 1.0, 0.05, -0.05, -1.0, -3600.0)
WORLD_S = 86_400 * 3  # how far the clock of another time namespace is ahead

SCENES = {  # the pair that is hit, and the one beside it; one: both are of the same sender
    "ucx": ("ucx", "ucx"),
    "ucx-one": ("ucx", "one"),
    "nccl": ("nccl", "nccl"),
    "mixed": ("nccl", "ucx"),
    "nixl": ("nixl", "ucx"),
}


class Hang(Exception):
    """Somebody has not done in time what was to be done."""


class Wrong(Exception):
    """A promise was broken."""


@dataclass
class Pair:
    """A sender and a receiver, or two ranks: their accounts, and the process that started them."""

    name: str
    kind: str
    slot: int
    process: subprocess.Popen[bytes]


@dataclass
class Scene:
    """One round. What `chance` gives is drawn in the same order each time."""

    chance: random.Random
    hosts: network.Namespaces
    places: dict[str, network.Place]
    programs: Path
    folder: Path  # of this round
    accounts: world.Accounts
    scene: str
    fault: str
    policy: str
    victim: str | None = None
    pairs: dict[str, Pair] = field(default_factory=dict)
    undo: list[Callable[[], None]] = field(default_factory=list)
    late: bool = False  # the machine was so busy that nobody was left to be hit

    # --- processes ---

    def environment(self, host: str) -> dict[str, str]:
        env = {
            **world.environment(self.folder),
            "UCX_NET_DEVICES": "eth0",
            "NCCL_SOCKET_IFNAME": "eth0",
            "MFS_SEGMENT": str(self.segment(host)),
            "MFS_PORT": "eth0",
            "MFS_POLICY": self.policy,
            "MFS_LOG": "0",
        }
        del env["MFS_PACE"], env["MFS_PORT_RATE"]
        if self.fault.startswith("clock-") and self.fault != "clock-namespace":
            env["LD_PRELOAD"] = str(self.programs / "chaos_clock.so")
            env["CHAOS_CLOCK"] = str(self.folder / "clock")
        if self.fault == "disk-full":
            env["MFS_STATS"] = str(self.folder / "left" / "stats")
            env["MFS_TRACE"] = "1"
        return env

    def segment(self, host: str) -> Path:
        return self.folder / "left" / "segment" if host == "left" else self.folder / host

    def start(self, name: str, kind: str, slot: int, seconds: float, receivers: list[str]) -> None:
        arguments = [str(self.accounts.path), str(slot), str(seconds)]
        arguments += [str(self.chance.getrandbits(32)), str(PAUSE_S)]
        env = self.environment("left")
        env["SOAK_NETNS"] = ",".join(receivers)
        env["SOAK_SEGMENTS"] = ",".join(str(self.segment(one)) for one in receivers)
        shim = [*filter(None, [env.get("LD_PRELOAD")]), str(UCX_SHIM)]
        if kind == "nccl":
            victim = {"kill-sender": "0", "kill-receiver": "1"}.get(self.fault, "-1")
            victim = victim if name == "sick" else "-1"
            command = [str(self.programs / "soak_nccl"), *arguments, "1000000000"]
            command += [str(NCCL_PLUGIN), victim]
            env["WORLD_NETNS"] = ",".join(["left", *receivers])
            env["WORLD_SEGMENTS"] = ",".join([env["MFS_SEGMENT"], env["SOAK_SEGMENTS"]])
        elif kind == "nixl":
            command = [sys.executable, str(HERE / "_chaos_nixl.py"), *arguments, "1"]
            env |= {"LD_PRELOAD": ":".join(shim), "NIXL_LOG_LEVEL": "FATAL"}
            env["NIXL_UCX_DEEPBIND"] = "0"
        else:
            command = [str(self.programs / "soak_ucx"), *arguments, str(len(receivers))]
            env["LD_PRELOAD"] = ":".join(shim)
        if self.fault == "clock-namespace" and name == "sick":
            ahead = ["unshare", "--time", "--monotonic", str(WORLD_S), "--fork", "--kill-child"]
            command = [*ahead, *command]
        process = subprocess.Popen(
            [*self.places["left"].command, *command], env=env, start_new_session=True
        )
        self.pairs[name] = Pair(name, kind, slot, process)

    def bursts(self, name: str) -> int:
        return self.accounts.of(self.pairs[name].slot)["bursts"]

    def pid(self, name: str, end: int) -> int:
        return self.accounts.of(self.pairs[name].slot + end)["pid"]

    def over(self, name: str) -> bool:
        return bool(self.accounts.of(self.pairs[name].slot)["over"])

    def wait(self, what: str, true: Callable[[], bool]) -> None:
        until = time.monotonic() + LIMIT_S
        while not true():
            if time.monotonic() > until:
                raise Hang(what)
            for pair in self.pairs.values():
                status = pair.process.poll()
                if status and not (status == -signal.SIGKILL and self.dies(pair)):
                    raise Wrong(f"{pair.name} ({pair.kind}) has ended with {status}")
            time.sleep(0.01)

    def dies(self, pair: Pair) -> bool:
        """Is the process that we have started the one that is killed?"""
        hit = pair.name == "sick" or pair.process is self.pairs["sick"].process
        return self.fault == "kill-sender" and hit and pair.kind in ("ucx", "one", "nixl")

    # --- faults: each begins here, and leaves in `undo` how it ends ---

    def signalled(self, end: int, first: int, last: int | None) -> None:
        pid = self.pid("sick", end)
        if not world.lives(pid) or self.over("sick"):
            self.late = True
            return
        os.kill(pid, first)
        if last is not None:
            self.undo.append(lambda: os.kill(pid, last))

    def plugged(self, host: str) -> None:
        place = self.places[host]
        self.hosts.plug(place, up=False)
        self.undo.append(lambda: self.hosts.plug(place, up=True))

    def slowed(self, host: str) -> None:
        place = self.places[host]
        self.hosts.slow_down(place, self.chance.choice((5, 20, 100)))
        self.undo.append(lambda: self.hosts.slow_down(place, 1))

    def filled(self) -> None:
        """Not a byte is left where the left host's segment and statistics are."""
        path = self.folder / "left" / "ballast"
        with path.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()

    def removed(self) -> None:
        self.segment("left").unlink()

    def jumped(self, forward: bool) -> None:
        jump_s = self.chance.choice([one for one in JUMPS_S if (one > 0) == forward])
        with (self.folder / "clock").open("r+b") as file:  # it is mapped, so it is not cut first
            file.write(struct.pack("q", int(jump_s * 1e9)))

    def strike(self) -> None:
        {
            "none": lambda: None,
            "kill-sender": lambda: self.signalled(0, signal.SIGKILL, None),
            "kill-receiver": lambda: self.signalled(1, signal.SIGKILL, None),
            "stop-sender": lambda: self.signalled(0, signal.SIGSTOP, signal.SIGCONT),
            "stop-receiver": lambda: self.signalled(1, signal.SIGSTOP, signal.SIGCONT),
            "down": lambda: self.plugged("sick"),
            "down-all": lambda: self.plugged("left"),
            "slow": lambda: self.slowed("sick"),
            "slow-all": lambda: self.slowed("left"),
            "segment-removed": self.removed,
            "segment-full": lambda: (self.removed(), self.filled()),
            "disk-full": self.filled,
            "clock-forward": lambda: self.jumped(True),
            "clock-back": lambda: self.jumped(False),
            "clock-namespace": lambda: None,
        }[self.fault]()

    def heal(self) -> None:
        for one in self.undo:
            with contextlib.suppress(ProcessLookupError):
                one()
        self.undo.clear()

    # --- a round ---

    def prepare(self) -> None:
        place = self.folder / "left"
        place.mkdir(parents=True)
        size = f"size={PLACE_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True)
        (self.folder / "clock").write_bytes(bytes(8))

    def play(self) -> dict[str, Any]:
        """What has been: for how long, and how far the healthy pair got while it lasted."""
        hit, beside = SCENES[self.scene]
        seconds = self.chance.uniform(0.6, 1.2)
        # who is killed is not over before
        hit_seconds = seconds + 2 if self.fault.startswith("kill") else seconds
        if beside == "one":
            self.start("sick", hit, 0, hit_seconds, ["sick", "well"])
            self.pairs["well"] = Pair("well", "one", 2, self.pairs["sick"].process)
        else:
            self.start("sick", hit, 0, hit_seconds, ["sick"])
            self.start("well", beside, 2, seconds, ["well"])
        for name in ("sick", "well"):
            self.wait(f"{name}: no first burst", lambda name=name: self.bursts(name) > 0)
        time.sleep(self.chance.uniform(0, 0.3))
        lasts_s = self.chance.uniform(0.05, 0.8)
        before, begun = self.bursts("well"), time.monotonic()
        self.strike()
        time.sleep(lasts_s)
        same = self.pairs["well"].process is self.pairs["sick"].process
        if not self.fault.endswith("-all") and not (same and self.fault.endswith("-sender")):
            # the others go on: the fault lasts until they have
            self.wait(
                "well stands still while sick is hit",
                lambda: self.bursts("well") >= before + 2 or self.over("well"),
            )
        lasted = time.monotonic() - begun
        during = self.bursts("well") - before
        self.heal()
        healed = time.monotonic()
        for pair in self.pairs.values():
            self.wait(f"{pair.name} does not end", lambda pair=pair: self.ended(pair))
        ended_s = time.monotonic() - healed
        self.start("later", "ucx", 4, 0.1, ["well"])
        self.wait("later does not end", lambda: self.ended(self.pairs["later"]))
        self.left_behind()
        return {
            "lasted_s": lasted,
            "bursts_of_well": during,
            "ended_s": ended_s,
            "late": self.late,
        }

    def left_behind(self) -> None:
        """Of the left host's segment nothing may be in use any more."""
        if not self.segment("left").exists():
            return
        done = subprocess.run(
            [str(self.programs / "soak_segment"), str(self.segment("left"))],
            input="e\n",
            capture_output=True,
            text=True,
            check=False,
        )
        words = done.stdout.split()
        use = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        if not use and self.fault == "segment-full":
            return  # there is a file, and no room to make a segment of it
        wrong = judge.left_behind(use) if use else [f"no segment: {done.stderr.strip()}"]
        if wrong or use["faults"]:
            raise Wrong("; ".join(wrong) or f"{use['faults']} internal errors")

    def ended(self, pair: Pair) -> bool:
        return pair.process.poll() is not None and not any(
            world.lives(self.accounts.of(pair.slot + end)["pid"]) for end in (0, 1)
        )

    def totals(self) -> dict[str, int]:
        """The accounts of the round, after its end; Wrong if they do not add up."""
        kills = self.fault.startswith("kill")
        found = dict.fromkeys(world.SUMS, 0)
        for pair in self.pairs.values():
            ends = [self.accounts.of(pair.slot + end) for end in (0, 1)]
            total = {word: sum(one[word] for one in ends) for word in world.SUMS}
            out = sum(total[f"{word}_bytes"] for word in ("verified", "failed", "wrong"))
            missing = total["posted_bytes"] - out
            hit = kills and (pair.name == "sick" or self.dies(pair))
            if total["wrong_bytes"]:
                raise Wrong(f"{pair.name}: {total['wrong_bytes']} bytes are wrong")
            if not hit and (missing or total["failed_bytes"]):
                raise Wrong(f"{pair.name}: {missing} bytes missing, {total['failed_bytes']} failed")
            # each of two ranks may have had a burst under way
            if not 0 <= missing <= 2 * (16 << 20):
                raise Wrong(f"{pair.name}: {missing} bytes under way when it was killed")
            survivor = [one for end, one in enumerate(ends) if not hit or not self.killed(end)]
            if not all(one["over"] for one in survivor):
                raise Wrong(f"{pair.name}: a survivor has not ended as it should")
            total["failed_bytes"] += missing
            for word in world.SUMS:
                found[word] += total[word]
        return found

    def killed(self, end: int) -> bool:
        return self.fault == ("kill-sender", "kill-receiver")[end]

    def clear(self) -> None:
        """Nothing of the round is left, however it has ended."""
        self.heal()
        for pair in self.pairs.values():
            for end in (0, 1):
                pid = self.accounts.of(pair.slot + end)["pid"]
                if world.lives(pid):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pair.process.pid, signal.SIGKILL)
            pair.process.wait()
        subprocess.run(["umount", "--lazy", str(self.folder / "left")], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
