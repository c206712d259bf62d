# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md, made from csrc/host/config.def and the table of policies."""

from __future__ import annotations

from .native import config_rows, policies

PAGE = """\
<!-- Made by `mfs info --markdown`; change csrc/host/config.def instead. -->

# Configuration

Every setting is a variable `MFS_...`. It is taken from the first of these that has it:

1. the command line: `mfs run --policy edf --set MFS_WINDOW=1m -- COMMAND`
2. the environment: `MFS_WINDOW=1m`
3. a TOML file: the one that `MFS_CONFIG` names, else `./mfs.toml`, else
   `~/.config/mfs/mfs.toml`; keys are the names in lower case without `MFS_`:

   ```toml
   [mfs]
   policy = "edf"
   window = "1m"
   ```

4. the default

`mfs info` shows every value and its source. `mfs run` hands what comes from its command line
and the file to the program as environment variables, which is all that the library reads:
a program that is started without it is not touched by a file. `enable` and `config` cannot
be set in a file.

With `mfs run` a value that cannot be used ends it with one line and exit status 2. The
library warns and uses the default, and names the nearest right variable for an unknown one.

## Variables

| variable | type | default | |
|---|---|---|---|
{settings}

Types: BOOL 0, 1, yes, no, on, off · UINT a whole number · BYTES with `k`, `m` or `g` behind
(powers of 1024) · RATE bytes per second, or bits per second with `kbit`, `mbit` or `gbit`
behind · TIME with `ns`, `us`, `ms` or `s` behind · STRING text.

## Policies

| policy | |
|---|---|
{policies}

The policy of a host may be changed while processes run:
`mfs_transport.default_host().policy = "edf"`.

## What else `mfs run` sets

| variable | value | why |
|---|---|---|
| `MFS_ENABLE` | `1` | the shim does nothing without it |
| `LD_PRELOAD` | `libmfs_ucx.so`, then yours; a sanitizer first | puts the shim in front of UCX |
| `NIXL_UCX_DEEPBIND` | `0` | with 1 NIXL's calls pass the shim by |
| `UCX_MODULES` | `^efa` where the system has a libefa too | else NIXL 1.5.1 crashes at exit |
| `NCCL_NET_PLUGIN`, `NCCL_NET` | our plug-in, `MFS` | NCCL falls back without a word |
| `MFS_NCCL_UCX` | the package `libucx`, if it suits the host | the loader does not find it |

What you set stays, but for the first three.
"""


def markdown() -> str:
    """The page about configuration."""

    def line(*cells: str) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    def code(text: str) -> str:
        return f"`{text}`" if text else ""

    settings = [
        line(code(row.name), row.type, code(row.default), row.help) for row in config_rows()
    ]
    return PAGE.format(
        settings="\n".join(settings),
        policies="\n".join(line(code(row.name), row.help) for row in policies()),
    )
