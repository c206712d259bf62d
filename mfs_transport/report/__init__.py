# SPDX-License-Identifier: Apache-2.0
"""Results of demo, benches and simulator as one page: `mfs report`."""
