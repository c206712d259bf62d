# SPDX-License-Identifier: Apache-2.0
"""The cffi module `mfs_transport.sim._sim`: the simulator's functions (csrc/sim), from their headers."""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).parent.resolve()
sys.path.insert(0, str(CSRC))
from ffi import declarations  # noqa: E402

HEADERS = ["sim/model.h", "sim/sim.h"]

ffi = FFI()
ffi.cdef(
    "\n".join(declarations((CSRC / header).read_text()) for header in HEADERS)
    + '\nextern "Python" int mfs_sim_progressed(void *context, uint32_t done, double now_s);'
)
ffi.set_source(
    "mfs_transport.sim._sim",
    "\n".join(f'#include "{header}"' for header in HEADERS),
    include_dirs=[str(CSRC)],
    libraries=["mfs_sim"],
    extra_compile_args=["-std=c11", "-D_GNU_SOURCE"],
    extra_link_args=["-Wl,-rpath,$ORIGIN/.."],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
