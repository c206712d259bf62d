# SPDX-License-Identifier: Apache-2.0
"""Hosts that agree on what goes first: `mfs agent`, one for each segment.

message.py    what agents tell each other, as bytes
seal.py       the shared key: nobody without it can say or change anything
link.py       one peer: what is new, what is a replay, how long a message takes
roster.py     who the peers are: names, DNS, a file
ours.py       this host's workers and ports, told in pages
owner.py      our own ports: who may send, and for how long one may call itself urgent
segment.py    the host's segment, by csrc/host/far.h
agent.py      the loop
launcher.py   starting one, once a segment
"""
