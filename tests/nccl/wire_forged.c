/* SPDX-License-Identifier: Apache-2.0 */
/* One wrong message each: the connection fails, and a line says what the peer has sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

#define FIELD(name)                                                                                \
    offsetof(struct mfs_nccl_header, name), sizeof(((struct mfs_nccl_header *)0)->name)
#define SHORT 0, 0 /* the header itself is cut */
#define PAYLOAD LOOP_HEADER_MAX, 1

static const struct row {
    const char *name;
    unsigned id;
    size_t offset, bytes;
    uint64_t value; /* the field becomes this */
    const char *words;
} rows[] = {
    {"grant-posted", MFS_NCCL_WIRE_GRANT, FIELD(posted), UINT64_C(1) << 63, "more receives"},
    {"grant-posted-all", MFS_NCCL_WIRE_GRANT, FIELD(posted), UINT64_MAX, "more receives"},
    {"grant-seq", MFS_NCCL_WIRE_GRANT, FIELD(seq), 1000, "beyond its receives"},
    {"grant-seq-all", MFS_NCCL_WIRE_GRANT, FIELD(seq), UINT64_MAX, "beyond its receives"},
    {"grant-at", MFS_NCCL_WIRE_GRANT, FIELD(at), UINT64_C(1) << 40, "outside"},
    {"grant-room", MFS_NCCL_WIRE_GRANT, FIELD(bytes), UINT64_MAX, "outside"},
    {"grant-flags", MFS_NCCL_WIRE_GRANT, FIELD(flags), 1u << 9 | MFS_NCCL_HEADER_PLACE, "a flag"},
    {"grant-no-keys", MFS_NCCL_WIRE_GRANT, FIELD(flags), MFS_NCCL_HEADER_PLACE, "keys"},
    {"grant-no-memory", MFS_NCCL_WIRE_GRANT, FIELD(mr), 0, "keys"},
    {"grant-no-place", MFS_NCCL_WIRE_GRANT, FIELD(flags), MFS_NCCL_HEADER_KEYS, "and none"},
    {"grant-keys", MFS_NCCL_WIRE_GRANT, PAYLOAD, 1, "not as they were written"},
    {"grant-short", MFS_NCCL_WIRE_GRANT, SHORT, 40, "length"},
    {"fin-at", MFS_NCCL_WIRE_FIN, FIELD(at), UINT64_MAX - 5, "more bytes than the message"},
    {"fin-bytes", MFS_NCCL_WIRE_FIN, FIELD(bytes), UINT64_C(0xffffffff), "room"},
    {"fin-bytes-few", MFS_NCCL_WIRE_FIN, FIELD(bytes), 5, "more bytes than the message"},
    {"fin-nothing", MFS_NCCL_WIRE_FIN, FIELD(at), 0, "the end of nothing"},
    {"fin-seq", MFS_NCCL_WIRE_FIN, FIELD(seq), 900, "not asked for"},
    {"fin-flags", MFS_NCCL_WIRE_FIN, FIELD(flags), MFS_NCCL_HEADER_TOO_LARGE, "and it is not"},
    {"fin-short", MFS_NCCL_WIRE_FIN, SHORT, 12, "length"},
    {"want-seq", MFS_NCCL_WIRE_WANT, FIELD(seq), UINT64_C(1) << 50, "further"},
    {"want-flags", MFS_NCCL_WIRE_WANT, FIELD(flags), 1, "a flag"},
    {"eager-seq", MFS_NCCL_WIRE_EAGER, offsetof(struct mfs_nccl_eager_header, seq), 4, 77,
     "further"},
    {"eager-short", MFS_NCCL_WIRE_EAGER, SHORT, 8, "length"},
    {"close-seq", MFS_NCCL_WIRE_CLOSE, FIELD(seq), UINT64_MAX, "further"},
    {"close-flags", MFS_NCCL_WIRE_CLOSE, FIELD(flags), 4, "a flag"},
    {"revoke-flags", MFS_NCCL_WIRE_REVOKE, FIELD(flags), 64, "a flag"},
    {"revoke-to-receiver", MFS_NCCL_WIRE_FIN, LOOP_HEADER_MAX, 0, MFS_NCCL_WIRE_REVOKE,
     "this side receives"},
    {"fin-to-sender", MFS_NCCL_WIRE_GRANT, LOOP_HEADER_MAX, 0, MFS_NCCL_WIRE_FIN,
     "this side sends"},
};

