/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plug-in as NCCL uses it, in scenes:  harness PLUGIN VERSION SCENE [SEED]
 *
 *   ring       3 ranks, 2 channels each way; a progress thread with NCCL's steps, depths and
 *              sizes, while a service thread registers and connects on the same device
 *   lines      readers that poll flags per 8 and per 128 bytes, as LL and LL128 do
 *   semantics  sizes, zero bytes, stale pointers, 32 messages, several accepts, refusals
 *   threads    four threads on one context
 *   close      connections closed, memory taken back and unmapped with messages on their way
 *   kill       a rank dies of SIGKILL: the others get an error, in time
 *   finalize   communicators come and go
 *
 * Exit status 0: all as it must be; anything else: a line on stderr says what was not.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nccl_world.h"

#define MAX_BYTES ((size_t)1 << 20)
#define STEPS 8 /* of a channel at one time, as NCCL has them */

static uint64_t seed = 1;
static bool slow; /* fewer rounds: a sanitizer or an inner plug-in that delays is at work */

static unsigned char byte_at(uint64_t number, size_t i)
{
    return (unsigned char)(i * 31 + i / 251 + number * 131);
}

static void fill(char *data, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)byte_at(number, i);
}

static void check(struct world *world, const char *data, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)data[i] != byte_at(number, i))
            DIE("rank %d: message %llu of %zu bytes: byte %zu is wrong", world->rank,
                (unsigned long long)number, bytes, i);
    }
}

/* --- ring: NCCL's progress thread --- */

static const size_t SIZES[] = {
    0,    1,     7,     8,      120,    128,    129,    4096,          8191,     8192,
    8193, 65536, 65537, 131072, 300000, 524288, 614400, MAX_BYTES - 1, MAX_BYTES};

/* The size of message n on a channel: the same on both sides. */
static size_t size_of(uint64_t channel, uint64_t n)
{
    uint64_t state = seed * 1000003 + channel * 7919 + n * 104729 + 1;

    (void)world_random(&state);
    return SIZES[world_random(&state) % (sizeof(SIZES) / sizeof(SIZES[0]))];
}

/* One direction of a channel: `steps` buffers in turn, at most `depth` in flight. */
struct lane {
    void *comm, *mr;
    char *buffers;
    uint64_t channel, posted, done, total;
    unsigned depth;
    void *requests[STEPS];
};

static char *buffer_of(const struct lane *lane, uint64_t n)
{
    return lane->buffers + n % STEPS * MAX_BYTES;
}

static bool send_step(struct world *world, struct lane *lane)
{
    if (lane->posted < lane->total && lane->posted - lane->done < lane->depth) {
        const size_t bytes = size_of(lane->channel, lane->posted);
        void *request = (void *)0xdead; /* a stale pointer, as NCCL's slots hold */

        fill(buffer_of(lane, lane->posted), lane->posted + lane->channel * 1000, bytes);
        CALL(world->net->isend(lane->comm, buffer_of(lane, lane->posted), bytes, world->rank,
                               lane->mr, NULL, &request));
        NEED(request != (void *)0xdead);
        if (request)
            lane->requests[lane->posted++ % STEPS] = request;
    }
    if (lane->done < lane->posted) {
        int done = 0;

        CALL(world->net->test(lane->requests[lane->done % STEPS], &done, NULL));
        lane->done += (uint64_t)done;
    }
    return lane->done == lane->total;
}

static bool recv_step(struct world *world, struct lane *lane)
{
    if (lane->posted < lane->total && lane->posted - lane->done < lane->depth) {
        const size_t bytes = size_of(lane->channel, lane->posted);
        /* room is often larger than what comes */
        size_t room = lane->posted % 3 == 0 ? bytes : MAX_BYTES;
        void *data = buffer_of(lane, lane->posted), *request = (void *)1;
        int tag = 7;

        CALL(world->net->irecv(lane->comm, 1, &data, &room, &tag, &lane->mr, NULL, &request));
        NEED(request != (void *)1);
        if (request)
            lane->requests[lane->posted++ % STEPS] = request;
    }
    if (lane->done < lane->posted) {
        int done = 0, size = -1;

        CALL(world->net->test(lane->requests[lane->done % STEPS], &done, &size));
        if (done) {
            const size_t bytes = size_of(lane->channel, lane->done);
            void *data = buffer_of(lane, lane->done), *request = (void *)1;

            NEED((size_t)size == bytes);
            CALL(world->net->iflush(lane->comm, 1, &data, &size, &lane->mr, &request));
            if (request)
                (void)world_wait(world, request);
            check(world, data, lane->done + lane->channel * 1000, bytes);
            lane->done++;
        }
    }
    return lane->done == lane->total;
}

