# SPDX-License-Identifier: Apache-2.0
"""Where deadlines and tags come from: one module an engine."""
