/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/atomic.h"
#include "host/log.h"
#include "host/warned.h"

enum { NCCL_WARN = 2, NCCL_INFO = 3, NCCL_INIT = 0x1, NCCL_NET = 0x10 };

static _Atomic(mfs_nccl_logger_t) log_to;

void mfs_nccl_log_to(mfs_nccl_logger_t logger)
{
    if (logger)
        mfs_publish(&log_to, logger);
}

static void say(int level, const char *format, va_list arguments)
{
    const mfs_nccl_logger_t logger = mfs_see(&log_to);
    char line[1024] = "NCCL: ";
    const size_t prefix = strlen(line);

    vsnprintf(line + prefix, sizeof(line) - prefix, format, arguments);
    if (level == NCCL_WARN)
        mfs_warned_note(mfs_host_get(), format, line);
    if (logger)
        logger(level, NCCL_INIT | NCCL_NET, __FILE__, __LINE__, "NET/MFS : %s", line + prefix);
    else
        mfs_log_line(level == NCCL_WARN ? MFS_LOG_WARN : MFS_LOG_INFO, line);
}

void mfs_nccl_warn(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(NCCL_WARN, format, arguments);
    va_end(arguments);
}

void mfs_nccl_info(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(NCCL_INFO, format, arguments);
    va_end(arguments);
}