#define CHANNELS 2
static _Atomic bool ring_over;

/* Registers and connects to itself all the time, as other communicators' set-up would. */
static void *service(void *argument)
{
    struct world *world = argument;
    char *memory = malloc(1 << 16);

    while (!atomic_load(&ring_over)) {
        char handle[MFS_NCCL_HANDLE_BYTES];
        void *listener, *sender = NULL, *receiver = NULL, *mr, *device = NULL;

        CALL(world->net->listen(world->ctx, 0, handle, &listener));
        while (!sender || !receiver) {
            if (!sender)
                CALL(world->net->connect(world->ctx, 0, handle, &sender, &device));
            if (!receiver)
                CALL(world->net->accept(listener, &receiver, &device));
            sched_yield();
        }
        CALL(world->net->close_listen(listener));
        CALL(world->net->reg(sender, memory, 1 << 16, MFS_NCCL_PTR_HOST, &mr));
        NEED(mr);
        CALL(world->net->dereg(sender, mr));
        CALL(world->net->dereg(sender, NULL));
        CALL(world->net->close_send(sender));
        CALL(world->net->close_recv(receiver));
        usleep(1000);
    }
    free(memory);
    return NULL;
}

static void ring(struct world *world)
{
    const int next = (world->rank + 1) % world->ranks;
    struct lane sends[CHANNELS] = {0}, receives[CHANNELS] = {0};
    unsigned left = 2 * CHANNELS;
    uint64_t state = seed * 77 + (uint64_t)world->rank + 1;
    pthread_t thread;

    world_open(world);
    for (int c = 0; c < CHANNELS; c++) {
        void *listener;
        struct lane *lanes[] = {&sends[c], &receives[c]};

        world_listen(world, world->ctx, c, &listener);
        world_connect(world, world->ctx, next, c, &sends[c].comm, listener, &receives[c].comm);
        CALL(world->net->close_listen(listener));
        for (int i = 0; i < 2; i++) {
            lanes[i]->buffers = malloc(STEPS * MAX_BYTES);
            lanes[i]->channel = (uint64_t)c;
            lanes[i]->depth = c == 0 ? 4 : STEPS;
            lanes[i]->total = slow ? 60 : 200;
            CALL(world->net->reg(lanes[i]->comm, lanes[i]->buffers, STEPS * MAX_BYTES,
                                 MFS_NCCL_PTR_HOST, &lanes[i]->mr));
            NEED(lanes[i]->mr);
        }
    }
    if (pthread_create(&thread, NULL, service, world) != 0)
        DIE("pthread_create");
    for (left = 1; left > 0;) {
        left = 0;
        for (int c = 0; c < CHANNELS; c++) {
            left += !send_step(world, &sends[c]);
            left += !recv_step(world, &receives[c]);
        }
        if (world_random(&state) % 64 == 0)
            usleep(100);
        else
            sched_yield();
    }
    atomic_store(&ring_over, true);
    pthread_join(thread, NULL);
    world_barrier(world);
    for (int c = 0; c < CHANNELS; c++) {
        CALL(world->net->dereg(sends[c].comm, sends[c].mr));
        CALL(world->net->dereg(receives[c].comm, receives[c].mr));
        CALL(world->net->close_send(sends[c].comm));
        CALL(world->net->close_recv(receives[c].comm));
        free(sends[c].buffers);
        free(receives[c].buffers);
    }
    CALL(world->net->finalize(world->ctx));
}

/* --- two ranks, a connection each way --- */

struct both {
    void *listener, *send, *recv, *send_mr, *recv_mr;
    char *out, *in;
};

