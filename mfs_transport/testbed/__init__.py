# SPDX-License-Identifier: Apache-2.0
"""Emulated hosts on one machine, with real NIXL agents and links that are a real bottleneck.

setting       the cluster that is emulated, and its scale
trace         requests in the Mooncake JSONL format: read, or made
schedule      which request arrives when, and when its first token is due
network       hosts as network namespaces, or loopback with the shim's own pacer
worker        one emulated host: channel, agent, memory, loop
prefill, decode, store   the three roles
coordinator   starts the hosts, runs policies and seeds, ends everything
report        table, plot, JSON
"""
