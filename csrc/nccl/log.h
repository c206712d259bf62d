/* SPDX-License-Identifier: Apache-2.0 */
/* Lines in NCCL's log when it gave us its logger, else on stderr as MFS_LOG allows. */
#ifndef MFS_NCCL_LOG_H
#define MFS_NCCL_LOG_H

#include "nccl/net.h"

void mfs_nccl_log_to(mfs_nccl_logger_t logger); /* NULL: what was set stays */
void mfs_nccl_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void mfs_nccl_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
