# SPDX-License-Identifier: Apache-2.0
"""SGLang and LMCache: the plug-in and the proxy, and what their own source says of its calls.

The long ones download the engines' wheels (40 and 18 MB) and read them; neither is run."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport.control import tag_current, tag_set
from mfs_transport.engines import nixl, sglang

ROOT = Path(__file__).parent.parent
VERSIONS = {"sglang": "0.5.23", "lmcache": "0.5.6"}
# files that make an agent and call it
FILES = {
    "sglang": ["sglang/srt/disaggregation/nixl/conn.py"],
    "lmcache": [
        "lmcache/v1/transfer_channel/nixl_channel.py",
        "lmcache/v1/distributed/transfer_channel/impl/nixl_impl.py",
    ],
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A NIXL of the test's."""
    api = types.ModuleType("nixl._api")
    api.nixl_agent = lambda name, config=None: SimpleNamespace(name=name, config=config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nixl._api", api)
    for name in ("nixl_cu12._api", "nixl_cu13._api"):
        monkeypatch.setitem(sys.modules, name, None)  # not installed
    return api


def test_wrap_agents__once_and_with_all_that_is_given(module: types.ModuleType):
    nixl.wrap_agents()
    nixl.wrap_agents()
    agent = module.nixl_agent("prefill", config=7)
    assert isinstance(agent, nixl.Agent)
    assert (agent.name, agent.config) == ("prefill", 7)
    assert not isinstance(agent._agent, nixl.Agent)


class Queue:
    def __init__(self, *chunks: Any) -> None:
        self.chunks = list(chunks)

    def get(self) -> Any:
        return self.chunks.pop(0)

    def qsize(self) -> int:
        return len(self.chunks)


def test_sglang__a_worker_sends_under_the_tag_of_what_it_has_taken():
    seen = []

    def worker(manager: str, queue: Any, staging: Any = None) -> str:
        for _ in range(queue.qsize()):
            chunk = queue.get()
            tag = tag_current()
            seen.append((chunk, tag.request, tag.stage))
        return f"{manager} {staging}"

    chunks = [SimpleNamespace(room=17), SimpleNamespace(room=4), SimpleNamespace()]
    with tag_set(None):
        assert sglang.around_worker(worker, "manager", Queue(*chunks), staging=3) == "manager 3"
    key = mfs.native.lib.mfs_request_key
    assert [one[0] for one in seen] == chunks
    assert [one[1] for one in seen] == [key(b"room-17"), key(b"room-4"), 0]
    assert {one[2] for one in seen} == {mfs.native.lib.MFS_STAGE_P2D}


def test_sglang__does_nothing_unless_enabled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MFS_ENABLE", raising=False)
    monkeypatch.setitem(sys.modules, "sglang", None)
    sglang.register()


def test_sglang__entry_point_is_declared():
    text = (ROOT / "pyproject.toml").read_text().partition('"sglang.srt.plugins"]')[2]
    assert text.startswith('\nmfs = "mfs_transport.engines.sglang:register"')


# --- their source ---


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    found = {}
    for name, version in VERSIONS.items():
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder))
        done = subprocess.run([*pip, f"{name}=={version}"], capture_output=True, check=False)
        wheels = list(folder.glob(f"{name}-*.whl"))
        if done.returncode or not wheels:
            pytest.skip(f"{name} {version} is not to be had here")
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(folder / name)
        found[name] = folder / name
    return found


def tree(sources: dict[str, Path], engine: str, file: str) -> ast.Module:
    return ast.parse((sources[engine] / file).read_text())


def is_agent(node: ast.expr) -> bool:
    """self.agent, self._ctx.agent, self.nixl_agent, agent, nixl_agent"""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("agent", "nixl_agent")


def calls(module: ast.Module) -> list[tuple[str, ast.Call]]:
    return [
        (node.func.attr, node)
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and is_agent(node.func.value)
    ]


