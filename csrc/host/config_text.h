/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forms of those STRING variables that stand for something:
 *
 *   MFS_POLICY            one of a few words
 *   MFS_SLO               NAME=TIME or NAME=FACTORx, with commas between: tight=300ms,loose=8x
 *   MFS_NCCL_CLASSES      LEVEL:CLASS, levels ascending from 0: 0:106,2:34
 *   MFS_NCCL_STAGES       CLASS:STAGE or p2p:STAGE: 1:kv_reuse,p2p:p2d
 *
 * Every other text is right.
 */
#ifndef MFS_HOST_CONFIG_TEXT_H
#define MFS_HOST_CONFIG_TEXT_H

#include <stddef.h>

#define MFS_CONFIG_SHOWN 80 /* of a wrong value in a message: what is allowed has to fit, too */

/* 0, or -EINVAL with a message (of size bytes) that says what the variable `name` allows. */
int mfs_config_text_check(const char *name, const char *text, char *message, size_t size);

#endif
