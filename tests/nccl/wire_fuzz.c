/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sides that send, receive, test and close at random, while what they tell each other is
 * changed at random: handles before connect(), hellos on their socket, active messages on
 * delivery. A seed gives the same run again. Until the first change all must be right; behind it
 * a call may fail, but sizes stay inside what was posted, guards stay whole, and all comes to an
 * end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define MANY 8

static uint64_t state;
static unsigned one_in; /* a message is changed with this chance; 0: none */
static uint64_t changes;
static bool hellos; /* are changed */

static uint64_t any(uint64_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return ((state * UINT64_C(2685821657736338717)) >> 16) % below;
}

/* Bits, or a number that is a limit of something, anywhere. */
static void damage(char *bytes, size_t length)
{
    static const uint64_t limits[] = {0,
                                      1,
                                      31,
                                      32,
                                      63,
                                      64,
                                      65,
                                      96,
                                      4095,
                                      4096,
                                      8191,
                                      8193,
                                      300000,
                                      INT32_MAX,
                                      1u << 31,
                                      UINT32_MAX,
                                      INT64_MAX,
                                      UINT64_MAX,
                                      UINT64_MAX - 1,
                                      UINT64_C(1) << 40};
    const size_t width = any(2) ? 8 : 4, at = any(length) / 4 * 4;

    if (any(2) == 0 || at + width > length) {
        bytes[any(length)] ^= (char)(1 << any(8));
    } else if (any(4) == 0) { /* a little more or less */
        uint64_t number = 0;

        memcpy(&number, bytes + at, width);
        number += any(5) - 2;
        memcpy(bytes + at, &number, width);
    } else {
        memcpy(bytes + at, &limits[any(sizeof(limits) / sizeof(limits[0]))], width);
    }
}

static void change(struct loop_message *message)
{
    if (one_in == 0 || any(one_in) != 0)
        return;
    changes++;
    switch (any(12)) {
    case 0:
        message->id = (unsigned)any(MFS_NCCL_WIRE_LAST + 1);
        break;
    case 1:
        message->header_bytes = any(message->header_bytes + 1);
        break;
    case 2:
        message->bytes = message->bytes > 0 ? any(message->bytes + 1) : 0;
        break;
    case 3:
        if (message->bytes > 0 && message->id == MFS_NCCL_WIRE_GRANT)
            damage(message->data, message->bytes);
        break;
    default:
        damage(message->header, message->header_bytes);
    }
}

/* The plug-in's hellos go through here. */
ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    char copy[4096];

    if (!hellos || length > sizeof(copy) || any(2) == 0)
        return sendto(fd, bytes, length, flags, NULL, 0);
    memcpy(copy, bytes, length);
    changes++;
    for (uint64_t times = 1 + any(3); times > 0; times--)
        damage(copy, length);
    return sendto(fd, copy, length, flags, NULL, 0);
}

struct flying {
    void *request;
    size_t bytes; /* 0 for a send: nothing to look at */
    bool receives;
};

static size_t some_size(void)
{
    static const size_t sizes[] = {0, 1, 8, 128, 4096, 8192, 8193, 65536, 300000};

    return sizes[any(sizeof(sizes) / sizeof(sizes[0]))];
}

static void post(struct side *side, struct flying *flying)
{
    size_t bytes = some_size();
    void *request = NULL, *data = side->in + any(BUFFER_BYTES - bytes + 1);
    void *mr = any(4) ? side->recv_mr : NULL; /* NULL: NCCL gave none */
    int tag = 0, result;

    flying->receives = any(2);
    flying->bytes = bytes;
    if (flying->receives)
        result = net->irecv(side->recv, 1, &data, &bytes, &tag, &mr, NULL, &request);
    else
        result = net->isend(side->send, side->out, bytes, 0, any(4) ? side->send_mr : NULL, NULL,
                            &request);
    NEED(result == 0 || changes > 0);
    flying->request = result == 0 ? request : NULL;
}

static void look(struct flying *flying)
{
    int done = 0, size = 0;
    const int result = net->test(flying->request, &done, &size);

    /* sizes of both sides are drawn alone: one that is too large for its place is no fault */
    NEED(result == 0 || changes > 0 || result == MFS_NCCL_INVALID_USAGE);
    if (result == 0 && done)
        NEED(size >= 0 && (size_t)size <= flying->bytes);
    if (result != 0 || done)
        flying->request = NULL;
}

static void one(void)
{
    struct side sides[2];
    struct flying flying[2][MANY] = {0};
    const uint64_t kind = any(8);

    changes = 0;
    hellos = false;
    hooks->random = state | 1;
    hooks->change = change;
    one_in = kind < 6 ? 1u << any(8) : 0;
    sides_open(sides);
    hellos = kind == 6;
    if (kind == 7) {
        changes++;
        damage(sides[any(2)].handle, MFS_NCCL_HANDLE_BYTES);
    }
    if (sides_connect(sides)) {
        for (uint64_t steps = any(400); steps > 0; steps--) {
            const uint64_t i = any(2);
            struct flying *one_of = &flying[i][any(MANY)];

            if (one_of->request)
                look(one_of);
            else
                post(&sides[i], one_of);
        }
    } else {
        NEED(changes > 0);
    }
    sides_close(sides);
    hooks->change = NULL;
    hooks->random = 0;
    hellos = false;
}

void fuzz(uint64_t from, uint64_t count)
{
    uint64_t changed = 0;

    for (uint64_t seed = from; seed < from + count; seed++) {
        begin("fuzz, seed %llu", (unsigned long long)seed);
        state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
        one();
        changed += changes;
    }
    printf("%llu seeds, %llu changes\n", (unsigned long long)count, (unsigned long long)changed);
}
