# SPDX-License-Identifier: Apache-2.0
"""The benches: as modules (folders of the tests have the names of some of them), and run."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

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


def measured(
    name: str, folder: Path, *arguments: str, **variables: str
) -> tuple[dict[str, Any], str]:
    """What bench/NAME.py writes to its file, and what it says on stderr; it must end well."""
    path = folder / f"{name}.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / f"{name}.py"), *arguments, "--json", str(path)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(path.read_text())
    return document, done.stderr
