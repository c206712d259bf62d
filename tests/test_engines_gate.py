# SPDX-License-Identifier: Apache-2.0
"""The gate in the NIXL agent's proxy: how transfers are cut, their order, their ends; and real
agents, over UCX without the shim and over POSIX."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mfs_transport as mfs
from mfs_transport.control import tag_make
from mfs_transport.engines import cut, gate
from mfs_transport.engines.nixl import Agent
from mfs_transport.native import InputError
from mfs_transport.ucx_env import modules_environment

KIB = 1 << 10
MIB = 1 << 20


# --- cutting ---


def rows(*sizes: int) -> cut.Rows:
    ends = np.cumsum(sizes)
    return np.array([(7000 + e - s, s, 3) for e, s in zip(ends, sizes, strict=True)], np.uint64)


def test_cut_rows__large_ones_into_pieces_that_join():
    fine = cut.cut_rows(rows(10, 250, 100), 100)
    assert fine[:, 1].tolist() == [10, 100, 100, 50, 100]
    assert fine[:, 0].tolist() == [7000, 7010, 7110, 7210, 7260]
    assert set(fine[:, 2].tolist()) == {3}


@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([], []),
        ([50], [(0, 1, 50)]),
        ([50, 50, 1], [(0, 2, 100), (2, 3, 1)]),
        ([100, 100], [(0, 1, 100), (1, 2, 100)]),
        ([60, 60, 30], [(0, 1, 60), (1, 3, 90)]),
        ([300, 1], [(0, 1, 300), (1, 2, 1)]),  # larger than a piece: alone
    ],
)
def test_groups__as_many_rows_as_fit(sizes: list[int], found: list[tuple[int, int, int]]):
    assert cut.groups(np.array(sizes, np.int64), 100) == found


def test_rows_of__the_short_form_of_equal_distances():
    short = np.array([(1000, 64, 0, 256, 3), (9000, 32, 1, 32, 2)], np.uint64)
    assert cut.rows_of(short).tolist() == [
        [1000, 64, 0],
        [1256, 64, 0],
        [1512, 64, 0],
        [9000, 32, 1],
        [9032, 32, 1],
    ]


# --- which transfers ---


@pytest.mark.parametrize(
    ("backend", "mode", "shim", "expected"),
    [
        ("UCX", "auto", True, False),
        ("UCX", "auto", False, True),
        ("LIBFABRIC", "auto", True, True),
        ("Mooncake", "auto", False, True),
        ("POSIX", "auto", False, False),  # a disk is no port
        ("POSIX", "always", True, True),
        ("UCX", "never", False, False),
    ],
)
def test_wanted(backend: str, mode: str, shim: bool, expected: bool):
    assert gate.wanted(backend, mode, lambda: shim) is expected


# --- with an agent of a test ---


class Descs:
    """NIXL's list of descriptors, as much of it as is used."""

    def __init__(self, kind: str, listed: Any) -> None:
        self.kind, self.listed = kind, [tuple(map(int, one)) for one in listed]

    def getType(self) -> str:
        return self.kind

    def descCount(self) -> int:
        return len(self.listed)

    def __getitem__(self, index: int) -> tuple[int, ...]:
        return self.listed[index]


class Wire:
    """An agent of which the test decides when a transfer is done."""

    def __init__(self, backend: str = "FAKE") -> None:
        self.backends = {backend: 1}
        self.log: list[Any] = []
        self.made: list[SimpleNamespace] = []

    def initialize_xfer(
        self, operation: str, local: Descs, remote: Descs, peer: str, note: bytes = b"", **_: Any
    ) -> SimpleNamespace:
        assert [one[1] for one in local.listed] == [one[1] for one in remote.listed]
        handle = SimpleNamespace(
            operation=operation,
            size=sum(one[1] for one in local.listed),
            first=local.listed[0][0],
            note=note,
            state="NEW",
        )
        self.made.append(handle)
        return handle

    def transfer(self, handle: SimpleNamespace, note: bytes = b"") -> str:
        handle.note = note or handle.note
        handle.state = "PROC"
        self.log.append(handle)
        return "PROC"

    def check_xfer_state(self, handle: SimpleNamespace) -> str:
        if isinstance(handle.state, Exception):
            raise handle.state
        return str(handle.state)

    def release_xfer_handle(self, handle: SimpleNamespace) -> None:
        handle.state = "RELEASED"

    def get_new_notifs(self) -> dict[str, list[bytes]]:
        return {}

    def under_way(self) -> list[SimpleNamespace]:
        return [one for one in self.log if one.state == "PROC"]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setenv("MFS_ENABLE", "1")
    # as on a port that nobody has used yet
    monkeypatch.setenv("MFS_PORT", f"gate{os.getpid()}-{len(PORTS)}")
    PORTS.append(1)
    return Wire()


