# SPDX-License-Identifier: Apache-2.0
"""One file a subcommand of `mfs`; each exports a click command named `command`."""
