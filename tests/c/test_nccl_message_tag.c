/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: the sources themselves, which lie above the floors that C tests link */
#include "nccl/message_tag.c"
/* clang-format on */

#include "test.h"

static struct mfs_nccl_message_tag tag_of_class(int traffic_class)
{
    return (struct mfs_nccl_message_tag){.traffic_class = traffic_class};
}

static void tag__a_collective_of_nothing_by_itself(void)
{
    struct mfs_nccl_message_tag message_tag = tag_of_class(-1);
    const struct mfs_tag tag = mfs_nccl_message_tag_get(&message_tag);

    CHECK_EQ(tag.request, MFS_REQUEST_NONE);
    CHECK_EQ(tag.stage, MFS_STAGE_COLLECTIVE);
}

static void tag__of_the_batch(void)
{
    struct mfs_nccl_message_tag message_tag = tag_of_class(-1);
    struct mfs_tag tag;

    mfs_batch_set(77, 5);
    tag = mfs_nccl_message_tag_get(&message_tag);
    CHECK_EQ(tag.request, 77);
    CHECK_EQ(tag.layer, 5);
    CHECK_EQ(tag.stage, MFS_STAGE_COLLECTIVE);
}

static void tag__stage_of_the_traffic_class(void)
{
    struct mfs_nccl_message_tag tags[] = {tag_of_class(1), tag_of_class(22), tag_of_class(2),
                                          tag_of_class(-1)};
    const uint32_t stages[] = {MFS_STAGE_KV_REUSE, MFS_STAGE_P2D, MFS_STAGE_COLLECTIVE,
                               MFS_STAGE_COLLECTIVE};

    setenv("MFS_NCCL_STAGES", "1:kv_reuse,22:p2d", 1);
    mfs_batch_set(9, 0);
    for (size_t i = 0; i < COUNT(tags); i++) {
        const struct mfs_tag tag = mfs_nccl_message_tag_get(&tags[i]);

        CHECK_EQ_AT(tag.stage, stages[i], i);
        CHECK_EQ_AT(tag.request, 9, i);
    }
}

static void tag__a_list_that_is_none_changes_nothing(void)
{
    struct mfs_nccl_message_tag message_tag = tag_of_class(1);

    setenv("MFS_NCCL_STAGES", "1:first,x:p2d,1", 1);
    CHECK_EQ(mfs_nccl_message_tag_get(&message_tag).stage, MFS_STAGE_COLLECTIVE);
}

static void attr__communicators_that_only_send_and_receive(void)
{
    struct mfs_nccl_message_tag message_tag = tag_of_class(-1);
    struct mfs_nccl_attr attr = {.op = 1u << 6 | 1u << 7}; /* ncclFuncSend, ncclFuncRecv */

    setenv("MFS_NCCL_STAGES", "1:kv_reuse,p2p:p2d", 1);
    CHECK_EQ(mfs_nccl_message_tag_get(&message_tag).stage, MFS_STAGE_COLLECTIVE);
    mfs_nccl_message_tag_attr(&message_tag, &attr);
    CHECK_EQ(mfs_nccl_message_tag_get(&message_tag).stage, MFS_STAGE_P2D);
    attr.op |= 1u << 4; /* ncclFuncAllReduce */
    mfs_nccl_message_tag_attr(&message_tag, &attr);
    CHECK_EQ(mfs_nccl_message_tag_get(&message_tag).stage, MFS_STAGE_COLLECTIVE);
    attr.op = UINT32_MAX; /* not known */
    mfs_nccl_message_tag_attr(&message_tag, &attr);
    CHECK_EQ(mfs_nccl_message_tag_get(&message_tag).stage, MFS_STAGE_COLLECTIVE);
}

static void attr__the_traffic_class_comes_before(void)
{
    struct mfs_nccl_message_tag tags[] = {tag_of_class(1), tag_of_class(2), tag_of_class(0)};
    const uint32_t stages[] = {MFS_STAGE_KV_REUSE, MFS_STAGE_P2D, MFS_STAGE_P2D};
    const struct mfs_nccl_attr attr = {.op = 1u << 6};

    setenv("MFS_NCCL_STAGES", "p2p:p2d,1:kv_reuse", 1);
    for (size_t i = 0; i < COUNT(tags); i++) {
        mfs_nccl_message_tag_attr(&tags[i], &attr);
        CHECK_EQ_AT(mfs_nccl_message_tag_get(&tags[i]).stage, stages[i], i);
    }
}

static const struct test tests[] = {
    TEST(tag__a_collective_of_nothing_by_itself),
    TEST(tag__of_the_batch),
    TEST(tag__stage_of_the_traffic_class),
    TEST(tag__a_list_that_is_none_changes_nothing),
    TEST(attr__communicators_that_only_send_and_receive),
    TEST(attr__the_traffic_class_comes_before),
};

TEST_MAIN(tests)
