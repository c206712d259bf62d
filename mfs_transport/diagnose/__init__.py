# SPDX-License-Identifier: Apache-2.0
"""Is the shim, or the NCCL plug-in, in the way of transfers, and if not, why? For `mfs doctor`."""
