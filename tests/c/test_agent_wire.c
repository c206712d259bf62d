/* SPDX-License-Identifier: Apache-2.0 */
#include "host/agent_wire.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "host/host.h"
#include "test.h"

#define TICK_NS INT64_C(6000000) /* longer than the time from a tick to the next */

static uint32_t ticks;

/* A tick of a machine that has too little time for it. */
static void attend(void *context, int64_t now_ns)
{
    (void)context;
    if (++ticks > 100)
        FAIL("it does not come back");
    while (mfs_now_ns() < now_ns + TICK_NS)
        ;
}

static void run__comes_back_though_every_tick_is_late(void)
{
    const struct mfs_agent_setup setup = {.identity = 1, .boot = 1, .ops = {.attend = attend}};
    const int ours = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct mfs_agent *agent;
    struct mfs_agent_wire *wire;

    CHECK(ours >= 0);
    CHECK_EQ(mfs_agent_new(&setup, &agent), 0);
    CHECK_EQ(mfs_agent_wire_open(agent, ours, false, false, &wire), 0);
    CHECK_EQ(mfs_agent_wire_run(wire, mfs_now_ns() + 3 * TICK_NS), 0);
    CHECK(ticks > 0);
    CHECK_EQ(mfs_agent_wire_run(wire, mfs_now_ns()), 0);
    mfs_agent_wire_close(wire);
    mfs_agent_free(agent);
    close(ours);
}

static const struct test tests[] = {
    TEST(run__comes_back_though_every_tick_is_late),
};

TEST_MAIN(tests)
