/* SPDX-License-Identifier: Apache-2.0 */
#include "host/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"

void mfs_log_line(enum mfs_log_level level, const char *text)
{
    char line[512];
    int length;

    if ((uint64_t)level > mfs_config_get()->log)
        return;
    length = snprintf(line, sizeof(line) - 1, "mfs: %s", text);
    if (length < 0)
        return;
    length = (size_t)length < sizeof(line) - 1 ? length : (int)(sizeof(line) - 2);
    line[length] = '\n';
    /* one write, so that lines of several processes do not mix; nothing to do if it fails */
    if (write(STDERR_FILENO, line, (size_t)length + 1) < 0)
        return;
}

void mfs_log(enum mfs_log_level level, const char *format, ...)
{
    char text[512];
    va_list args;
    int length;

    if (level != MFS_LOG_WARN && (uint64_t)level > mfs_config_get()->log)
        return;
    va_start(args, format);
    length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (length < 0)
        return;
    if (level == MFS_LOG_WARN)
        mfs_warned_note(mfs_host_known(), format, text);
    mfs_log_line(level, text);
}

void mfs_warn_once(_Atomic bool *said, const char *text)
{
    mfs_warned_note(mfs_host_known(), text, text);
    if (!mfs_swap(said, true))
        mfs_log_line(MFS_LOG_WARN, text);
}
