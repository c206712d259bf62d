# SPDX-License-Identifier: Apache-2.0
"""vLLM: the deadline of a request reaches the wire."""
