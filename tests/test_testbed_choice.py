# SPDX-License-Identifier: Apache-2.0
"""Stores and decode hosts by what ports say: of hosts that answer, and of those that do not."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfs_transport.native import InputError
from mfs_transport.observe import slack
from mfs_transport.testbed import choice
from mfs_transport.testbed.choice import Asking, Choice
from mfs_transport.testbed.job import Job
from mfs_transport.testbed.router import Router
from mfs_transport.testbed.setting import Setting
from mfs_transport.testbed.slack_ends import Ends

BED = Setting(
    unit_sets=2, units_per_set=1, store_hosts=0, spread=False, groups=2, fetch="push",
    deliver="pull", time_scale=1.0,
)  # fmt: skip
MB = 1_000_000


def job(index: int, draw: float, slo_s: float = 9.0) -> Job:
    return Job(index, float(index), 100, 10, slo_s, 1280, 128, 0, 0.1, draw=draw)


JOBS = [job(i, i / 40) for i in range(40)]


def answer(*dues: tuple[float, int], rate: int = 1000 * MB, **changes: Any) -> bytes:
    """Of a host whose ports have that to send, and to read."""
    ports = [
        {
            **slack.make(
                rate, 0, [slack.Due(*one) for one in dues], port="eth0", direction=direction
            ).as_dict(slack.GRID_S, None),
            **changes,
        }
        for direction in ("egress", "ingress")
    ]
    return json.dumps({"segment": {"state": "live"}, "ports": ports}).encode()


@contextmanager
def asked(answers: Callable[[str], Any], names: list[str]) -> Iterator[Asking]:
    """All of them have been asked once."""

    def ask(place: tuple[str, int], limit_s: float) -> bytes:
        found = answers(place[0])
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, bytes)
        return found

    one = Asking(ask, 1.0)
    try:
        for known in one.router.watch(choice.hosts("egress", names), start=False):
            one.router.look(known)
        yield one
    finally:
        one.close()


def routes(chosen: Choice, asking: Asking | None = None, setting: Setting = BED) -> list[Any]:
    """Store and decode host of each job; none is over."""
    given = (setting, JOBS, 1 << 20, lambda batch: 0.1, 1000)
    one = Router(*given, chosen, asking or choice.first)  # type: ignore[arg-type]
    for each in JOBS:
        one.arrive(each)
    return [(one.routes[i].store, one.routes[i].decode) for i in range(len(JOBS))]


def stores(chosen: Choice, asking: Asking | None = None, setting: Setting = BED) -> list[str]:
    found = [store for store, _ in routes(chosen, asking, setting)]
    assert all(len(set(one)) == 1 for one in found)
    return [one[0] for one in found]


# --- of hosts that answer ---


def test_copies__the_drawn_host_first_and_others_evenly_behind() -> None:
    names = [f"host{i}" for i in range(6)]
    assert choice.copies(0.4, names, 1) == ["host2"]
    assert choice.copies(0.4, names, 2) == ["host2", "host5"]
    assert choice.copies(0.9, names, 3) == ["host5", "host1", "host3"]
    assert choice.copies(0.9, names[:1], 3) == ["host0"]


@pytest.mark.parametrize("store", ["slack", "fit"])
def test_store__the_copy_whose_port_has_least_to_send(store: str) -> None:
    busy = {"prefill0", "prefill2", "decode1"}  # one of each pair of copies
    with asked(lambda name: answer(*[(5.0, MB)] * (name in busy)), BED.processes) as asking:
        found = stores(Choice(store), asking)
        assert asking.counts() == {"chosen": 40, "turns": 0, "late": 0, "faults": 0}
    drawn = stores(Choice())
    for index, (ours, theirs) in enumerate(zip(found, drawn, strict=True)):
        own = BED.of_unit(index % 2)
        copies = choice.copies(JOBS[index].draw, [n for n in BED.processes if n not in own], 2)
        assert theirs == copies[0]
        assert ours in copies
        assert ours not in busy
    assert sum(one in busy for one in drawn) == 20


def test_store__fit_and_slack_differ_where_the_least_is_due_soon() -> None:
    """512 bytes: they have 0.4 ms there, less than the 1 MB that is due in 1 ms leaves."""
    tight = Job(0, 0.0, 100, 10, 0.1006, 1280, 128, 0, 0.1, draw=0.0)
    others = [name for name in BED.processes if name not in BED.of_unit(0)]
    first, second = choice.copies(0.0, others, 2)
    due = {first: [(0.001, MB)], second: [(9.0, 2 * MB)]}
    for store, expected in (("slack", first), ("fit", second)):
        with asked(lambda name: answer(*due.get(name, [])), BED.processes) as asking:
            one = Router(BED, [tight], 1 << 20, lambda batch: 0.1, 1, Choice(store), asking)
            one.arrive(tight)
            assert one.routes[0].store == [expected] * 2


def test_store__of_the_demo_both_halves_come_from_one() -> None:
    demo = Setting(fetch="push")
    assert [store for store, _ in routes(Choice(), None, demo)] == [["store0", "store1"]] * 40
    drawn = stores(Choice("draw"), None, demo)
    assert drawn == ["store0"] * 20 + ["store1"] * 20
    with asked(lambda name: answer(*[(50.0, MB)] * (name == "store0")), demo.processes) as asking:
        assert stores(Choice("slack"), asking, demo) == ["store1"] * 40


def test_decode__the_host_that_has_least_to_read() -> None:
    with asked(lambda name: answer(*[(5.0, MB)] * (name == "decode0")), BED.processes) as asking:
        found = [decode[0] for _, decode in routes(Choice(decode="fit"), asking)]
    assert found == ["decode1"] * 40
    assert {decode[0] for _, decode in routes(Choice())} == {"decode0", "decode1"}


# --- of those that do not ---

SILENT: dict[str, Any] = {
    "no answer": TimeoutError("timed out"),
    "refused": ConnectionRefusedError(111, "Connection refused"),
    "rubbish": b"\0<html>",
    "another JSON": b'{"segment": 7}',
    "no numbers": answer(rate_Bps="fast"),
    "nobody there": b'{"segment": {"state": "none"}, "ports": []}',
    "stands still": answer(stale=True),
    "no rate": answer(rate=0),
}


@pytest.mark.parametrize("what", SILENT)
@pytest.mark.parametrize("chosen", [Choice("slack"), Choice("fit"), Choice("fit", 3, "fit")])
def test_silent__all_is_as_drawn(
    what: str, chosen: Choice, capfd: pytest.CaptureFixture[str]
) -> None:
    with asked(lambda name: SILENT[what], BED.processes) as asking:
        assert routes(chosen, asking) == routes(Choice())
        counts = asking.counts()
    assert counts["chosen"] == 0
    assert counts["turns"] == 40 * (1 + (chosen.decode != "bytes"))
    said = capfd.readouterr().err.splitlines()
    faulty = what not in ("nobody there", "stands still", "no rate")
    assert len(said) == counts["faults"] == faulty * len(BED.processes)
    assert all("mfs slack of" in line for line in said)


def test_silent__one_host_is_taken_when_it_is_drawn_and_said_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with asked(
        lambda name: SILENT["rubbish"] if name == "decode1" else answer(), BED.processes
    ) as asking:
        for _ in range(3):
            asking.router.look(asking.router.watch(choice.hosts("egress", ["decode1"]), False)[0])
        found, drawn = stores(Choice("slack"), asking), stores(Choice())
        assert asking.counts()["faults"] == 4
    assert [one == "decode1" for one in found] == [one == "decode1" for one in drawn]
    assert "decode1" in drawn
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "mfs slack of decode1" in said[0]


def test_silent__an_answer_that_is_old_says_nothing() -> None:
    now_s = [100.0]
    with asked(lambda name: answer(*[(5.0, MB)] * (name != "decode1")), BED.processes) as asking:
        asking.router._clock = lambda: now_s[0]
        for known in asking.router._known.values():
            asking.router.look(known)
        assert stores(Choice("slack"), asking) != stores(Choice())
        now_s[0] += choice.router.BOUND_S + 0.01
        assert stores(Choice("slack"), asking) == stores(Choice())


def test_silent__nobody_waits_for_a_host_that_never_answers() -> None:
    """All are being asked while it is chosen, and none answers before it is done."""
    begun, over = threading.Semaphore(0), threading.Event()

    def ask(place: tuple[str, int], limit_s: float) -> bytes:
        begun.release()
        assert over.wait(60)
        return answer()

    one = Asking(ask, 1.0)
    try:
        one.watch(BED.processes)
        for _ in BED.processes:
            assert begun.acquire(timeout=60)
        assert routes(Choice("fit", 2, "fit"), one) == routes(Choice())
        assert one.counts()["turns"] == 80
    finally:
        over.set()
        one.close()


# --- the process that answers for the emulated hosts ---


def test_ends__each_host_answers_of_its_own_segment_until_it_is_killed(tmp_path: Path) -> None:
    names = ["prefill0", "decode0"]
    for name in names:
        (tmp_path / name).mkdir(mode=0o700)
    ends = Ends(str(tmp_path), names)
    try:
        for name in names:
            told = json.loads(ends.ask((name, 0), 60.0))
            assert told["segment"]["path"] == f"{tmp_path}/{name}/host"
            assert told["segment"]["state"] == "none"
        os.kill(ends.process.pid, signal.SIGKILL)
        ends.process.wait(timeout=60)
        with pytest.raises(ConnectionError):
            ends.ask(("decode0", 0), 60.0)
    finally:
        ends.close()


def test_ends__go_with_whoever_started_them(tmp_path: Path) -> None:
    ends = Ends(str(tmp_path), ["prefill0"])
    try:
        assert ends.process.stdin
        ends.process.stdin.close()
        assert ends.process.wait(timeout=60) == 0
    finally:
        ends.close()


def test_ends__that_cannot_start_are_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(OSError, match="did not start"):
        Ends(str(tmp_path), ["prefill0"])


# --- names ---


def test_choice__of_a_points_options() -> None:
    for one in (Choice(), Choice("fit"), Choice("slack", 3), Choice(decode="fit")):
        options = (("fetch", "push"), ("link_Mbps", 200.0), *one.options())
        assert choice.of(options) == one
    names = [one.name("mfs") for one in (Choice(), Choice("fit"), Choice("draw", 2, "fit"))]
    assert names == ["mfs", "mfs, fit", "mfs, draw, decode fit"]


def test_check__who_posts_a_transfer_knows_of_it() -> None:
    choice.check([Choice(), Choice("draw")], "pull", "push")
    with pytest.raises(InputError, match=r"--store-choice fit: .*--fetch push"):
        choice.check([Choice(), Choice("fit")], "pull", "pull")
    with pytest.raises(InputError, match=r"--decode-choice fit: .*--deliver pull"):
        choice.check([Choice(decode="fit")], "push", "push")
    with pytest.raises(InputError, match="--store-choice 'room': one of draw, slack, fit"):
        choice.read("draw,room", choice.STORES, "--store-choice")
    with pytest.raises(InputError, match="one of draw"):
        choice.read(" , ", choice.STORES, "--store-choice")
    assert choice.read("fit, draw,fit", choice.STORES, "x") == ["fit", "draw"]


def test_deadline__what_has_to_follow_is_taken_off() -> None:
    bed = replace(BED, link_Bps=1e6 / 0.95)
    one = Job(0, 0.0, 100, 10, 5.0, 100_000, 128, 300_000, 0.25)
    assert choice.deadline_s("fit", one, bed) == pytest.approx(5.0 - 0.25 - 0.3 - 0.2)
    assert choice.deadline_s("fit", replace(one, slo_s=0.1), bed) == 0.0
    assert choice.deadline_s("slack", one, bed) == math.inf