static const struct row *row;
static bool changed;

static void change(struct loop_message *message)
{
    struct mfs_nccl_header header;

    if (changed || message->id != row->id)
        return;
    memcpy(&header, message->header, sizeof(header));
    if (row->id == MFS_NCCL_WIRE_GRANT && !(header.flags & MFS_NCCL_HEADER_PLACE))
        return;
    changed = true;
    if (row->offset == LOOP_HEADER_MAX && row->bytes == 0) { /* its kind */
        message->id = (unsigned)row->value;
    } else if (row->offset == LOOP_HEADER_MAX) {
        NEED(message->bytes > 20);
        message->data[20] ^= (char)row->value;
    } else if (row->bytes == 0) {
        message->header_bytes = (size_t)row->value;
    } else {
        NEED(row->offset + row->bytes <= message->header_bytes);
        memcpy(message->header + row->offset, &row->value, row->bytes);
    }
}

static void *isend(struct side *side, size_t bytes)
{
    void *request = NULL;
    const int result = net->isend(side->send, side->out, bytes, 0, side->send_mr, NULL, &request);

    NEED(result == 0 || changed);
    return result == 0 ? request : NULL;
}

static void *irecv(struct side *side, size_t bytes)
{
    void *data = side->in, *request = NULL;
    int tag = 0;
    const int result =
        net->irecv(side->recv, 1, &data, &bytes, &tag, &side->recv_mr, NULL, &request);

    NEED(result == 0 || changed);
    return result == 0 ? request : NULL;
}

/* One message from side 0 to side 1, its isend well before its irecv. */
static void message(struct side sides[2], size_t bytes)
{
    void *sent = isend(&sides[0], bytes), *received;
    int size = 0, done;

    for (int i = 0; i < 10000 && sent && bytes > 8192; i++) { /* it asks for its place */
        if (net->test(sent, &done, NULL) != 0)
            sent = NULL;
        if (!changed)
            (void)net->accept(sides[1].listener, &(void *){NULL}, NULL); /* the other's progress */
    }
    received = irecv(&sides[1], bytes);
    if (received && wait_for(received, sent, 2000, &size) == 0)
        NEED(size == (int)bytes || (changed && size >= 0 && size <= (int)bytes));
    if (sent)
        (void)wait_for(sent, NULL, 2000, NULL);
}

static void one(void)
{
    struct side sides[2];

    changed = false;
    sides_open(sides);
    NEED(sides_connect(sides));
    hooks->change = change;
    message(sides, 300000);
    message(sides, 100);
    message(sides, 300000);
    if (row->id == MFS_NCCL_WIRE_REVOKE) {
        NEED(irecv(&sides[1], 300000));
        NEED(net->dereg(sides[1].recv, sides[1].recv_mr) == 0);
        sides[1].recv_mr = NULL;
        for (int i = 0; i < 100 && !changed; i++)
            (void)net->accept(sides[0].listener, &(void *){NULL}, NULL);
        (void)isend(&sides[0], 300000);
    } else if (row->id == MFS_NCCL_WIRE_CLOSE) {
        NEED(net->dereg(sides[0].send, sides[0].send_mr) == 0);
        NEED(net->close_send(sides[0].send) == 0);
        sides[0].send = sides[0].send_mr = NULL;
        for (int i = 0; i < 100 && !changed; i++)
            (void)net->accept(sides[1].listener, &(void *){NULL}, NULL);
        (void)irecv(&sides[1], 8);
    }
    NEED(changed);
    if (!strstr(warnings, "it broke the protocol (") || !strstr(warnings, row->words))
        DIE("said only: %s", warnings);
    sides_close(sides);
    hooks->change = NULL;
}

void forged(const char *only)
{
    for (row = rows; row < rows + sizeof(rows) / sizeof(rows[0]); row++) {
        if (only && strcmp(only, row->name) != 0)
            continue;
        begin("forged %s", row->name);
        one();
        printf("%s\n", row->name);
    }
}
