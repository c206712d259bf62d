# SPDX-License-Identifier: Apache-2.0
"""A process in an emulated pod, for bench/pods.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import _process
from _process import DESCRIPTOR, environment

from mfs_transport.testbed import network, pods

PARTY = Path(__file__).with_name("_party.py")
BLOCK_MIB = 8  # of each write in the background
FILLED_S = 1.0  # until the port is full, and its speed is known
PAUSE_S = 0.0005  # between two looks of a pod in the background
KEPT = ("MFS_LEASE",)  # a busy machine may ask for more of it


class Process(_process.Process):
    """A party in a pod, or at the other end."""

    def __init__(self, place: network.Place, system: str, segment: str, **more: str) -> None:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        env = {**environment(place.device, segment), **kept, **more}
        command = [sys.executable, str(PARTY), system, place.name, DESCRIPTOR, str(BLOCK_MIB)]
        with_mfs = system != "plain"
        super().__init__(place.name, place, command, env, enabled=with_mfs, shim=with_mfs)

    def hit(self, with_signal: int) -> None:
        os.kill(pods.first_process(self.process.pid), with_signal)
