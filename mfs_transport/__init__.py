# SPDX-License-Identifier: Apache-2.0
"""mfs-transport: schedules the transfers of LLM serving by their TTFT deadlines."""

from .control import Egress, Host, Request, Unit, batch, default_host, register, tag
from .native import InputError

__version__ = "0.1.0"
__all__ = [
    "Egress",
    "Host",
    "InputError",
    "Request",
    "Unit",
    "batch",
    "default_host",
    "register",
    "tag",
]
