/* SPDX-License-Identifier: Apache-2.0 */
/* One line on stderr, "mfs: ...", when MFS_LOG allows its level. The layer that
 * decides which error it is logs it, once. */
#ifndef MFS_HOST_LOG_H
#define MFS_HOST_LOG_H

#include "core/types.h"

enum mfs_log_level { MFS_LOG_WARN = 1, MFS_LOG_INFO = 2, MFS_LOG_DEBUG = 3 };

MFS_API void mfs_log(enum mfs_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
