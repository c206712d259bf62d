# SPDX-License-Identifier: Apache-2.0
"""The proxy around a NIXL agent: alone, and around a real one with the shim in the way."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport.config import resolve
from mfs_transport.control import tag_current, tag_make
from mfs_transport.engines.nixl import Agent
from mfs_transport.launch import environment
from mfs_transport.native import UCX_SHIM, InputError, lib
from mfs_transport.ucx_env import modules_environment

# --- alone ---


class Fake:
    """An agent that notes which tag was current at each transfer."""

    name = "fake"

    def __init__(self) -> None:
        self.tags: list[tuple[int, int] | None] = []
        self.released: list[Any] = []
        self.arguments: list[Any] = []

    def initialize_xfer(self, *arguments: Any, **options: Any) -> object:
        self.arguments.append((arguments, options))
        return object()

    make_prepped_xfer = initialize_xfer

    def transfer(self, handle: object, notif_msg: bytes = b"") -> str:
        del handle, notif_msg
        value = tag_current()
        self.tags.append(None if value is None else (value.request, value.layer))
        return "PROC"

    def release_xfer_handle(self, handle: object) -> None:
        self.released.append((handle, bool(lib.mfs_abort_get())))

    def get_plugin_list(self) -> list[str]:
        return ["UCX"]


def key(name: str) -> int:
    return int(lib.mfs_request_key(name.encode()))


def made(agent: Agent) -> Any:
    return agent.initialize_xfer("WRITE", "local", "remote", "decode", b"done")


def test_tag__each_posting_of_the_handle_carries_it():
    fake = Fake()
    agent = Agent(fake)
    tagged, untagged = made(agent), made(agent)
    agent.tag(tagged, "r", stage="p2d", layer=3)
    assert [agent.transfer(one) for one in (tagged, untagged, tagged)] == ["PROC"] * 3
    assert fake.tags == [(key("r"), 3), None, (key("r"), 3)]
    assert tag_current() is None


def test_tag__can_be_changed_between_postings():
    fake = Fake()
    agent = Agent(fake)
    handle = made(agent)
    for layer in (1, 2):
        agent.tag(handle, "r", stage="p2d", layer=layer)
        agent.transfer(handle)
    assert fake.tags == [(key("r"), 1), (key("r"), 2)]


def test_tag__that_is_current_when_the_transfer_is_made_belongs_to_it():
    fake = Fake()
    agent = Agent(fake)
    with mfs.tag("outer", stage="p2d", layer=5):
        handle = made(agent)
    agent.transfer(handle)
    assert fake.tags == [(key("outer"), 5)]


def test_tag__that_is_current_when_an_untagged_transfer_is_posted():
    fake = Fake()
    agent = Agent(fake)
    handle = made(agent)
    with mfs.tag("now", stage="p2d"):
        agent.transfer(handle)
    assert fake.tags == [(key("now"), 0)]


def test_tagger__is_asked_once_for_each_transfer_that_is_made():
    asked = []

    def tagger(operation: str, peer: str, notification: bytes) -> Any:
        asked.append((operation, peer, notification))
        return tag_make(notification.decode(), "kv_reuse") if notification else None

    fake = Fake()
    agent = Agent(fake, tagger=tagger)
    first = made(agent)
    second = agent.make_prepped_xfer("READ", "a", [0], "b", [0])
    for handle in (first, second, first):
        agent.transfer(handle)
    assert asked == [("WRITE", "decode", b"done"), ("READ", "", b"")]
    assert fake.tags == [(key("done"), 0), None, (key("done"), 0)]


def test_release__forgets_the_tag_and_is_passed_on():
    fake = Fake()
    agent = Agent(fake)
    handle = made(agent)
    agent.tag(handle, "r", stage="p2d")
    agent.release_xfer_handle(handle)
    assert fake.released == [(handle, True)]  # what waits of it is taken back
    assert not lib.mfs_abort_get()
    agent.transfer(handle)
    assert fake.tags == [None]


def test_everything_else_is_passed_through():
    fake = Fake()
    agent = Agent(fake)
    assert agent.name == "fake"
    assert agent.get_plugin_list() == ["UCX"]
    with pytest.raises(AttributeError, match="no_such_thing"):
        agent.no_such_thing()
    agent.initialize_xfer("WRITE", 1, 2, "peer", b"n", ["UCX"])
    agent.make_prepped_xfer("READ", 1, [0], 2, [1], skip_desc_merge=True)
    assert fake.arguments == [
        (("WRITE", 1, 2, "peer", b"n", ["UCX"]), {}),
        (("READ", 1, [0], 2, [1], b""), {"skip_desc_merge": True}),
    ]


def test_tag__bad_input_is_named():
    agent = Agent(Fake())
    with pytest.raises(InputError, match="stage 'p2p': one of"):
        agent.tag(made(agent), "r", stage="p2p")


# --- a real agent ---

PROGRAM = """
import os
import numpy
from nixl._api import nixl_agent, nixl_agent_config
import mfs_transport as mfs
from mfs_transport.control import tag_make
from mfs_transport.engines.nixl import Agent

