# SPDX-License-Identifier: Apache-2.0
"""A KV store: its pool is read by the prefill host of the same rank. All of it is passive."""

from .worker import Worker

WORKER = Worker
