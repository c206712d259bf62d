# SPDX-License-Identifier: Apache-2.0
"""Runs this same command again inside namespaces of its own, where it may make hosts.

mfs demo ...                        waits, and ends with it
  unshare ... mfs demo ... --inside FD      is the coordinator; all hosts end with it
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from . import network


def enter(what: str) -> int:
    """The status of the command in namespaces; `what` it is, for the message.

    They end with it, and it ends with us: it sees our end when the socket between us is closed,
    and says on it that it ended by itself, since the status of `unshare` does not tell.
    """
    return enter_as([sys.executable, "-m", "mfs_transport", *sys.argv[1:]], what)


def enter_as(command: Sequence[str], what: str) -> int:
    """The same for another command, with `--inside FD` behind it."""
    ours, theirs = socket.socketpair()
    inner = [*command, "--inside", str(theirs.fileno())]
    process = subprocess.Popen([*network.enter_command(), *inner], pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        code = process.wait()
    except KeyboardInterrupt:
        ours.close()
        process.wait()
        return 130
    if ours.recv(1):
        return code
    click.echo(f"mfs: {what}'s coordinator was killed; {what} has ended", err=True)
    return 1


def end_with(inside: int) -> None:
    """A thread ends this process, and with it all hosts, when who entered for it has gone."""

    def watch() -> None:
        if not os.read(inside, 1):
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def network_of(inside: int | None, link_Bps: float) -> Iterator[network.Network]:
    """The hosts' network; on loopback its folder goes at the end."""
    if inside is not None:
        yield network.Namespaces(link_Bps)
        return
    shared = "/dev/shm"
    folder = tempfile.mkdtemp(prefix="mfs-demo-", dir=shared if os.path.isdir(shared) else None)
    try:
        yield network.Loopback(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
