# SPDX-License-Identifier: Apache-2.0
"""Emulated hosts on one machine, with real NIXL agents, the real NCCL net plug-in, and links that
are a real bottleneck. The demo is a small one; `mfs testbed` a whole cluster.

setting       the shape: hosts, ranks, units, links, who moves what
job           a request as it is replayed

network       hosts as network namespaces, or loopback with the shim's own pacer
inside        the command once more, inside namespaces of its own
coordinator   starts the hosts, replays requests under a policy, ends everything
router        who serves a request, where its bytes go, what is a batch
space, memory, channel    what lies where; messages
worker        one emulated host: agent, memory, loop
prefill, decode, store    the three roles
steps         keeps the processes of a host in step
batch, exchange_nixl, exchange_nccl, nccl_net    stage 2: by NIXL puts, or through NCCL's plug-in
cpu           was a processor the limit
port_line     what a link carried, and when
outcome       what came out of a run

llama, schedule, trace, report       the demo: costs, requests, its table and plot
modelled, compare, results, pictures `mfs testbed`: a cluster of the simulator made small, what is
              kept of its runs, tables and pictures
"""