SIZE = 1 << 20
settings = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
prefill = Agent(nixl_agent("prefill", settings), **TAGGER)
decode = nixl_agent("decode", settings)
source = numpy.random.default_rng(1).integers(0, 256, SIZE, dtype=numpy.uint8)
target = numpy.zeros_like(source)
for agent, array in ((prefill, source), (decode, target)):
    agent.register_memory([(array.ctypes.data, SIZE, 0, "")], "DRAM")
peer = prefill.add_remote_agent(decode.get_agent_metadata())

def make(notification=b""):
    lists = [prefill.get_xfer_descs([(a.ctypes.data, SIZE, 0)], "DRAM") for a in (source, target)]
    return prefill.initialize_xfer("WRITE", *lists, peer, notification)

def post(handle):
    target[:] = 0
    state = prefill.transfer(handle)
    while state == "PROC":
        decode.get_new_notifs()
        state = prefill.check_xfer_state(handle)
    assert state == "DONE", state
    assert (source == target).all()

# BODY
"""
REPORT = """
import json
print(json.dumps(mfs.default_host().counters()))
"""


def real(
    folder: Path, body: str = "", tagger: str = "{}", program: str = "", **environ: str
) -> dict[str, int]:
    """Counters of the host after `body` has run; as `mfs run` starts it unless told otherwise."""
    agents = PROGRAM.replace("**TAGGER", f"**{tagger}").replace("# BODY", body) + REPORT
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "NIXL_", "UCX_"))}
    clean |= modules_environment({})
    clean.pop("LD_PRELOAD", None)
    changes = environ or environment(resolve({}, {}), clean)
    done = subprocess.run(
        [sys.executable, "-c", program or agents],
        cwd=folder,
        env={**clean, **changes, "MFS_SEGMENT": str(folder / "segment")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.nixl
@pytest.mark.skipif(not importlib.util.find_spec("nixl"), reason="NIXL is not installed")
class TestReal:
    def test_tag__by_handle_reaches_the_counters(self, tmp_path: Path):
        body = """
tagged, untagged = make(), make()
prefill.tag(tagged, mfs.register("r", ttft_s=9.0), stage="p2d", layer=3)
for handle in (tagged, untagged, tagged):
    post(handle)
prefill.release_xfer_handle(tagged)
"""
        counters = real(tmp_path, body)
        assert (counters["calls"], counters["tagged"]) == (3, 2)
        assert counters["bytes"] == 3 << 20
        assert counters["faults"] == 0

    def test_tagger__reaches_the_counters(self, tmp_path: Path):
        tagger = """{"tagger": lambda op, peer, note: tag_make("r", "p2d") if note else None}"""
        counters = real(tmp_path, 'post(make(b"cmpl-17"))\npost(make())', tagger)
        assert (counters["calls"], counters["tagged"]) == (2, 1)

    def test_tag__that_is_current_reaches_the_counters(self, tmp_path: Path):
        body = 'with mfs.tag("r", stage="p2d"):\n    handle = make()\npost(handle)'
        counters = real(tmp_path, body)
        assert (counters["calls"], counters["tagged"]) == (1, 1)

    def test_not_enabled__nothing_is_intercepted_and_no_file_made(self, tmp_path: Path):
        # with the proxy, with tags, and even with the shim loaded
        body = """
