# SPDX-License-Identifier: Apache-2.0
"""Run by vLLM's own interpreter (test_engines_vllm.py): what of its interface gets through.

Takes the interface from the installed release, so a method that a release adds is asked for as
well. Prints JSON: how many members were asked for, of which connectors, and what is wrong.
"""

from __future__ import annotations

import inspect
import json
from types import SimpleNamespace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, SupportsHMA

from mfs_transport.engines.vllm import interface

OURS = {name for part in (interface.Deadlines, interface.AllGroups) for name in vars(part)}
CONFIG = SimpleNamespace(
    kv_cache_groups=[
        SimpleNamespace(
            layer_names=["model.layers.0.attn"], kv_cache_spec=SimpleNamespace(block_size=16)
        )
    ],
    kv_cache_tensors=[SimpleNamespace(size=10 * 16 * 2048)],
    num_blocks=10,
)
VLLM_CONFIG = SimpleNamespace(
    kv_transfer_config=SimpleNamespace(engine_id="engine"),
    scheduler_config=SimpleNamespace(max_num_batched_tokens=512),
)


def members() -> dict[str, Any]:
    """What the interface consists of, as it stands in its classes."""
    found: dict[str, Any] = {}
    for part in (SupportsHMA, KVConnectorBase_V1):
        for name, member in vars(part).items():
            called = callable(getattr(member, "__func__", member)) or isinstance(member, property)
            if called and not name.startswith(("__", "_abc_")):
                found[name] = member
    return found


def recorder(calls: list[Any]) -> type:
    """A connector of which each member notes its call, and answers with something of its own."""

    def method(name: str) -> Any:
        def noted(self: Any, *arguments: Any, **options: Any) -> Any:
            answer = (True, {}) if name.startswith("request_finished") else object()
            calls.append((name, arguments, options, answer))
            return answer

        return noted

    namespace: dict[str, Any] = {"__init__": lambda self, *_: None}
    for name, member in members().items():
        made = method(name)
        if isinstance(member, property):
            namespace[name] = property(made)
        elif isinstance(member, classmethod | staticmethod):
            namespace[name] = classmethod(made)
        elif callable(member):
            namespace[name] = made
    return type("Recorder", (KVConnectorBase_V1, SupportsHMA), namespace)


def names_of(member: Any) -> list[str]:
    """The arguments that it wants."""
    if isinstance(member, property):
        return []
    wanted = list(inspect.signature(getattr(member, "__func__", member)).parameters.values())[1:]
    return [one.name for one in wanted if one.kind is one.POSITIONAL_OR_KEYWORD]


def by_name(member: Any, places: Any, options: Any) -> dict[Any, Any]:
    """Arguments by name, whichever way they were given; those that are too many by place."""
    names: list[Any] = names_of(member)
    more = range(len(names), len(places))
    return {**dict(zip([*names, *more], places, strict=False)), **options}


def wrong_of_a_role(role: str) -> list[str]:
    calls: list[Any] = []
    made = interface.wrap(recorder(calls))(VLLM_CONFIG, SimpleNamespace(name=role), CONFIG)
    wrong = []
    for name, member in members().items():
        names = names_of(member)
        given = [object() for _ in names]
        ways: list[Any] = [(given, {}), ([], dict(zip(names, given, strict=True)))]
        ways += [([*given, 1], {"of_a_later_release": 2})]
        if isinstance(member, property):
            ways = [([], {})]
        for places, options in ways:
            calls.clear()
            try:
                found = getattr(made, name)
                answer = found if isinstance(member, property) else found(*places, **options)
            except Exception as error:
                wrong.append(f"{role} {name}: {type(error).__name__}: {error}")
                continue
            asked = by_name(member, places, options)
            if [(call[0], by_name(member, *call[1:3])) for call in calls] != [(name, asked)]:
                wrong.append(f"{role} {name}: was called {calls} with {asked}")
            elif answer is not calls[0][3]:
                wrong.append(f"{role} {name}: its answer was {calls[0][3]}, got {answer}")
    return wrong


def wrong_of_a_connector(connector: type) -> list[str]:
    """What is not ours has to be the connector's own, also what it adds to the interface."""
    wrapped = interface.wrap(connector)
    names = {name for part in connector.__mro__ for name in vars(part)}
    wrong = []
    made_anew = {"__abstractmethods__", "_abc_impl", "__doc__", "__module__"}
    for name in sorted(names - OURS - made_anew):
        if inspect.getattr_static(wrapped, name) is not inspect.getattr_static(connector, name):
            wrong.append(f"{connector.__name__}.{name} is another")
    if bool(getattr(wrapped, "__abstractmethods__", ())):
        wrong.append(f"{connector.__name__}: abstract")
    return wrong


def main() -> None:
    wrong = [one for role in ("SCHEDULER", "WORKER") for one in wrong_of_a_role(role)]
    seen = []
    for name, load in KVConnectorFactory._registry.items():
        try:
            connector = load()
        except Exception:  # its own packages are not installed
            continue
        wrong += wrong_of_a_connector(connector)
        seen.append(name)
    print(json.dumps({"members": sorted(members()), "connectors": seen, "wrong": wrong}))


if __name__ == "__main__":
    main()
