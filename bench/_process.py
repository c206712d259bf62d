# SPDX-License-Identifier: Apache-2.0
"""A process of a bench at a place of the emulated network, with the shim in the way or without."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence

from _talk import Talk

from mfs_transport.native import UCX_SHIM
from mfs_transport.testbed.network import Place
from mfs_transport.ucx_env import modules_environment

DESCRIPTOR = "{descriptor}"  # of its end of the talk, in a command


def environment(device: str, segment: str) -> dict[str, str]:
    """NIXL over UCX's TCP by that device. Settings of MFS are the bench's alone: what the shell has
    of them would be measured without a word."""
    ours = ("MFS_", "LD_PRELOAD")
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith(ours)},
        **modules_environment(os.environ),
        "UCX_TLS": "tcp",
        "UCX_NET_DEVICES": device,
        "NIXL_LOG_LEVEL": "ERROR",
        "NIXL_UCX_DEEPBIND": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MFS_SEGMENT": segment,
    }


class Process(Talk):
    """It ends when its end of the talk is closed, or by `end`."""

    def __init__(
        self,
        name: str,
        place: Place,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        enabled: bool,
        shim: bool,
    ) -> None:
        """enabled: MFS_ENABLE=1, which the gate of the NIXL proxy needs as well."""
        ours, theirs = socket.socketpair()
        # what leads to the place is started without the shim
        preload = ["env", f"LD_PRELOAD={UCX_SHIM}"] if shim else []
        words = [str(theirs.fileno()) if word == DESCRIPTOR else word for word in command]
        self.process = subprocess.Popen(
            [*place.command, *preload, *words],
            env={**env, "MFS_ENABLE": "1"} if enabled else env,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        super().__init__(name, ours)
        self.place = place

    def end(self) -> None:
        self.close()
        self.process.kill()
        self.process.wait()
