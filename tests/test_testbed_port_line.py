# SPDX-License-Identifier: Apache-2.0
"""What a device has carried, seen over a run."""

from __future__ import annotations

import socket
import time

from mfs_transport.testbed import port_line


def test_carried__what_went_over_the_device_since_the_start():
    line = port_line.PortLine("lo", time.monotonic_ns())
    line.look()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x" * 10_000, ("127.0.0.1", 9))
    sent, received = line.carried()
    assert sent >= 10_000
    assert received >= 10_000
    line.look()  # not yet time for another
    assert len(line.sent) == 1
    assert port_line.port_bytes("no-such-device") == (0, 0)
