# SPDX-License-Identifier: Apache-2.0
"""Which releases of vLLM the plug-in acts in.

    tested                                 it acts
    newer, what we rely on is unchanged    it acts, and says so
    anything else                          it stays out of the way, and says why

What we rely on is read from the release's own source, so nothing of it has to be imported (or to be
importable: `scripts/matrix` asks the same of a wheel whose torch is not there).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

TESTED = ("0.31", "0.32")  # releases with real servers, first and last

_BASE = "distributed/kv_transfer/kv_connector/v1/base.py"
_FACTORY = "distributed/kv_transfer/kv_connector/factory.py"
_NIXL = "distributed/kv_transfer/kv_connector/v1/nixl"
# by file and class: methods with the arguments that they take behind self, and fields (None)
RELIED_ON: dict[tuple[str, str], dict[str, tuple[str, ...] | None]] = {
    (_BASE, "KVConnectorBase_V1"): {
        "__init__": ("vllm_config", "role", "kv_cache_config"),
        "on_new_request": ("request",),
        "build_connector_meta": ("scheduler_output",),
        "update_connector_output": ("connector_output",),
        "take_events": (),
        "request_finished": ("request", "block_ids"),
        "bind_connector_metadata": ("connector_metadata",),
        "wait_for_layer_load": ("layer_name",),
        "save_kv_layer": ("layer_name", "kv_layer", "attn_metadata"),
        "wait_for_save": (),
        "shutdown": (),
    },
    (_BASE, "SupportsHMA"): {"request_finished_all_groups": ("request", "block_ids")},
    (_FACTORY, "KVConnectorFactory"): {
        "_registry": None,
        "get_connector_class": ("kv_transfer_config",),
        "supports_hma_config": ("kv_transfer_config",),
    },
    ("v1/core/sched/output.py", "SchedulerOutput"): {
        "num_scheduled_tokens": None,
        "scheduled_new_reqs": None,
        "scheduled_cached_reqs": None,
    },
    ("v1/core/sched/output.py", "NewRequestData"): {"req_id": None, "num_computed_tokens": None},
    ("v1/core/sched/output.py", "CachedRequestData"): {
        "req_ids": None,
        "num_computed_tokens": None,
    },
    ("v1/outputs.py", "KVConnectorOutput"): {"finished_recving": None, "finished_sending": None},
    ("v1/request.py", "Request"): {
        "request_id": None,
        "kv_transfer_params": None,
        "sampling_params": None,
        "num_prompt_tokens": None,
        "arrival_time": None,
    },
    ("v1/engine/async_llm.py", "AsyncLLM"): {
        "generate": ("prompt", "sampling_params", "request_id")
    },
    (f"{_NIXL}/connector.py", "NixlPullConnector"): {"connector_worker": None},
    (f"{_NIXL}/connector.py", "NixlPushConnector"): {"connector_worker": None},
    (f"{_NIXL}/base_worker.py", "NixlBaseConnectorWorker"): {"nixl_wrapper": None},
}


def release(version: str) -> tuple[int, int] | None:
    """0.32.0+cpu -> (0, 32)."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class Verdict:
    acts: bool
    line: str | None  # what there is to say


def verdict(version: str, folder: Path | None) -> Verdict:
    """What to do in that release, whose package lies in `folder`."""
    ours = release(version)
    first, last = (release(one) for one in TESTED)
    assert first is not None
    assert last is not None
    tested = f"vLLM {version} was not tested ({TESTED[0]} to {TESTED[1]} were)"
    if ours is not None and first <= ours <= last:
        return Verdict(True, None)
    if ours is None or ours < first:
        why = ""
    elif folder is None:
        why = ", and its source is not to be found"
    else:
        changed = changes(folder)
        if not changed:
            return Verdict(
                True, f"{tested}; what mfs-transport relies on is as it was, so it is tried"
            )
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        why = f", and it has changed: {changed[0]}{more}"
    return Verdict(
        False,
        f"{tested}{why}; it serves as without mfs-transport. MFS_VLLM_UNTESTED=1 tries it all "
        "the same",
    )


def of(vllm: ModuleType) -> Verdict:
    """The verdict on the vLLM that was imported."""
    places = list(getattr(vllm, "__path__", ()))
    return verdict(vllm.__version__, Path(places[0]) if places else None)


def changes(folder: Path) -> list[str]:
    """What of RELIED_ON is not in the vLLM of that folder, a line each."""
    found = []
    modules: dict[str, ast.Module | None] = {}
    for (file, name), members in RELIED_ON.items():
        if file not in modules:
            try:
                modules[file] = ast.parse((folder / file).read_text())
            except (OSError, SyntaxError, ValueError):
                modules[file] = None
        module = modules[file]
        classes = [] if module is None else _classes(module)
        class_ = next((one for one in classes if one.name == name), None)
        if class_ is None:
            found.append(f"{file} has no class {name}")
        else:
            found += [f"{name}.{line}" for line in _changes_of(class_, members)]
    return found


def _classes(module: ast.Module) -> list[ast.ClassDef]:
    return [one for one in module.body if isinstance(one, ast.ClassDef)]


def _changes_of(class_: ast.ClassDef, members: dict[str, tuple[str, ...] | None]) -> list[str]:
    found = []
    methods, fields = _members(class_)
    for name, arguments in members.items():
        if arguments is None:
            if name not in fields:
                found.append(f"{name} is not there")
        elif name not in methods:
            found.append(f"{name}() is not there")
        else:
            takes = [one.arg for one in (*methods[name].posonlyargs, *methods[name].args)][1:]
            if tuple(takes[: len(arguments)]) != arguments or _wants_more(
                methods[name], len(arguments)
            ):
                found.append(f"{name}() takes ({', '.join(takes)})")
    return found


def _wants_more(arguments: ast.arguments, count: int) -> bool:
    """Is there an argument without a default behind self and the first `count`?"""
    places = len(arguments.posonlyargs) + len(arguments.args) - 1
    return places - len(arguments.defaults) > count or None in arguments.kw_defaults


def _members(class_: ast.ClassDef) -> tuple[dict[str, ast.arguments], set[str]]:
    """Methods with what they take, and the names of fields: of the class and of self."""
    methods: dict[str, ast.arguments] = {}
    fields: set[str] = set()
    for node in class_.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            methods[node.name] = node.args
        for target in _targets(node):
            if isinstance(target, ast.Name):
                fields.add(target.id)
    for within in ast.walk(class_):
        for target in _targets(within):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                fields.add(target.attr)
    return methods, fields


def _targets(node: ast.AST) -> list[ast.expr]:
    """What is assigned to."""
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []
