# SPDX-License-Identifier: Apache-2.0
# The cffi module is generated from the C headers at build time.
from typing import Any

ffi: Any
lib: Any
