# SPDX-License-Identifier: Apache-2.0
"""usage: copies.py [--global SHIM] PLUGIN...: each plug-in, opened RTLD_LOCAL, moves data with
the UCX it was linked to. Prints the version of each."""

import ctypes
import os
import sys

arguments = sys.argv[1:]
if arguments[0] == "--global":
    ctypes.CDLL(arguments[1], mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    arguments = arguments[2:]
plugins = [ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL) for path in arguments]
for plugin in [*plugins, *plugins[::-1]]:
    version = ctypes.c_char_p()
    code = plugin.plugin_run(ctypes.byref(version))
    if code:
        sys.exit(f"plug-in failed: {code}")
    print((version.value or b"").decode())
