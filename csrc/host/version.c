/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the package, which setup.py hands over from mfs_transport/__init__.py. */
#include "host/host.h"

#ifndef MFS_VERSION
#define MFS_VERSION "unknown"
#endif

const char *mfs_version(void)
{
    return MFS_VERSION;
}
