/* SPDX-License-Identifier: Apache-2.0 */
#include "host/agent_message.h"

#include "host/far.h"
#include "test.h"

static struct mfs_message in, out;
static uint8_t data[MFS_MESSAGE_BYTES_MAX];
static const char *why;

static void header__comes_out_as_it_went_in(void)
{
    const struct mfs_message_header header = {1, UINT64_MAX, 3};
    struct mfs_message_header found;

    mfs_message_header_pack(&header, data);
    CHECK_EQ(mfs_message_header_parse(data, 200, &found), 0);
    CHECK(memcmp(&header, &found, sizeof(header)) == 0);
    CHECK_EQ(mfs_message_header_parse(data, 43, &found), -EMSGSIZE);
    CHECK_EQ(mfs_message_header_parse(data, 1201, &found), -EMSGSIZE);
    data[3]++;
    CHECK_EQ(mfs_message_header_parse(data, 200, &found), -EPROTONOSUPPORT);
    data[0]++;
    CHECK_EQ(mfs_message_header_parse(data, 200, &found), -EBADMSG);
}

static void body__with_all_that_a_host_may_say(void)
{
    int size;

    in = (struct mfs_message){.to_boot = 5, .heard = 6, .held_us = 7, .leaves = true};
    in.claim_count = in.limit_count = MFS_MESSAGE_PORTS_MAX;
    for (uint32_t i = 0; i < MFS_MESSAGE_PORTS_MAX; i++) {
        in.claims[i] = (struct mfs_message_claim){i, i, -(int64_t)i, i, i + 1, i + 2};
        in.limits[i] = (struct mfs_message_limit){i, i, (int64_t)i << 40, i * 1000, i};
    }
    size = mfs_message_pack(&in, data, sizeof(data));
    CHECK(size > 0);
    CHECK_EQ(mfs_message_parse(data, (size_t)size, &out, &why), 0);
    CHECK(memcmp(in.claims, out.claims, sizeof(in.claims)) == 0);
    CHECK(memcmp(in.limits, out.limits, sizeof(in.limits)) == 0);
    CHECK_EQ(out.to_boot, 5);
    CHECK_EQ(out.heard, 6);
    CHECK_EQ(out.held_us, 7);
    CHECK(out.leaves);
    CHECK_EQ(mfs_message_pack(&in, data, (size_t)size - 1), -EMSGSIZE);
}

static void page__of_ports_and_workers(void)
{
    int size;

    in = (struct mfs_message){.page = 1, .pages = 3, .port_count = 16, .worker_count = 24};
    for (uint32_t i = 0; i < 16; i++) {
        in.ports[i].direction = i % 2;
        memset(in.ports[i].name, 'a' + (int)i, 2 * i + 1); /* the longest has all 31 */
    }
    for (uint32_t i = 0; i < 24; i++)
        in.workers[i] = (struct mfs_message_worker){i, i + 1, i + 2};
    size = mfs_message_pack(&in, data, sizeof(data));
    CHECK(size > 0);
    CHECK_EQ(mfs_message_parse(data, (size_t)size, &out, &why), 0);
    CHECK_EQ(out.page, 1);
    CHECK_EQ(out.pages, 3);
    CHECK_EQ(out.port_count, 16);
    for (uint32_t i = 0; i < 16; i++)
        CHECK(strcmp(in.ports[i].name, out.ports[i].name) == 0);
    CHECK(memcmp(in.workers, out.workers, sizeof(in.workers)) == 0);
    in.worker_count = MFS_MESSAGE_WORKERS_MAX;
    CHECK_EQ(mfs_message_pack(&in, data, sizeof(data)), -EMSGSIZE);
}

/* A body of 36 zeros and these bytes. */
static const char *wrong(const char *bytes, size_t count)
{
    uint8_t *exact = calloc(1, 36 + count); /* no byte behind it: a sanitizer sees who reads one */

    memcpy(exact + 36, bytes, count);
    mfs_message_parse(exact, 36 + count, &out, &why);
    free(exact);
    return why ? why : "";
}

