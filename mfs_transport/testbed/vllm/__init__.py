# SPDX-License-Identifier: Apache-2.0
"""Real vLLM servers on emulated hosts: prefill and decode apart, a shaped port between them.

    client -> proxy -> prefill (host P) ==KV over the shaped port==> decode (host D)

vLLM is in an environment of its own (`venv`); everything else here runs in ours and drives
the servers over HTTP. The model is tiny, has random weights, and is made on the spot.
"""
