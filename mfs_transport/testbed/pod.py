# SPDX-License-Identifier: Apache-2.0
"""Runs a command as process 1 of a pod; the network namespace is entered before.

    python pod.py NAME USER GROUP IO_WEIGHT COMMAND...

Its own user, process, mount, IPC, cgroup and UTS namespace, /proc, /dev/shm and /tmp. USER and
GROUP are the node's; in the pod, USER has another number and GROUP is the same. IO_WEIGHT is what
/sys/fs/cgroup/io.weight says in the pod: a file alone, no cgroup is made. 0: that folder is the
node's. Started as root, as a file: it imports nothing of the package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWCGROUP = 0x10000000, 0x20000000, 0x2000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
USER_INSIDE = 1000
CGROUPS = "/sys/fs/cgroup"

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    texts = (source.encode(), target.encode(), kind.encode() if kind else None)
    check(libc.mount(*texts, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def map_users(pid: int, user: int, group: int) -> None:
    """From outside: which of the node's user and group the pod has."""
    lines = {"uid_map": f"{USER_INSIDE} {user} 1\n", "gid_map": f"{group} {group} 1\n"}
    for name, line in lines.items():
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(line)


def enter(user: int, group: int) -> None:
    """New namespaces for this process; a child that stays outside says who is who in them."""
    ours, theirs = socket.socketpair()
    pid = os.getpid()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            ours.close()
            theirs.recv(1)
            map_users(pid, user, group)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    spaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID
    check(libc.unshare(spaces | CLONE_NEWCGROUP), "unshare")
    ours.send(b"x")
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError("the pod's users could not be mapped")
    ours.close()


def become_first(name: str, group: int, weight: int, command: list[str]) -> None:
    """Process 1: its mounts and its name, then its user, then the command."""
    socket.sethostname(name)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", 0)
    for place in ("/dev/shm", "/tmp", *((CGROUPS,) if weight else ())):
        mount("tmpfs", place, "tmpfs", 0, f"mode=1777,uid={USER_INSIDE},gid={group}")
    os.setgroups([group])
    os.setresgid(group, group, group)
    os.setresuid(USER_INSIDE, USER_INSIDE, USER_INSIDE)
    if weight:
        with open(f"{CGROUPS}/io.weight", "w") as file:
            file.write(f"default {weight}\n")
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user takes it away
    os.environ |= {"HOME": "/tmp", "USER": name}
    os.execvp(command[0], command)


def main() -> int:
    name, user, group, weight, *command = sys.argv[1:]
    enter(int(user), int(group))
    first = os.fork()
    if first == 0:
        try:
            become_first(name, int(group), int(weight), command)
        except OSError as error:
            print(f"pod {name}: {error}", file=sys.stderr)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
