/* SPDX-License-Identifier: Apache-2.0 */
/* What LL and LL128 read while a message is on its way. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
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

/* LL128: 120 bytes of data and a flag. */
static void ll128_fill(char *out, size_t bytes, uint64_t flag)
{
    uint64_t *words = (uint64_t *)(void *)out;

    for (size_t i = 0; i < bytes / 8; i++)
        words[i] = i % 16 == 15 ? flag : flag * 0x9e3779b97f4a7c15u + i;
}

/*
 * Reads as the GPU does: by a thread of its own, while the bytes come, and without asking whether
 * they have. Not so lines of 128 bytes that a processor puts, UCX's or the kernel's code, in an
 * order of its own (docs/nccl.md, Limits): `between` is by the progress thread, between two tests.
 * HARNESS_LL128=none: not at all; a number: up to so many bytes (those of MFS_NCCL_EAGER, which we
 * copy), by a thread of its own.
 */
struct reader {
    struct world *world;
    char *in;
    size_t bytes;
    uint32_t flag;
    bool ll128, between;
    void *receive;
    int received, size;
};

static void until_flag(struct reader *reader, const uint64_t *word, unsigned shift)
{
    struct world *world = reader->world;

    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) >> shift != reader->flag) {
        if (reader->between && !reader->received)
            CALL(world->net->test(reader->receive, &reader->received, &reader->size));
        sched_yield();
    }
}

static void ll_read(struct reader *reader, const uint64_t *words)
{
    struct world *world = reader->world;

    for (size_t i = 0; i < reader->bytes / 8; i++) {
        until_flag(reader, &words[i], 32);
        NEED((uint32_t)__atomic_load_n(&words[i], __ATOMIC_RELAXED) ==
             reader->flag * 2654435761u + (uint32_t)(2 * i));
    }
}

static void ll128_read(struct reader *reader, const uint64_t *words)
{
    struct world *world = reader->world;

    for (size_t line = 0; line < reader->bytes / 128; line++, words += 16) {
        until_flag(reader, &words[15], 0);
        for (size_t i = 0; i < 15; i++)
            NEED(__atomic_load_n(&words[i], __ATOMIC_RELAXED) ==
                 reader->flag * 0x9e3779b97f4a7c15u + 16 * line + i);
    }
}

static void *read_lines(void *argument)
{
    struct reader *reader = argument;
    const uint64_t *words = (const uint64_t *)(const void *)reader->in;

    if (reader->ll128)
        ll128_read(reader, words);
    else
        ll_read(reader, words);
    return NULL;
}

static void one(struct world *world, struct both *both, size_t bytes, uint32_t flag, bool ll128)
{
    struct reader reader = {.world = world,
                            .in = both->in,
                            .bytes = bytes,
                            .flag = flag,
                            .ll128 = ll128,
                            .between = ll128 && !getenv("HARNESS_LL128")};
    int sent = 0;
    pthread_t thread;
    void *send;

    memset(both->in, 0, bytes);
    world_barrier(world);
    reader.receive = world_irecv(world, both->recv, both->in, MAX_BYTES, both->recv_mr);
    if (ll128)
        ll128_fill(both->out, bytes, flag);
    else
        ll_fill(both->out, bytes, flag);
    if (!reader.between && pthread_create(&thread, NULL, read_lines, &reader) != 0)
        DIE("pthread_create");
    send = world_isend(world, both->send, both->out, bytes, both->send_mr);
    while (!sent || !reader.received) { /* the other side waits for our progress, too */
        if (!sent)
            CALL(world->net->test(send, &sent, NULL));
        if (!reader.received)
            CALL(world->net->test(reader.receive, &reader.received, &reader.size));
        if (reader.between && sent)
            (void)read_lines(&reader);
        sched_yield();
    }
    NEED((size_t)reader.size == bytes);
    if (!reader.between)
        pthread_join(thread, NULL);
}

void lines(struct world *world)
{
    static const size_t sizes[] = {128, 4096, 8192, 65536, 614400, MAX_BYTES};
    const char *how = getenv("HARNESS_LL128");
    struct both both;

    world_open(world);
    both_open(world, &both, 0);
    for (unsigned round = 0; round < (slow ? 4u : 20u); round++) {
        for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            const uint32_t flag = 1 + round * 16 + s * 2;

            one(world, &both, sizes[s], flag, false);
            if (!how || sizes[s] <= strtoull(how, NULL, 10))
                one(world, &both, sizes[s], flag + 1, true);
        }
    }
    world_barrier(world);
    both_close(world, &both);
    CALL(world->net->finalize(world->ctx));
}
