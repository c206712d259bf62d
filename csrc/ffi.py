# SPDX-License-Identifier: Apache-2.0
"""The cffi modules: `mfs_transport._mfs` has every MFS_API function of core and host,
`mfs_transport.sim._sim` those of the simulator.

The declarations are read from the headers themselves, so there is one place to
change. The headers keep to what cffi understands: structs, enums, prototypes,
and macros that are plain numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).parent.resolve()
HEADERS = [
    "core/types.h",
    "core/facts.h",
    "core/policy.h",
    "core/why.h",
    "core/plan.h",
    "core/slack.h",
    "core/window.h",
    "core/heap.h",
    "core/rmlq.h",
    "core/exchange.h",
    "core/classes.h",
    "core/owner.h",
    "core/destination.h",
    "core/port_state.h",
    "core/window_state.h",
    "core/sender.h",
    "host/config.h",
    "host/host.h",
    "host/port.h",
    "host/sender.h",
    "host/event.h",
    "host/warned.h",
    "host/classes.h",
    "host/look.h",
    "core/waits.h",
    "host/look_waits.h",
    "host/verdict.h",
    "host/far.h",
    "host/contact.h",
    "host/guest.h",
    "host/look_far.h",
    "host/agent_message.h",
    "host/agent.h",
    "host/agent_segment.h",
    "host/agent_wire.h",
]
SIM_HEADERS = ["sim/model.h", "sim/sim.h"]
NUMBER = re.compile(r"^#define\s+(MFS_[A-Z_]+)\s+(U?INT64_MAX|\d+)u?\b", re.M)


def declarations(text: str) -> str:
    """What cffi's cdef takes of one header."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    text = text.replace("\\\n", " ")
    # the lengths of arrays have to be known, the limits of a type cannot be said
    constants = [
        f"#define {name} {value if value.isdigit() else '...'}"
        for name, value in NUMBER.findall(text)
    ]
    text = re.sub(r"static inline [^{;]*\{.*?\n\}\n", "", text, flags=re.S)
    # the struct of all settings is the C side's own; Python reads the table's rows
    text = re.sub(r"struct mfs_config \{.*?\n\};", "struct mfs_config;", text, flags=re.S)
    text = re.sub(r"typedef \S+(?: char \*|\s+)mfs_config_[A-Z]+;", "", text)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    # what only C calls is not exported; of a word that processes share, Python sees the value, and
    # no pointer to it
    text = re.sub(r"^(?!.*MFS_API)[a-z][\w ]*\*?\w+\([^;{]*\);", "", text, flags=re.M)
    text = re.sub(r"^MFS_API [^;(]*\b_Atomic\b[^;(]*\([^;]*\);", "", text, flags=re.M)
    # clang lets no pointer to such a word be one to a plain word; Python needs none of them
    field = r"(struct \w+ \{[^{}]*?)\n +_Atomic \w+ \*[^;{}]*;([^{}]*)\n\};"
    text = re.sub(field, r"\1\2\n    ...;\n};", text)
    text = re.sub(r"\b(?:const )?_Atomic\b ?", "", text)
    text = re.sub(r"\bMFS_API\s+", "", text)
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", text)
    return "\n".join(constants) + "\n" + text


ffi = FFI()
ffi.cdef(
    "\n".join(declarations((CSRC / header).read_text()) for header in HEADERS)
    + "\nuint64_t mfs_rank_make(unsigned level, int64_t key);"
    + "\nunsigned mfs_rank_level(uint64_t rank);"
    + "\nint64_t mfs_rank_key(uint64_t rank);"
)
ffi.set_source(
    "mfs_transport._mfs",
    "\n".join(f'#include "{header}"' for header in HEADERS),
    include_dirs=[str(CSRC)],
    libraries=["mfs"],
    extra_compile_args=["-std=c11", "-D_GNU_SOURCE"],
    extra_link_args=["-Wl,-rpath,$ORIGIN"],
    py_limited_api=True,
)

ffi_sim = FFI()
ffi_sim.cdef(
    "\n".join(declarations((CSRC / header).read_text()) for header in SIM_HEADERS)
    + '\nextern "Python" int mfs_sim_progressed(void *context, uint32_t done, double now_s);'
)
ffi_sim.set_source(
    "mfs_transport.sim._sim",
    "\n".join(f'#include "{header}"' for header in SIM_HEADERS),
    include_dirs=[str(CSRC)],
    libraries=["mfs_sim"],
    extra_compile_args=["-std=c11", "-D_GNU_SOURCE"],
    extra_link_args=["-Wl,-rpath,$ORIGIN/.."],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
    ffi_sim.compile(verbose=True)