handle = make()
prefill.tag(handle, "r", stage="p2d")
post(handle)
assert "libmfs_ucx.so" in open("/proc/self/maps").read()
assert not os.path.exists(os.environ["MFS_SEGMENT"])
"""
        counters = real(tmp_path, body, LD_PRELOAD=str(UCX_SHIM))
        assert set(counters.values()) == {0}

    @pytest.mark.parametrize("release", ["prefill", "prefill._agent"])
    def test_release__in_progress_nothing_of_it_comes_behind_the_next(
        self, tmp_path: Path, release: str
    ):
        """Of a transfer that is given up, to blocks that a more urgent one then uses: by the
        proxy it is taken back, by the agent itself it goes first."""
        body = f"""
late, soon = mfs.register("late", ttft_s=600.0), mfs.register("soon", ttft_s=1.0)
given_up = make(b"late")
prefill.tag(given_up, late, stage="p2d")
prefill.transfer(given_up)
assert prefill.check_xfer_state(given_up) == "PROC"
{release}.release_xfer_handle(given_up)
kept, source = source, numpy.full(SIZE, 7, numpy.uint8)
ends = numpy.zeros(64, numpy.uint8), numpy.zeros(64, numpy.uint8)
prefill.register_memory([(source.ctypes.data, SIZE, 0, "")], "DRAM")
for agent, array in zip((prefill, decode), ends):
    agent.register_memory([(array.ctypes.data, 64, 0, "")], "DRAM")
prefill.add_remote_agent(decode.get_agent_metadata())
handle = make(b"soon")
prefill.tag(handle, soon, stage="p2d")
prefill.transfer(handle)
notified = []
while b"soon" not in notified:
    prefill.check_xfer_state(handle)
    notified += decode.get_new_notifs().get("prefill", [])
assert (target == 7).all()
lists = [prefill.get_xfer_descs([(a.ctypes.data, 64, 0)], "DRAM") for a in ends]
behind = prefill.initialize_xfer("WRITE", *lists, peer)
state = prefill.transfer(behind)  # its flush has no tag: it waits for all that went before
while state == "PROC":
    decode.get_new_notifs()
    state = prefill.check_xfer_state(behind)
assert (target == 7).all()
"""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_"))}
        clean |= modules_environment({})
        held = {
            "MFS_PACE": "50000000",
            "MFS_TEST_SMALL": "0",
            "MFS_WINDOW": "64k",
            "MFS_TEST_CHUNK": "16k",
        }
        counters = real(tmp_path, body, **environment(resolve({}, {}), clean), **held)
        assert counters["faults"] == 0

    @pytest.mark.parametrize("bound", ["100ms", "0"])
    def test_held__no_longer_than_the_bound(self, tmp_path: Path, bound: str):
        """A transfer that is given up, on a port that others keep busy with what is in time."""
        body = """
late, soon = mfs.register("late", deadline_ns=1), mfs.register("soon", ttft_s=600.0)
held, others = make(), [make(), make()]
prefill.tag(held, late, stage="p2d")
for handle in others:
    prefill.tag(handle, soon, stage="p2d")
    prefill.transfer(handle)
prefill.transfer(held)
rounds = 0
while rounds < 40:
    decode.get_new_notifs()
    for handle in others:
        if prefill.check_xfer_state(handle) == "DONE":
            rounds += 1
            prefill.transfer(handle)
state = prefill.check_xfer_state(held)
assert state == ("PROC" if os.environ["MFS_HOLD_MAX"] == "0" else "DONE"), state
"""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_"))}
        more = {"MFS_PACE": "50000000", "MFS_PATIENCE": "0", "MFS_HOLD_MAX": bound}
        counters = real(tmp_path, body, **environment(resolve({}, {}), clean), **more)
        assert counters["faults"] == 0

    def test_docs__the_example_runs_and_is_tagged(self, tmp_path: Path):
        page = (Path(__file__).parent.parent / "docs" / "engines.md").read_text()
        blocks = [one.partition("```")[0] for one in page.split("```python\n")[1:]]
        (example,) = [one for one in blocks if "engines.nixl import Agent" in one]
        counters = real(tmp_path, program=example + REPORT)
        assert (counters["calls"], counters["tagged"], counters["bytes"]) == (1, 1, 1 << 20)
