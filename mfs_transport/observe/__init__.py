# SPDX-License-Identifier: Apache-2.0
"""What the processes of a host are doing, seen from outside of them."""
