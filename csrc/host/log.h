/* SPDX-License-Identifier: Apache-2.0 */
/* One line on stderr, "mfs: ...", when MFS_LOG allows its level. The layer that
 * decides which error it is logs it, once. */
#ifndef MFS_HOST_LOG_H
#define MFS_HOST_LOG_H

#include <stdatomic.h>

#include "core/types.h"

enum mfs_log_level { MFS_LOG_WARN = 1, MFS_LOG_INFO = 2, MFS_LOG_DEBUG = 3 };

/* A warning is kept in the segment as well, each format once (warned.h), whatever MFS_LOG is. */
MFS_API void mfs_log(enum mfs_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A warning that a process says once, and that is counted in the segment each time. */
MFS_API void mfs_warn_once(_Atomic bool *said, const char *text);
/* The line alone, which is kept nowhere. */
MFS_API void mfs_log_line(enum mfs_log_level level, const char *text);

#endif