static void both_open(struct world *world, struct both *both, int slot)
{
    world_listen(world, world->ctx, slot, &both->listener);
    world_connect(world, world->ctx, 1 - world->rank, slot, &both->send, both->listener,
                  &both->recv);
    both->out =
        mmap(NULL, 4 * MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    both->in =
        mmap(NULL, 4 * MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL(world->net->reg(both->send, both->out, 4 * MAX_BYTES, MFS_NCCL_PTR_HOST, &both->send_mr));
    CALL(world->net->reg(both->recv, both->in, 4 * MAX_BYTES, MFS_NCCL_PTR_HOST, &both->recv_mr));
}

static void both_close(struct world *world, struct both *both)
{
    CALL(world->net->dereg(both->send, both->send_mr));
    CALL(world->net->dereg(both->recv, both->recv_mr));
    CALL(world->net->close_send(both->send));
    CALL(world->net->close_recv(both->recv));
    CALL(world->net->close_listen(both->listener));
    munmap(both->out, 4 * MAX_BYTES);
    munmap(both->in, 4 * MAX_BYTES);
}

/* --- lines: what LL and LL128 read while a message is on its way --- */

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

static void lines(struct world *world)
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

/* --- semantics --- */

static int test_until(struct world *world, void *request, int *size)
{
    int done = 0, result = 0;

    while (!done && result == 0) {
        result = world->net->test(request, &done, size);
        sched_yield();
    }
    return result;
}

/* Both sides hear of a message that is larger than the room for it. */
static void too_large(struct world *world, size_t bytes, size_t room, int slot)
{
    struct both both;
    int size = -1;

    both_open(world, &both, slot);
    if (world->rank == 0) {
        void *request = world_irecv(world, both.recv, both.in, room, both.recv_mr);

        NEED(test_until(world, request, &size) == MFS_NCCL_INVALID_USAGE);
    } else {
        void *request = world_isend(world, both.send, both.out, bytes, both.send_mr);
        const int result = test_until(world, request, &size);

        /* a small one may have left before its receiver said how much room there is */
        NEED(result == MFS_NCCL_INVALID_USAGE || (result == 0 && bytes <= 8192));
    }
    world_barrier(world);
    both_close(world, &both);
}

static void many_at_one_time(struct world *world, struct both *both)
{
    void *sends[32], *receives[32];

    for (int i = 0; i < 32; i++) {
        fill(both->out + i * 65536, (uint64_t)i, 1000 + (size_t)i * 997);
        receives[i] = world_irecv(world, both->recv, both->in + i * 65536, 65536, both->recv_mr);
    }
    for (int i = 0; i < 32; i++)
        sends[i] = world_isend(world, both->send, both->out + i * 65536, 1000 + (size_t)i * 997,
                               both->send_mr);
    for (int i = 0; i < 32; i++) {
        NEED(world_wait(world, receives[i]) == 1000 + i * 997);
        check(world, both->in + i * 65536, (uint64_t)i, 1000 + (size_t)i * 997);
        (void)world_wait(world, sends[i]);
    }
}

static void several_accepts(struct world *world)
{
    void *listener, *device = NULL, *sends[3] = {NULL}, *receives[3] = {NULL};
    char handles[3][MFS_NCCL_HANDLE_BYTES];
    unsigned connected = 0, accepted = 0;

    world_listen(world, world->ctx, 40, &listener);
    for (int i = 0; i < 3; i++)
        world_handle(world, 1 - world->rank, 40, handles[i]);
    while (connected < 3 || accepted < 3) {
        void *one = (void *)1;

        for (int i = 0; i < 3; i++) { /* three at a time, each with its buffer */
            if (sends[i])
                continue;
            CALL(world->net->connect(world->ctx, 0, handles[i], &sends[i], &device));
            connected += sends[i] != NULL;
        }
        CALL(world->net->accept(listener, &one, &device));
        NEED(one != (void *)1);
        if (one && accepted < 3)
            receives[accepted++] = one;
    }
    world_barrier(world);
    for (int i = 0; i < 3; i++) {
        CALL(world->net->close_send(sends[i]));
        CALL(world->net->close_recv(receives[i]));
    }
    CALL(world->net->close_listen(listener));
}

static void refusals(struct world *world, bool plain)
{
    char handle[MFS_NCCL_HANDLE_BYTES], bad[MFS_NCCL_HANDLE_BYTES];
    void *listener, *comm = (void *)1, *device = NULL;

    CALL(world->net->listen(world->ctx, 0, handle, &listener));
    memcpy(bad, handle, sizeof(bad));
    bad[0] ^= 1; /* magic */
    NEED(world->net->connect(world->ctx, 0, bad, &comm, &device) != 0 && !comm);
    memcpy(bad, handle, sizeof(bad));
    bad[8] += 1; /* wire version, the second word */
    comm = (void *)1;
    NEED(!plain || (world->net->connect(world->ctx, 0, bad, &comm, &device) != 0 && !comm));
    CALL(world->net->close_listen(listener));
}

static void semantics(struct world *world)
{
    struct mfs_nccl_properties_v12 properties = {0};
    struct both both;
    void *request;
    int size = -1, done = -1;

    world_open(world);
    CALL(world->net->properties(0, &properties));
    NEED(properties.name && *properties.name);
    NEED(properties.ptr_support == MFS_NCCL_PTR_HOST);
    NEED(properties.reg_is_global == 0 && properties.max_recvs >= 1);
    NEED(properties.max_p2p_bytes > 0 && properties.max_p2p_bytes <= (size_t)1 << 40);
    both_open(world, &both, 0);
    many_at_one_time(world, &both);
    /* nothing to receive yet: not done, and `sizes` may be left out */
    request = world_irecv(world, both.recv, both.in, 0, both.recv_mr);
    CALL(world->net->test(request, &done, NULL));
    NEED(done == 0);
    world_barrier(world);
    (void)world_wait(world, world_isend(world, both.send, both.out, 0, both.send_mr));
    NEED(world_wait(world, request) == 0);
    /* none of a large room is used */
    request = world_irecv(world, both.recv, both.in, 4 * MAX_BYTES, both.recv_mr);
    (void)world_wait(world, world_isend(world, both.send, both.out, 0, both.send_mr));
    NEED(world_wait(world, request) == 0);
    /* small ones before their irecv */
    fill(both.out, 5, 100);
    for (int i = 0; i < 8; i++)
        (void)world_wait(world, world_isend(world, both.send, both.out, 100, both.send_mr));
    world_barrier(world);
    for (int i = 0; i < 8; i++) {
        memset(both.in, 0, 100);
        request = world_irecv(world, both.recv, both.in, 100, both.recv_mr);
        NEED(world_wait(world, request) == 100);
        check(world, both.in, 5, 100);
    }
    /* a large one before its irecv */
    fill(both.out, 6, MAX_BYTES);
    request = world_isend(world, both.send, both.out, MAX_BYTES, both.send_mr);
    CALL(world->net->test(request, &done, &size));
    world_barrier(world);
    void *late = world_irecv(world, both.recv, both.in, MAX_BYTES, both.recv_mr);
    (void)world_wait(world, request);
    NEED(world_wait(world, late) == (int)MAX_BYTES);
    check(world, both.in, 6, MAX_BYTES);
    world_barrier(world);
    both_close(world, &both);
    too_large(world, 100, 50, 1);
    too_large(world, 300000, 100, 2);
    too_large(world, 300000, 200000, 3);
    several_accepts(world);
    refusals(world, getenv("MFS_NCCL_INNER") == NULL);
    world_barrier(world);
    CALL(world->net->finalize(world->ctx));
}

/* --- threads --- */

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

static void threads(struct world *world)
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

/* --- close: whatever is on its way, memory that NCCL has back is not touched any more --- */

static void close_under_way(struct world *world)
{
    world_open(world);
    for (int round = 0; round < (slow ? 4 : 12); round++) {
        struct both both;
        uint64_t state = seed * 31 + (uint64_t)round * 17 + (uint64_t)world->rank + 1;
        unsigned spins;
        bool first_dereg = round % 2 == 0;

        both_open(world, &both, round);
        for (int i = 0; i < 4; i++) {
            size_t bytes = MAX_BYTES;
            void *data = both.in + i * MAX_BYTES, *request = NULL, *sent = NULL;
            int tag = 0, refused = 0;

            /* the other side may have closed already: then they return an error, and no request */
            if ((round + world->rank) % 3 != 0)
                refused |= world->net->irecv(both.recv, 1, &data, &bytes, &tag, &both.recv_mr, NULL,
                                             &request);
            if ((round + world->rank) % 4 != 0)
                refused |= world->net->isend(both.send, both.out + i * MAX_BYTES, MAX_BYTES, 0,
                                             both.send_mr, NULL, &sent);
            if (sent)
                request = sent;
            if (request && !refused) {
                int done = 0, result;

                for (spins = (unsigned)world_random(&state) % 200; spins > 0 && !done; spins--) {
                    result = world->net->test(request, &done, NULL);
                    if (result != 0) /* the other side has closed already */
                        break;
                }
            }
        }
        if (first_dereg) {
            CALL(world->net->dereg(both.recv, both.recv_mr));
            CALL(world->net->dereg(both.send, both.send_mr));
        }
        if (world->rank == 0) {
            CALL(world->net->close_send(both.send));
            CALL(world->net->close_recv(both.recv));
        } else {
            CALL(world->net->close_recv(both.recv));
            CALL(world->net->close_send(both.send));
        }
        CALL(world->net->close_listen(both.listener));
        /* a late write or read would end us here */
        munmap(both.in, 4 * MAX_BYTES);
        munmap(both.out, 4 * MAX_BYTES);
        usleep(1000);
        world_barrier(world);
    }
    { /* and the next one works */
        struct both both;

        both_open(world, &both, 60);
        many_at_one_time(world, &both);
        world_barrier(world);
        both_close(world, &both);
    }
    CALL(world->net->finalize(world->ctx));
}

/* --- kill --- */

#define KILL_S 5.0 /* MFS_NCCL_PEER_TIMEOUT of this scene */

static void kill_one(struct world *world)
{
    const bool mid_message = seed % 2 == 1;
    struct both both;
    double killed_s;
    int result = 0, done;

    world_open(world);
    both_open(world, &both, 0);
    world_barrier(world);
    if (world->rank == 0) {
        /* 1: it sends to us and dies; else it only waits, as we do */
        for (int i = 0; mid_message && i < 20; i++)
            (void)world_wait(world,
                             world_isend(world, both.send, both.out, MAX_BYTES, both.send_mr));
        world->board->numbers[0] = world_now_s();
        raise(SIGKILL);
    }
    while (mid_message && result == 0) {
        void *data = both.in, *request = NULL;
        size_t bytes = MAX_BYTES;
        int tag = 0;

        result =
            world->net->irecv(both.recv, 1, &data, &bytes, &tag, &both.recv_mr, NULL, &request);
        for (done = 0; request && result == 0 && !done;)
            result = world->net->test(request, &done, NULL);
    }
    if (!mid_message) {
        void *waits = world_irecv(world, both.recv, both.in, MAX_BYTES, both.recv_mr);

        for (done = 0; result == 0 && !done;)
            result = world->net->test(waits, &done, NULL);
    }
    killed_s = world->board->numbers[0];
    NEED(result == MFS_NCCL_REMOTE_ERROR);
    NEED(world_now_s() - killed_s < KILL_S);
    { /* what is posted afterwards fails as well */
        void *request = (void *)1;

        result = world->net->isend(both.send, both.out, 8, 0, both.send_mr, NULL, &request);
        for (done = 0; request && result == 0 && !done;)
            result = world->net->test(request, &done, NULL);
        NEED(result == MFS_NCCL_REMOTE_ERROR);
    }
    both_close(world, &both);
    CALL(world->net->finalize(world->ctx));
}

/* --- finalize --- */

static void finalize(struct world *world)
{
    for (int round = 0; round < 4; round++) {
        struct both both;

        world_open(world);
        both_open(world, &both, round);
        (void)world_wait(world, world_isend(world, both.send, both.out, 64, both.send_mr));
        NEED(world_wait(world, world_irecv(world, both.recv, both.in, 64, both.recv_mr)) == 64);
        world_barrier(world);
        both_close(world, &both);
        CALL(world->net->finalize(world->ctx));
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int ranks, victim;
        void (*run)(struct world *);
    } scenes[] = {
        {"ring", 3, -1, ring},
        {"lines", 2, -1, lines},
        {"semantics", 2, -1, semantics},
        {"threads", 2, -1, threads},
        {"close", 2, -1, close_under_way},
        {"kill", 2, 0, kill_one},
        {"finalize", 2, -1, finalize},
    };
    struct world world = {.plugin = argv[1]};

    if (argc < 4) {
        fputs("usage: harness PLUGIN VERSION SCENE [SEED]\n", stderr);
        return 2;
    }
    world.version = atoi(argv[2]);
    seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    slow = getenv("HARNESS_SLOW") != NULL;
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
        if (strcmp(argv[3], scenes[i].name) == 0)
            return world_run(&world, scenes[i].ranks, scenes[i].victim, scenes[i].run);
    }
    fprintf(stderr, "no scene %s\n", argv[3]);
    return 2;
}
