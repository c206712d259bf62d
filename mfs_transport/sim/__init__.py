# SPDX-License-Identifier: Apache-2.0
"""The simulator: what scheduling does for a cluster of prefill units, hosts and links.

`engine` runs one cluster under one policy (C, csrc/sim, with csrc/core as the scheduler).
"""