PORTS: list[int] = []


def made(agent: Agent, size: int, note: bytes = b"", base: int = 0, peer: str = "peer") -> Any:
    lists = [Descs("DRAM", [(at, size, 0)]) for at in (base, 1 << 30)]
    return agent.initialize_xfer("WRITE", *lists, peer, note)


def drained(wire: Wire, agent: Agent, *handles: Any) -> list[Any]:
    """Pieces end in the order in which they were posted, until all handles are done."""
    for _ in range(10_000):
        states = [agent.check_xfer_state(handle) for handle in handles]
        if all(state == "DONE" for state in states):
            return wire.log
        for one in wire.under_way()[:1]:
            one.state = "DONE"
    raise AssertionError([agent.check_xfer_state(handle) for handle in handles])


def test_transfer__goes_in_pieces_that_cover_it_once_and_in_order(wire: Wire):
    agent = Agent(wire)
    handle = made(agent, 16 * MIB)
    assert agent.transfer(handle) == "PROC"
    assert 0 < len(wire.under_way()) < 8  # no more than the port has room for
    posted = drained(wire, agent, handle)
    assert len(posted) > 8
    assert sum(one.size for one in posted) == 16 * MIB
    assert [one.first for one in posted] == np.cumsum([0, *(o.size for o in posted[:-1])]).tolist()
    assert all(one.state == "RELEASED" for one in posted)
    agent._gate.close()  # type: ignore[union-attr]


def test_transfer__an_urgent_one_passes_those_that_can_wait(wire: Wire):
    agent = Agent(wire)
    late, soon = made(agent, 64 * MIB), made(agent, 4 * MIB, base=1 << 40)
    requests = mfs.register("gate-late", ttft_s=600.0), mfs.register("gate-soon", ttft_s=30.0)
    for handle, request in zip((late, soon), requests, strict=True):
        agent.tag(handle, request, "p2d")
    agent.transfer(late)
    before = len(wire.log)
    agent.transfer(soon)
    drained(wire, agent, soon)
    urgent = [index for index, one in enumerate(wire.log) if one.first >= 1 << 40]
    assert urgent[0] <= before + 1
    assert urgent == list(range(urgent[0], urgent[0] + len(urgent)))  # nothing in between
    assert agent.check_xfer_state(late) == "PROC"
    agent.release_xfer_handle(late)
    agent.release_xfer_handle(soon)
    for request in requests:
        request.finish()
    agent._gate.close()  # type: ignore[union-attr]


def test_notification__goes_with_the_last_piece_when_all_others_are_done(wire: Wire):
    agent = Agent(wire)
    handle = made(agent, 2 * MIB, b"done")
    agent.transfer(handle)
    for _ in range(1000):
        if any(one.note for one in wire.log):
            break
        for one in wire.under_way()[-1:]:  # the newest first
            one.state = "DONE"
        agent.check_xfer_state(handle)
    last = wire.log[-1]
    assert [one.note for one in wire.log] == [b""] * (len(wire.log) - 1) + [b"done"]
    assert wire.under_way() == [last]
    assert agent.check_xfer_state(handle) == "PROC"
    last.state = "DONE"
    assert agent.check_xfer_state(handle) == "DONE"
    agent._gate.close()  # type: ignore[union-attr]


def test_small_one__is_nixls_own_and_goes_at_once(wire: Wire):
    agent = Agent(wire)
    handle = made(agent, 4 * KIB, b"done")
    agent.transfer(handle)
    assert wire.log == [wire.made[0]]
    assert wire.log[0].note == b"done"
    wire.log[0].state = "DONE"
    assert agent.check_xfer_state(handle) == "DONE"
    assert agent.transfer(handle, b"again") == "PROC"
    assert wire.log[1].note == b"again"
    wire.log[1].state = "DONE"
    assert agent.check_xfer_state(handle) == "DONE"
    agent._gate.close()  # type: ignore[union-attr]


