/* SPDX-License-Identifier: Apache-2.0 */
/* Four threads on one context. */
#include <pthread.h>
#include <sched.h>

#include "harness.h"

struct stream {
    struct world *world;
    struct both both;
};

static void *stream_run(void *argument)
{
    struct stream *stream = argument;
    struct world *world = stream->world;
    struct both *both = &stream->both;

    for (uint64_t i = 0; i < (slow ? 50u : 300u); i++) {
        const size_t bytes = size_of(9, i);
        int sent = 0, received = 0, size = 0;
        void *receive = world_irecv(world, both->recv, both->in, MAX_BYTES, both->recv_mr);
        void *send = NULL;

        fill(both->out, i, bytes);
        while (!sent || !received) { /* as NCCL: what cannot go yet is asked for in turn */
            if (!send)
                CALL(
                    world->net->isend(both->send, both->out, bytes, 0, both->send_mr, NULL, &send));
            else if (!sent)
                CALL(world->net->test(send, &sent, NULL));
            if (!received)
                CALL(world->net->test(receive, &received, &size));
            sched_yield();
        }
        NEED((size_t)size == bytes);
        check(world, both->in, i, bytes);
    }
    return NULL;
}

void threads(struct world *world)
{
    struct stream streams[4];
    pthread_t ids[4];

    world_open(world);
    for (int i = 0; i < 4; i++) {
        streams[i].world = world;
        both_open(world, &streams[i].both, i);
    }
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&ids[i], NULL, stream_run, &streams[i]) != 0)
            DIE("pthread_create");
    }
    for (int i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
    world_barrier(world);
    for (int i = 0; i < 4; i++)
        both_close(world, &streams[i].both);
    CALL(world->net->finalize(world->ctx));
}
