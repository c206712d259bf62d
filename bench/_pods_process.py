# SPDX-License-Identifier: Apache-2.0
"""A process in an emulated pod, for bench/pods.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from _talk import Talk

from mfs_transport.native import UCX_SHIM
from mfs_transport.testbed import network, pods
from mfs_transport.ucx_env import modules_environment

PARTY = Path(__file__).with_name("_party.py")
BLOCK_MIB = 8  # of each write in the background
FILLED_S = 1.0  # until the port is full, and its speed is known
PAUSE_S = 0.0005  # between two looks of a pod in the background


class Process(Talk):
    """A party in a pod, or at the other end."""

    def __init__(self, place: network.Place, system: str, segment: str, **more: str) -> None:
        ours, theirs = socket.socketpair()
        env = {
            **os.environ,
            **modules_environment(os.environ),
            "UCX_TLS": "tcp",
            "UCX_NET_DEVICES": place.device,
            "NIXL_LOG_LEVEL": "ERROR",
            "OMP_NUM_THREADS": "1",
            "NIXL_UCX_DEEPBIND": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MFS_SEGMENT": segment,
            **more,
        }
        env.pop("MFS_ENABLE", None)
        if system != "plain":
            env |= {"MFS_ENABLE": "1", "LD_PRELOAD": str(UCX_SHIM)}
        # what enters the pod is started without the shim
        preload = [f"LD_PRELOAD={env.pop('LD_PRELOAD')}"] if "LD_PRELOAD" in env else []
        party = [sys.executable, str(PARTY), system, place.name, str(theirs.fileno())]
        self.launcher = subprocess.Popen(
            [*place.command, "env", *preload, *party, str(BLOCK_MIB)],
            env=env,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        super().__init__(place.name, ours)
        self.place = place

    def hit(self, with_signal: int) -> None:
        os.kill(pods.first_process(self.launcher.pid), with_signal)

    def end(self) -> None:
        self.file.close()
        self.launcher.kill()
        self.launcher.wait()