def test_transfer__again_after_it_is_done_and_not_before(wire: Wire):
    agent = Agent(wire)
    handle = made(agent, 2 * MIB)
    agent.transfer(handle)
    with pytest.raises(InputError, match="in progress"):
        agent.transfer(handle)
    first = len(drained(wire, agent, handle))
    assert agent.transfer(handle) == "PROC"
    assert len(drained(wire, agent, handle)) > first
    assert agent.get_xfer_telemetry(handle).totalBytes == 2 * MIB
    agent._gate.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["agent", "handle", "garbage"])
def test_release__nothing_more_of_it_is_posted(wire: Wire, how: str):
    agent = Agent(wire)
    handle, other = made(agent, 16 * MIB), made(agent, 2 * MIB, base=1 << 40)
    agent.transfer(handle)
    agent.transfer(other)
    before = [one for one in wire.log if one.first < 1 << 40]
    if how == "agent":
        agent.release_xfer_handle(handle)
    elif how == "handle":
        handle.release()
    else:
        del handle
    drained(wire, agent, other)
    assert [one for one in wire.log if one.first < 1 << 40] == before
    assert all(one.state == "RELEASED" for one in before)
    agent._gate.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", ["ERR", OSError("the peer has gone")])
def test_fault__of_a_piece_is_the_whole_transfers_and_of_no_other(wire: Wire, fault: Any):
    agent = Agent(wire)
    handle, other = made(agent, 16 * MIB), made(agent, 2 * MIB, base=1 << 40)
    agent.transfer(handle)
    agent.transfer(other)
    before = len([one for one in wire.log if one.first < 1 << 40])
    wire.log[0].state = fault
    drained(wire, agent, other)
    if isinstance(fault, Exception):
        with pytest.raises(OSError, match="has gone"):
            agent.check_xfer_state(handle)
    else:
        assert agent.check_xfer_state(handle) == "ERR"
    assert len([one for one in wire.log if one.first < 1 << 40]) == before
    agent._gate.close()  # type: ignore[union-attr]


def test_policy_off__it_is_nixls_own_transfer(wire: Wire):
    agent = Agent(wire)
    handle = made(agent, 16 * MIB, b"done")
    host = mfs.default_host()
    policy = host.policy
    host.policy = "off"
    try:
        agent.transfer(handle)
        assert wire.log == [wire.made[0]]
        wire.log[0].state = "DONE"
        assert agent.check_xfer_state(handle) == "DONE"
    finally:
        host.policy = policy


@pytest.mark.parametrize("switch", [("MFS_ENABLE", "0"), ("MFS_NIXL_GATE", "never")])
def test_switched_off__handles_are_nixls_own(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, switch: tuple[str, str]
):
    monkeypatch.setenv(*switch)
    agent = Agent(wire)
    assert made(agent, 16 * MIB) is wire.made[0]


