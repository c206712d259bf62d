/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/atomic.h"
#include "host/log.h"

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
    char line[1024];

    vsnprintf(line, sizeof(line), format, arguments);
    if (logger)
        logger(level, NCCL_INIT | NCCL_NET, __FILE__, __LINE__, "NET/MFS : %s", line);
    else
        mfs_log(level == NCCL_WARN ? MFS_LOG_WARN : MFS_LOG_INFO, "NCCL: %s", line);
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
