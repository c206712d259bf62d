# SPDX-License-Identifier: Apache-2.0
"""usage: copies.py [--global SHIM] [--close] PLUGIN...: each plug-in, opened RTLD_LOCAL, moves
data with the UCX it was linked to. Prints the version of each, and where it was loaded.

--close: each is closed before the next is opened; else all are open, and run forth and back."""

import _ctypes
import ctypes
import os
import sys

arguments = sys.argv[1:]
if arguments[0] == "--global":
    ctypes.CDLL(arguments[1], mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    arguments = arguments[2:]


def opened(path):
    return ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)


def run(plugin):
    version = ctypes.c_char_p()
    code = plugin.plugin_run(ctypes.byref(version))
    if code:
        sys.exit(f"plug-in failed: {code}")
    place = ctypes.cast(plugin.plugin_run, ctypes.c_void_p).value
    print((version.value or b"").decode(), hex(place), flush=True)


if arguments[0] == "--close":
    for path in arguments[1:]:
        plugin = opened(path)
        run(plugin)
        _ctypes.dlclose(plugin._handle)
else:
    plugins = [opened(path) for path in arguments]
    for plugin in [*plugins, *plugins[::-1]]:
        run(plugin)
