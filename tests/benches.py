# SPDX-License-Identifier: Apache-2.0
"""The benches as modules. Folders of the tests have the names of some of them (ucx, nccl)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parent.parent / "bench"
NAMES = {path.stem for path in BENCH.glob("*.py")}


def load(name: str) -> ModuleType:
    """bench/NAME.py, with what it imports of its own folder; nobody else finds it there."""
    others = {one: sys.modules.pop(one) for one in NAMES & sys.modules.keys()}
    sys.path.insert(0, str(BENCH))
    try:
        sys.modules.update(_loaded)
        module = importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCH))
        _loaded.update({one: sys.modules.pop(one) for one in NAMES & sys.modules.keys()})
        sys.modules.update(others)
    return module


_loaded: dict[str, ModuleType] = {}
