/* SPDX-License-Identifier: Apache-2.0 */
#include "host/queue.h"

#include "host.h"

/* The level of one operation of this stage, alone in a queue. */
static uint32_t level_of(struct mfs_host *host, uint32_t stage)
{
    const struct mfs_tag tag = {MFS_REQUEST_NONE, 0, stage};
    struct mfs_op op = {.length = 1 << 20};
    struct mfs_rmlq *queue;
    struct mfs_port *port;
    uint32_t level;

    CHECK_EQ(mfs_port_open(host, "eth7", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_queue_create(host, port, &queue), 0);
    CHECK_EQ(mfs_rmlq_push(queue, &op, &tag, 1), 0);
    level = mfs_rank_level(mfs_rmlq_peek(queue, 1));
    mfs_rmlq_destroy(queue);
    mfs_port_close(port);
    return level;
}

static void create__untagged_traffic_is_of_the_stage_that_is_configured(void)
{
    struct mfs_host *host;

    setenv("MFS_UNTAGGED_STAGE", "collective", 1);
    host = host_private();
    CHECK_EQ(level_of(host, MFS_STAGE_NONE), level_of(host, MFS_STAGE_COLLECTIVE));
    CHECK(level_of(host, MFS_STAGE_NONE) != level_of(host, MFS_STAGE_P2D));
    mfs_host_close(host);
}

static void settings__another_policy(void)
{
    const struct mfs_tag collective = {MFS_REQUEST_NONE, 0, MFS_STAGE_COLLECTIVE};
    struct mfs_op first = {.length = 1 << 20}, second = {.length = 1 << 20};
    const struct mfs_tag untagged = {MFS_REQUEST_NONE, 0, MFS_STAGE_NONE};
    struct mfs_host *host = host_private();
    struct mfs_rmlq *queue;
    struct mfs_chunk chunk;
    struct mfs_port *port;

    CHECK_EQ(mfs_port_open(host, "eth7", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_queue_create(host, port, &queue), 0);
    CHECK_EQ(mfs_rmlq_push(queue, &first, &untagged, 1), 0);
    CHECK_EQ(mfs_rmlq_push(queue, &second, &collective, 2), 0);
    CHECK_EQ(mfs_host_set_policy(host, "fifo"), 0);
    mfs_queue_settings(host, port, queue);
    CHECK_EQ(mfs_rmlq_take(queue, 1 << 16, 3, &chunk), 0);
    CHECK(chunk.op == &first);
    CHECK_EQ(mfs_host_set_policy(host, "mfs"), 0);
    mfs_queue_settings(host, port, queue);
    CHECK_EQ(mfs_rmlq_take(queue, 1 << 16, 4, &chunk), 0);
    CHECK(chunk.op == &second);
    mfs_rmlq_destroy(queue);
    mfs_port_close(port);
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(create__untagged_traffic_is_of_the_stage_that_is_configured),
    TEST(settings__another_policy),
};

TEST_MAIN(tests)
