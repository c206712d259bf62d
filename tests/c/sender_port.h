/* SPDX-License-Identifier: Apache-2.0 */
/* Several senders of one port with a window of eight chunks: what the tests of core/sender begin
 * with. */
#ifndef MFS_TESTS_SENDER_PORT_H
#define MFS_TESTS_SENDER_PORT_H

#include "test.h"

#include "rivals.h"

#define SECOND INT64_C(1000000000)
#define CHUNK UINT64_C(1024)

static struct rivals all;
static struct rival *const one = &all.of[0], *const two = &all.of[1];
static int64_t now_ns = SECOND;

static void set_up(unsigned count, uint64_t share)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = 8 * CHUNK;
    config.window.chunk_max_bytes = CHUNK;
    config.untagged_permille = share;
    rivals_create(&all, count, &config);
    all.now_ns = now_ns;
}

static void tear_down(void)
{
    rivals_destroy(&all);
}

#endif