static void parse__what_does_not_fit_is_named(void)
{
    static const struct {
        const char *bytes;
        size_t count;
        const char *why;
    } rows[] = {
        {"\x63\x03\x02\x00"
         "abcdef",
         10, ""}, /* a kind that we do not know */
        {"\x04", 1, "a section that is cut"},
        {"\x04\x28\x01", 3, "a section that is cut"},
        {"\x04\x28\x01\x00", 4, "a section that is cut"},
        {"\x04\x04\x01\x00"
         "abcd",
         8, "an entry that is too short"},
        {"\x01\x04\x01\x00\x02\x00\x02\x00", 8, "a page behind the last"},
        {"\x01\x04\x01\x00\x01\x00\x02\x00", 8, ""},
        {"\x03\x10\x01\x00"
         "abcdefghabcdefgh",
         20, "ports of no page"},
    };

    for (unsigned i = 0; i < COUNT(rows); i++) {
        const char *found = wrong(rows[i].bytes, rows[i].count);

        if (strcmp(found, rows[i].why) != 0)
            FAIL("row %u: %s", i, found);
    }
}

static void parse__a_port_without_a_name_that_can_be_shown(void)
{
    uint8_t body[36 + 8 + 4 + 36] = {0};

    memcpy(body + 36, "\x01\x04\x01\x00\x00\x00\x01\x00\x02\x24\x01\x00", 12);
    CHECK_EQ(mfs_message_parse(body, sizeof(body), &out, &why), -EBADMSG);
    memcpy(body + 52, "eth0", 4);
    CHECK_EQ(mfs_message_parse(body, sizeof(body), &out, &why), 0);
    body[54] = '\n';
    CHECK_EQ(mfs_message_parse(body, sizeof(body), &out, &why), -EBADMSG);
    body[54] = 'h';
    body[48] = 2; /* direction */
    CHECK_EQ(mfs_message_parse(body, sizeof(body), &out, &why), -EBADMSG);
}

static void parse__numbers_are_brought_into_their_bounds(void)
{
    int size;

    in = (struct mfs_message){.claim_count = 2, .limit_count = 1};
    in.claims[0] = (struct mfs_message_claim){1, 33, INT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    in.claims[1] = (struct mfs_message_claim){1, 255, INT64_MIN, 1, 2, 3};
    in.limits[0] =
        (struct mfs_message_limit){1, 32, INT64_MIN, INT64_C(4000000000) * 1000, UINT32_MAX};
    size = mfs_message_pack(&in, data, sizeof(data));
    CHECK_EQ(mfs_message_parse(data, (size_t)size, &out, &why), 0);
    CHECK_EQ(out.claims[0].level, MFS_FAR_NO_LEVEL);
    CHECK_EQ(out.claims[0].span_ns, MFS_MESSAGE_SPAN_MAX_NS);
    CHECK_EQ(out.claims[0].done_bytes, MFS_MESSAGE_COUNT_MAX);
    CHECK_EQ(out.claims[1].span_ns, -MFS_MESSAGE_SPAN_MAX_NS);
    CHECK_EQ(out.limits[0].level, 32);
    CHECK_EQ(out.limits[0].for_ns, MFS_MESSAGE_FOR_MAX_NS);
    CHECK_EQ(out.limits[0].sharers, MFS_MESSAGE_SHARERS_MAX);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(header__comes_out_as_it_went_in),
        TEST(body__with_all_that_a_host_may_say),
        TEST(page__of_ports_and_workers),
        TEST(parse__what_does_not_fit_is_named),
        TEST(parse__a_port_without_a_name_that_can_be_shown),
        TEST(parse__numbers_are_brought_into_their_bounds),
    };

    return test_main(tests, COUNT(tests), argc, argv);
}