def test_fault_of_ours__the_transfer_goes_as_without_a_gate(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(cut, "pieces_of_lists", broken)
    monkeypatch.setattr(gate, "_said", set())
    agent = Agent(wire)
    assert [made(agent, 16 * MIB) for _ in range(2)] == wire.made
    assert capsys.readouterr().err.count("\n") == 1


# --- real agents ---

PROGRAM = """
import json, os
import numpy
from nixl._api import nixl_agent, nixl_agent_config
import mfs_transport as mfs
from mfs_transport.engines.gate import Handle
from mfs_transport.engines.nixl import Agent

BLOCK, COUNT = 1 << 20, 16
settings = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
prefill, decode = Agent(nixl_agent("prefill", settings)), nixl_agent("decode", settings)
source = numpy.random.default_rng(1).integers(0, 256, BLOCK * COUNT, dtype=numpy.uint8)
target = numpy.zeros_like(source)
for agent, array in ((prefill, source), (decode, target)):
    agent.register_memory([(array.ctypes.data, array.nbytes, 0, "")], "DRAM")
peer = prefill.add_remote_agent(decode.get_agent_metadata())
blocks = [
    [(one.ctypes.data + i * BLOCK, BLOCK, 0) for i in range(COUNT)] for one in (source, target)
]

def done(handle, note=b""):
    state, notes = prefill.transfer(handle), []
    while state == "PROC" or (note and note not in notes):
        notes += decode.get_new_notifs().get("prefill", [])
        if notes:
            assert (source == target).all()  # the notification says that the whole is there
        state = prefill.check_xfer_state(handle)
    assert state == "DONE", state
    assert notes == ([note] if note else []), notes

# BODY
print(json.dumps(mfs.default_host().counters()))
"""
UCX_BODY = """
lists = [prefill.get_xfer_descs(one, "DRAM") for one in blocks]
handle = prefill.initialize_xfer("WRITE", *lists, peer, b"first")
assert isinstance(handle, Handle)
done(handle, b"first")
target[:] = 0
done(handle, b"first")
prefill.release_xfer_handle(handle)
sides = [prefill.prep_xfer_dlist(*of, "DRAM") for of in (("", blocks[0]), (peer, blocks[1]))]
target[:] = 0
order = numpy.random.default_rng(2).permutation(COUNT).astype(numpy.int32)
handle = prefill.make_prepped_xfer("WRITE", sides[0], order, sides[1], order, b"second")
done(handle, b"second")
assert (source == target).all()
target[:], kept = source[::-1].copy(), source.copy()
source[:] = 0
handle = prefill.make_prepped_xfer("READ", sides[0], order, sides[1], order)
done(handle)
assert (source == target).all() and (source == kept[::-1]).all()
for side in sides:
    prefill.release_dlist_handle(side)
"""
POSIX_BODY = """
prefill._agent.create_backend("POSIX")
with open("kv", "w+b") as file:
    file.truncate(source.nbytes)
    size, posix = source.nbytes, {"backends": ["POSIX"]}
    prefill.register_memory([(0, size, file.fileno(), "")], "FILE", **posix)
    prefill.register_memory([(source.ctypes.data, size, 0, "")], "DRAM", **posix)
    lists = (
        prefill.get_xfer_descs([(source.ctypes.data, source.nbytes, 0)], "DRAM"),
        prefill.get_xfer_descs([(0, source.nbytes, file.fileno())], "FILE"),
    )
    handle = prefill.initialize_xfer("WRITE", *lists, "prefill", backends=["POSIX"])
    assert isinstance(handle, Handle)
    done(handle)
    assert (numpy.fromfile("kv", numpy.uint8) == source).all()
    kept = source.copy()
    source[:] = 0
    done(prefill.initialize_xfer("READ", *lists, "prefill", backends=["POSIX"]))
    assert (source == kept).all()
"""


def real(folder: Path, body: str, **environ: str) -> dict[str, int]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "NIXL_", "UCX_"))}
    clean |= modules_environment({}) | {"MFS_ENABLE": "1", "UCX_TLS": "tcp"}
    clean.pop("LD_PRELOAD", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("# BODY", body)],
        cwd=folder,
        env={**clean, **environ, "MFS_SEGMENT": str(folder / "segment")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.nixl
@pytest.mark.skipif(not importlib.util.find_spec("nixl"), reason="NIXL is not installed")
class TestReal:
    def test_ucx_without_the_shim__lists_prepared_lists_reads_and_notifications(
        self, tmp_path: Path
    ):
        counters = real(tmp_path, UCX_BODY)
        assert (counters["calls"], counters["bytes"]) == (4, 4 * 16 * MIB)
        assert counters["chunks"] == counters["deferred"] > 4 * 16
        assert counters["faults"] == 0

    def test_posix__writes_and_reads_a_file(self, tmp_path: Path):
        counters = real(tmp_path, POSIX_BODY, MFS_NIXL_GATE="always")
        assert (counters["calls"], counters["bytes"]) == (2, 2 * 16 * MIB)
        assert counters["chunks"] > 2 * 16
        assert counters["faults"] == 0


def test_tag__is_the_pieces(wire: Wire):
    agent = Agent(wire, tagger=lambda *_: tag_make("gate-tagged", "kv_reuse"))
    before = mfs.default_host().counters(process=True)
    agent.transfer(made(agent, 2 * MIB))
    after = mfs.default_host().counters(process=True)
    assert after["tagged"] == before["tagged"] + 1
    agent._gate.close()  # type: ignore[union-attr]
