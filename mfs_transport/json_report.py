# SPDX-License-Identifier: Apache-2.0
"""The JSON that every bench and tool writes: schema_version, environment, argv, results."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from . import output_file

SCHEMA_VERSION = 1


def environment() -> dict[str, Any]:
    """What a reader needs to judge a figure: machine, versions, moment."""
    versions = {}
    for package in ("mfs-transport", "libucx-cu12", "nixl-cu12", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
    }


def document(results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": environment(),
        "argv": sys.argv,
        **more,
        "results": results,
    }


def write(path: Path, results: list[dict[str, Any]], **more: Any) -> None:
    """Write the document at once: a reader never sees half of it."""
    output_file.write(path, json.dumps(document(results, **more), indent=1) + "\n")
