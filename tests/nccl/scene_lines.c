/* SPDX-License-Identifier: Apache-2.0 */
/* What LL and LL128 read while a message is on its way. */
#include <sched.h>
#include <string.h>

#include "harness.h"

/* LL: 32 bits of data and a flag in 8 bytes. */
static void ll_fill(char *out, size_t bytes, uint32_t flag)
{
    uint32_t *words = (uint32_t *)(void *)out;

    for (size_t i = 0; i < bytes / 4; i += 2) {
        words[i] = flag * 2654435761u + (uint32_t)i;
        words[i + 1] = flag;
    }
}

static void ll_read(struct world *world, char *in, size_t bytes, uint32_t flag, void *request,
                    int *done)
{
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t *word = (uint64_t *)(void *)in + i, value;
        int size;

        while ((value = __atomic_load_n(word, __ATOMIC_ACQUIRE)) >> 32 != flag) {
            if (!*done)
                CALL(world->net->test(request, done, &size));
            sched_yield();
        }
        NEED((uint32_t)value == flag * 2654435761u + (uint32_t)(2 * i));
    }
}

/* LL128: 120 bytes of data and a flag. */
static void ll128_fill(char *out, size_t bytes, uint64_t flag)
{
    uint64_t *words = (uint64_t *)(void *)out;

    for (size_t i = 0; i < bytes / 8; i++)
        words[i] = i % 16 == 15 ? flag : flag * 0x9e3779b97f4a7c15u + i;
}

static void ll128_read(struct world *world, char *in, size_t bytes, uint64_t flag, void *request,
                       int *done)
{
    for (size_t line = 0; line < bytes / 128; line++) {
        uint64_t *words = (uint64_t *)(void *)in + 16 * line;
        int size;

        while (__atomic_load_n(&words[15], __ATOMIC_ACQUIRE) != flag) {
            if (!*done)
                CALL(world->net->test(request, done, &size));
            sched_yield();
        }
        for (size_t i = 0; i < 15; i++)
            NEED(__atomic_load_n(&words[i], __ATOMIC_RELAXED) ==
                 flag * 0x9e3779b97f4a7c15u + 16 * line + i);
    }
}

void lines(struct world *world)
{
    static const size_t sizes[] = {128, 4096, 8192, 65536, 614400, MAX_BYTES};
    struct both both;

    world_open(world);
    both_open(world, &both, 0);
    for (unsigned round = 0; round < (slow ? 4u : 20u); round++) {
        for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            for (int ll128 = 0; ll128 < 2; ll128++) {
                const uint32_t flag = 1 + (round * 16 + s * 2 + (unsigned)ll128);
                int sent = 0, received = 0, size = 0;
                void *send, *receive;

                memset(both.in, 0, sizes[s]);
                world_barrier(world);
                receive = world_irecv(world, both.recv, both.in, MAX_BYTES, both.recv_mr);
                if (ll128)
                    ll128_fill(both.out, sizes[s], flag);
                else
                    ll_fill(both.out, sizes[s], flag);
                send = world_isend(world, both.send, both.out, sizes[s], both.send_mr);
                while (!sent) {
                    CALL(world->net->test(send, &sent, &size));
                    if (!received) /* the other side waits for our progress, too */
                        CALL(world->net->test(receive, &received, &size));
                    sched_yield();
                }
                if (ll128)
                    ll128_read(world, both.in, sizes[s], flag, receive, &received);
                else
                    ll_read(world, both.in, sizes[s], flag, receive, &received);
                while (!received) {
                    CALL(world->net->test(receive, &received, &size));
                    sched_yield();
                }
            }
        }
    }
    world_barrier(world);
    both_close(world, &both);
    CALL(world->net->finalize(world->ctx));
}
