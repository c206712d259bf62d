# SPDX-License-Identifier: Apache-2.0
"""How a bench begins: an error of the system is one line and exit status 1, as with `mfs`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mfs_transport.__main__ import BAD_INPUT, fail, failed
from mfs_transport.native import InputError


def begin(main: Callable[[], object]) -> None:
    try:
        main()
    except InputError as error:
        sys.exit(fail(error, BAD_INPUT))
    except OSError as error:
        sys.exit(failed(error))
