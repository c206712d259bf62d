# SPDX-License-Identifier: Apache-2.0
"""Packages of the system that a test bed needs: installed by root alone, and never in silence.

MFS_SETUP_APT=0 forbids it, as in scripts/setup.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence


def may_install() -> bool:
    """We are root, there is apt, and it is not forbidden."""
    forbidden = os.environ.get("MFS_SETUP_APT", "").lower() in ("0", "n", "no", "off", "false")
    return not forbidden and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str], what_for: str, say: Callable[[str], None]) -> None:
    """Try it, if we may; whether it has helped the caller finds out."""
    if not may_install():
        return
    say(
        f"installing {' '.join(packages)} by apt-get, for {what_for}; "
        "MFS_SETUP_APT=0 installs nothing"
    )
    for command in (["update"], ["install", "-y", *packages]):
        subprocess.run(["apt-get", "-qq", *command], capture_output=True, check=False)