@pytest.mark.long
@pytest.mark.parametrize(("engine", "file"), [(e, f) for e, files in FILES.items() for f in files])
def test_source__each_call_of_an_agent_is_one_that_the_proxy_takes(
    sources: dict[str, Path], engine: str, file: str
):
    found = calls(tree(sources, engine, file))
    names = {name for name, _ in found}
    assert {"make_prepped_xfer", "prep_xfer_dlist", "transfer", "check_xfer_state"} <= names
    for name, call in found:
        ours = inspect.getattr_static(nixl.Agent, name, None)
        if ours is None:
            continue  # passed through
        assert not any(isinstance(one, ast.Starred) for one in call.args), name
        options = {one.arg: 0 for one in call.keywords if one.arg}
        inspect.signature(ours).bind(None, *call.args, **options)  # TypeError: it does not fit


@pytest.mark.long
@pytest.mark.parametrize(("engine", "file"), [(e, f) for e, files in FILES.items() for f in files])
def test_source__the_agent_is_looked_up_when_it_is_made(
    sources: dict[str, Path], engine: str, file: str
):
    """Not when the module is imported, so that wrap_agents may come after that."""
    module = tree(sources, engine, file)
    checking = [
        node
        for top in module.body
        if isinstance(top, ast.If) and "TYPE_CHECKING" in ast.unparse(top.test)
        for node in ast.walk(top)
    ]
    at_import = [
        node
        for top in module.body
        if not isinstance(top, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(top)
        if isinstance(node, ast.ImportFrom) and node not in checking
    ]
    taken = {alias.name for node in at_import for alias in node.names}
    assert "nixl_agent" not in taken
    assert "nixl_agent" in (sources[engine] / file).read_text()


@pytest.mark.long
def test_source__sglangs_worker_takes_chunks_with_a_room_from_its_queue(sources: dict[str, Path]):
    module = tree(sources, "sglang", FILES["sglang"][0])
    manager = next(
        one for one in module.body if isinstance(one, ast.ClassDef) and one.name == "NixlKVManager"
    )
    worker = next(
        one
        for one in manager.body
        if isinstance(one, ast.FunctionDef) and one.name == "transfer_worker"
    )
    assert [one.arg for one in worker.args.args][:2] == ["self", "queue"]
    text = ast.unparse(worker)
    assert "queue.get()" in text
    assert "kv_chunk.room" in text
    assert "self.send_kvcache(" in text  # on this thread


HOOKED = """
import sys, types
class Chunk: room = 17
class Queue:
    def get(self): return Chunk()
from mfs_transport.engines import sglang
sglang.register()
from sglang.srt.plugins.hook_registry import HookRegistry
HookRegistry.apply_hooks()
from sglang.srt.disaggregation.nixl.conn import NixlKVManager
from mfs_transport.control import tag_current
from mfs_transport.native import lib
NixlKVManager().transfer_worker(Queue())
assert tag_current().request == lib.mfs_request_key(b"room-17")
from nixl._api import nixl_agent
assert hasattr(nixl_agent, "_mfs_made")
print("hooked")
"""
CONN = """
class NixlKVManager:
    def transfer_worker(self, queue, more=None):
        queue.get()
"""
NIXL = "class nixl_agent: ...\n"


@pytest.mark.long
def test_source__sglangs_own_hooks_put_ours_around_its_worker(
    sources: dict[str, Path], tmp_path: Path
):
    """Its registry of hooks as it is; the manager and NIXL are small ones of the test's."""
    registry = Path("sglang/srt/plugins/hook_registry.py")
    files = {
        str(registry): (sources["sglang"] / registry).read_text(),
        "sglang/srt/disaggregation/nixl/conn.py": CONN,
        "nixl/_api.py": NIXL,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", HOOKED],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "MFS_ENABLE": "1", "PATH": "/usr/bin:/bin"}
        | {"MFS_SEGMENT": str(tmp_path / "segment")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "hooked\n", done.stderr
