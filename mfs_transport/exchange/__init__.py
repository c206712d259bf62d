# SPDX-License-Identifier: Apache-2.0
"""Hosts that agree on what goes first: `mfs agent`, one for each segment.

message.py    what agents tell each other
seal.py       the shared key: nobody without it can say or change anything
roster.py     who the peers are: names, DNS, a file
contacts.py   or by the hosts that this one is connected to
ours.py       this host's workers and ports, told in pages
segment.py    the host's segment, by csrc/host/far.h
agent.py      who is there; what is done a thousand times a second is csrc/host/agent.h
loop.py       the agent with a socket and a clock
launcher.py   starting one, once a segment
"""
