/* SPDX-License-Identifier: Apache-2.0 */
/* A sender with several destinations. Its operations lie in memory of this process alone: whatever
 * the segment says, each byte leaves once. */
#include "host/sender.h"
#include "segment.h"

#define OPERATIONS 8
#define DESTINATIONS 3
#define LONGEST 100000

struct fuzz_traffic {
    struct mfs_host *host;
    struct mfs_sender *sender; /* NULL: not joined */
    struct mfs_destination destinations[DESTINATIONS];
    uint64_t inflight[DESTINATIONS];
    struct mfs_op ops[OPERATIONS];
    uint64_t length[OPERATIONS], sent[OPERATIONS];
    bool queued[OPERATIONS];
};

static bool join(struct fuzz_traffic *traffic)
{
    if (traffic->sender)
        return true;
    if (mfs_sender_join(traffic->host, "nic", MFS_EGRESS, NULL, &traffic->sender) != 0)
        return false; /* the lock or the tables cannot be had now */
    memset(traffic->destinations, 0, sizeof(traffic->destinations));
    memset(traffic->inflight, 0, sizeof(traffic->inflight));
    for (size_t i = 0; i < DESTINATIONS; i++)
        CHECK_EQ(mfs_sender_open(traffic->sender, &traffic->destinations[i], NULL), 0);
    return true;
}

static void leave(struct fuzz_traffic *traffic)
{
    if (!traffic->sender)
        return;
    for (size_t i = 0; i < DESTINATIONS; i++)
        mfs_sender_close(traffic->sender, &traffic->destinations[i]);
    mfs_sender_leave(traffic->sender);
    traffic->sender = NULL;
}

struct fuzz_traffic *fuzz_traffic_make(struct mfs_host *host)
{
    struct fuzz_traffic *traffic = calloc(1, sizeof(*traffic));

    CHECK(traffic != NULL);
    traffic->host = host;
    return traffic;
}

static void push(struct fuzz_traffic *traffic, uint32_t i, uint64_t *random, int64_t now_ns)
{
    const struct mfs_tag tag = {test_random(random) % 20, (uint32_t)(test_random(random) % 4),
                                (uint32_t)(test_random(random) % 4)};

    traffic->length[i] = 1 + test_random(random) % LONGEST;
    traffic->sent[i] = 0;
    traffic->ops[i] = (struct mfs_op){.length = traffic->length[i]};
    CHECK_EQ(mfs_sender_push(traffic->sender, &traffic->ops[i],
                             &traffic->destinations[test_random(random) % DESTINATIONS], &tag,
                             now_ns),
             0);
    traffic->queued[i] = true;
}

static void send(struct fuzz_traffic *traffic, int64_t now_ns)
{
    struct mfs_chunk chunk;
    struct mfs_destination *destination;

    if (mfs_sender_next(traffic->sender, 0, now_ns, &chunk) != 0)
        return;
    CHECK(chunk.length > 0 && chunk.offset == traffic->sent[chunk.op - traffic->ops]);
    traffic->sent[chunk.op - traffic->ops] += chunk.length;
    destination = (struct mfs_destination *)(void *)chunk.voq; /* its first field */
    traffic->inflight[destination - traffic->destinations] += chunk.length;
}

static void express(struct fuzz_traffic *traffic, uint64_t *random)
{
    const uint64_t bytes = 1 + test_random(random) % 8192;
    const size_t to = test_random(random) % DESTINATIONS;

    if (mfs_sender_express(traffic->sender, &traffic->destinations[to], bytes, 0) == 0)
        mfs_sender_done_now(traffic->sender, &traffic->destinations[to], bytes,
                            test_random(random) % 2);
}

uint32_t fuzz_traffic_step(struct fuzz_traffic *traffic, uint64_t *random)
{
    const int64_t now_ns = mfs_now_ns();
    uint32_t finished = 0;

    if (!join(traffic))
        return 0;
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        if (!traffic->queued[i] && test_random(random) % 2)
            push(traffic, i, random, now_ns);
    }
    for (uint64_t n = test_random(random) % 4; n > 0; n--)
        send(traffic, now_ns);
    for (size_t i = 0; i < DESTINATIONS; i++) {
        if (traffic->inflight[i] > 0 && test_random(random) % 3 == 0) {
            mfs_sender_done(traffic->sender, &traffic->destinations[i], traffic->inflight[i],
                            mfs_now_ns());
            traffic->inflight[i] = 0;
        }
    }
    express(traffic, random);
    if (test_random(random) % 16 == 0)
        mfs_sender_follow(traffic->sender);
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        CHECK(traffic->sent[i] <= traffic->length[i]);
        if (traffic->queued[i] && traffic->sent[i] == traffic->length[i]) {
            traffic->queued[i] = false;
            finished++;
        }
    }
    if (mfs_sender_operations(traffic->sender) == 0 && test_random(random) % 8 == 0)
        leave(traffic);
    return finished;
}

void fuzz_traffic_end(struct fuzz_traffic *traffic)
{
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        if (traffic->sender && traffic->queued[i])
            CHECK_EQ(mfs_sender_remove(traffic->sender, &traffic->ops[i], mfs_now_ns()), 0);
    }
    leave(traffic);
    free(traffic);
}
