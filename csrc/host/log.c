/* SPDX-License-Identifier: Apache-2.0 */
#include "host/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "host/config.h"

void mfs_log(enum mfs_log_level level, const char *format, ...)
{
    char line[512] = "mfs: ";
    const size_t prefix = 5;
    va_list args;
    int length;

    if ((uint64_t)level > mfs_config_get()->log)
        return;
    va_start(args, format);
    length = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);
    va_end(args);
    if (length < 0)
        return;
    length = (size_t)length < sizeof(line) - prefix - 1 ? length : (int)(sizeof(line) - prefix - 2);
    line[prefix + (size_t)length] = '\n';
    /* one write, so that lines of several processes do not mix; nothing to do if it fails */
    if (write(STDERR_FILENO, line, prefix + (size_t)length + 1) < 0)
        return;
}
