/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two connected workers of one process, which is its host's agent as well: it finds their uids in
 * the segment, says that each is at a far port, and limits that port. What is put waits, is told as
 * a claim, and goes, with the flush that waits for it, when the agent has gone, or says
 * nothing more.
 *
 *     far gone | silent
 */
#include <string.h>

#include "host/far.h"
#include "pair.h"

#define BYTES ((size_t)1 << 20)
#define LOOKS 2000

static uint32_t far_port;

static void agent_begins(struct mfs_host *host)
{
    struct mfs_far_own own[4];

    CHECK(mfs_far_attend(host, INT64_C(10000000000)) == 0);
    CHECK(mfs_far_own(host, own, 4) == 2);
    CHECK(own[0].uid != own[1].uid);
    CHECK(strcmp(own[0].port, "nic-of-test") == 0);
    CHECK(mfs_far_port(host, 1, "b/eth0", &far_port) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(mfs_far_worker(host, own[i].uid, far_port, far_port) == 0);
}

static void limit(struct mfs_host *host)
{
    CHECK(mfs_far_attend(host, INT64_C(10000000000)) == 0);
    mfs_far_limit(host, far_port, 0, 0, INT64_C(200000000));
}

/* It stays where it is while the limit is told anew, and the agent hears of it. */
static void check_held(struct mfs_host *host, ucs_status_ptr_t request)
{
    struct mfs_claim claims[2] = {{.level = MFS_FAR_NO_LEVEL}};
    int looks = 0;

    /* what waits is told half a millisecond later */
    while (looks++ < LOOKS || claims[0].level == MFS_FAR_NO_LEVEL) {
        limit(host);
        pair_progress();
        CHECK(ucp_request_check_status(request) == UCS_INPROGRESS);
        CHECK(mfs_far_claims(host, mfs_now_ns(), claims, 2) == 1);
    }
    CHECK(!pair_equal(0, BYTES));
    CHECK(claims[0].far == far_port);
    CHECK(claims[0].level > 0 && claims[0].level <= MFS_LEVELS_MAX);
    CHECK(claims[0].waiting_bytes == BYTES);
}

int main(int argc, char **argv)
{
    const struct pair_options options = {.mode = UCS_THREAD_MODE_SINGLE};
    const bool gone = argc > 1 && strcmp(argv[1], "gone") == 0;
    struct mfs_host *host = mfs_host_get();
    struct outcome outcome = {0};
    ucs_status_ptr_t request;

    CHECK(host != NULL);
    pair_open(&options);
    agent_begins(host);
    limit(host);
    request = put(0, BYTES, &outcome, 0);
    CHECK(UCS_PTR_IS_PTR(request));
    check_held(host, request);
    if (gone)
        mfs_far_depart(host);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK_OK(wait_for(request));
    CHECK(pair_equal(0, BYTES));
    pair_close();
    {
        struct mfs_far_own own[4];

        CHECK(mfs_far_own(host, own, 4) == 0);
    }
    return 0;
}
