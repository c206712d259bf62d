/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NCCL plug-in: two communicators that send to each other over a UCX inside this process
 * (tests/nccl/loop_ucp.c), driven as the input says; and what they tell each other is changed as
 * the input says: handles before connect(), hellos on their socket, active messages on delivery.
 *
 * Until the first change all must be right, to the byte. Behind it a call may fail, but sizes stay
 * inside what was posted, guards stay whole, nothing but registered memory reaches UCX, and all
 * comes to an end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../nccl/loop_ucp.h"
#include "input.h"
#include "nccl/hello.h"
#include "nccl/plugin.h"
#include "nccl/wire.h"

#define SLOTS 8u
#define SLOT_BYTES ((size_t)65536)
#define BUFFER_BYTES (SLOTS * SLOT_BYTES)
#define GUARD_BYTES ((size_t)64)
#define CONNECT_ROUNDS 2000u

struct flying {
    void *request;
    size_t bytes; /* sent, or room for it */
    uint64_t number;
    bool receives;
};

static struct side {
    void *ctx, *listener, *send, *recv, *send_mr, *recv_mr;
    char handle[MFS_NCCL_HANDLE_BYTES]; /* of the other side's listener */
    char *in;
    struct flying flying[SLOTS];
    uint64_t sends, receives;
    size_t sent_bytes[256]; /* by number */
} sides[2];

static const struct mfs_nccl_table_v12 *const net = &mfs_nccl_transport;
static char out[BUFFER_BYTES];
static struct loop_hooks *hooks;
static void (*loop_reset_it)(void);
static struct input input;
static bool change_hellos;
static unsigned changes;

/* --- what is changed --- */

static void change_word(char *bytes, size_t length)
{
    const uint64_t value = input_limit(&input);
    const size_t width = input_below(&input, 2) ? 8 : 4, at = input_below(&input, length) / 4 * 4;

    changes++;
    if (at + width <= length)
        memcpy(bytes + at, &value, width);
    else
        bytes[at] ^= (char)value;
}

static void change_message(struct loop_message *message)
{
    switch (input_below(&input, 32)) {
    case 0:
        message->id = (unsigned)input_below(&input, MFS_NCCL_WIRE_LAST + 1);
        changes++;
        break;
    case 1:
        message->header_bytes = input_below(&input, message->header_bytes + 1);
        changes++;
        break;
    case 2:
        message->bytes = input_below(&input, message->bytes + 1);
        changes++;
        break;
    case 3:
        if (message->bytes > 0 && message->id == MFS_NCCL_WIRE_GRANT)
            change_word(message->data, message->bytes);
        break;
    case 4:
    case 5:
    case 6:
        change_word(message->header, message->header_bytes);
        break;
    default:
        break;
    }
}

/* The plug-in's hellos go through here. One whose digest is right is read to its end; what UCX
 * packs is left alone then, since nobody else understands it. */
ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    struct mfs_nccl_hello hello;
    char copy[4096];

    if (!change_hellos || length > sizeof(copy) || length < sizeof(hello))
        return sendto(fd, bytes, length, flags, NULL, 0);
    memcpy(copy, bytes, length);
    if (input_below(&input, 2)) {
        const uint32_t whole = ((const struct mfs_nccl_hello *)bytes)->bytes;

        change_word(copy, offsetof(struct mfs_nccl_hello, digest));
        memcpy(&hello, copy, sizeof(hello));
        hello.bytes = whole;
        memcpy(hello.address_bytes, ((const struct mfs_nccl_hello *)bytes)->address_bytes,
               sizeof(hello.address_bytes));
        hello.digest = mfs_nccl_digest(
            mfs_nccl_digest(hello.cookie, &hello, offsetof(struct mfs_nccl_hello, digest)),
            copy + sizeof(hello), whole);
        memcpy(copy, &hello, sizeof(hello));
    } else {
        change_word(copy, length);
    }
    return sendto(fd, copy, length - (input_below(&input, 8) == 0), flags, NULL, 0);
}

/* --- the two sides --- */

static void log_nothing(int level, unsigned long flags, const char *file, int line,
                        const char *format, ...)
{
    (void)level, (void)flags, (void)file, (void)line, (void)format;
}

static void open_both(void)
{
    struct mfs_nccl_config config = {-1};

    for (int i = 0; i < 2; i++) {
        char *in = malloc(BUFFER_BYTES + 2 * GUARD_BYTES);

        NEED(in);
        memset(in, 0x5a, BUFFER_BYTES + 2 * GUARD_BYTES);
        sides[i] = (struct side){.in = in + GUARD_BYTES};
        NEED(net->init(&sides[i].ctx, 1, &config, log_nothing, NULL) == 0);
    }
    for (int i = 0; i < 2; i++)
        NEED(net->listen(sides[i].ctx, 0, sides[1 - i].handle, &sides[i].listener) == 0);
}

/* false: one of them could not, or never hears of the other. */
static bool connect_both(void)
{
    void *device;

    for (unsigned round = 0; round < CONNECT_ROUNDS; round++) {
        for (int i = 0; i < 2; i++) {
            struct side *side = &sides[i];

            if (!side->send && net->connect(side->ctx, 0, side->handle, &side->send, &device) != 0)
                return false;
            if (!side->recv && net->accept(side->listener, &side->recv, &device) != 0)
                return false;
        }
        if (sides[0].send && sides[1].send && sides[0].recv && sides[1].recv)
            return true;
    }
    return false;
}

static bool register_both(void)
{
    for (int i = 0; i < 2; i++) {
        if (net->reg(sides[i].send, out, BUFFER_BYTES, MFS_NCCL_PTR_HOST, &sides[i].send_mr) != 0 ||
            net->reg(sides[i].recv, sides[i].in, BUFFER_BYTES, MFS_NCCL_PTR_HOST,
                     &sides[i].recv_mr) != 0)
            return false;
    }
    return true;
}

static void close_both(void)
{
    for (int i = 0; i < 2; i++) {
        struct side *side = &sides[i];

        NEED(!side->recv_mr || net->dereg(side->recv, side->recv_mr) == 0);
        NEED(!side->send_mr || net->dereg(side->send, side->send_mr) == 0);
        NEED(!side->recv || net->close_recv(side->recv) == 0);
        NEED(!side->send || net->close_send(side->send) == 0);
        NEED(net->close_listen(side->listener) == 0);
    }
    for (int i = 0; i < 2; i++) {
        NEED(net->finalize(sides[i].ctx) == 0);
        for (size_t j = 1; j <= GUARD_BYTES; j++)
            NEED(sides[i].in[-(long)j] == 0x5a && sides[i].in[BUFFER_BYTES + j - 1] == 0x5a);
        free(sides[i].in - GUARD_BYTES);
    }
}

/* --- messages --- */

static void post(struct side *side, unsigned slot, bool receives)
{
    static const size_t sizes[] = {0, 1, 8, 128, 4096, 8192, 8193, 30000, SLOT_BYTES};
    struct flying *flying = &side->flying[slot];
    void *data = side->in + slot * SLOT_BYTES, *mr = input_below(&input, 4) ? side->recv_mr : NULL;
    size_t bytes = sizes[input_below(&input, COUNT(sizes))];
    void *request = NULL;
    int tag = 0, result;

    flying->receives = receives;
    flying->bytes = bytes;
    if (receives) {
        result = net->irecv(side->recv, 1, &data, &bytes, &tag, &mr, NULL, &request);
        flying->number = side->receives;
        side->receives += result == 0 && request;
    } else {
        mr = mr ? side->send_mr : NULL;
        result = net->isend(side->send, out + side->sends % 256, bytes % (SLOT_BYTES - 256), 0, mr,
                            NULL, &request);
        flying->bytes = bytes % (SLOT_BYTES - 256);
        if (result == 0 && request)
            side->sent_bytes[side->sends++ % 256] = flying->bytes;
    }
    NEED(result == 0 || changes > 0);
    flying->request = result == 0 ? request : NULL;
}

static void look(struct side *side, unsigned slot)
{
    struct flying *flying = &side->flying[slot];
    const struct side *other = &sides[side == sides];
    int done = 0, size = 0;
    const int result = net->test(flying->request, &done, &size);

    /* a message that is larger than the room for it is refused */
    NEED(result == 0 || changes > 0 || result == MFS_NCCL_INVALID_USAGE);
    if (result == 0 && done)
        NEED(size >= 0 && (size_t)size <= flying->bytes);
    if (result == 0 && done && flying->receives && changes == 0 &&
        other->sends - flying->number <= 256) {
        NEED(flying->number < other->sends);
        NEED((size_t)size == other->sent_bytes[flying->number % 256]);
        NEED(memcmp(side->in + slot * SLOT_BYTES, out + flying->number % 256, (size_t)size) == 0);
    }
    if (result != 0 || done)
        flying->request = NULL;
}

static void flush(struct side *side)
{
    void *data = side->in, *request = NULL;
    int size = 8, done = 0;

    if (net->iflush(side->recv, 1, &data, &size, &side->recv_mr, &request) != 0 || !request)
        return;
    for (unsigned round = 0; !done; round++) {
        NEED(round < CONNECT_ROUNDS);
        if (net->test(request, &done, NULL) != 0)
            return;
    }
}

static void step(void)
{
    struct side *side = &sides[input_below(&input, 2)];
    const uint64_t what = input_below(&input, 16);
    const unsigned slot = (unsigned)input_below(&input, SLOTS);

    if (what == 15)
        flush(side);
    else if (what == 14)
        fuzz_clock_ns += INT64_C(1) << input_below(&input, 34);
    else if (side->flying[slot].request)
        look(side, slot);
    else
        post(side, slot, what % 2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char library[512];
    const ssize_t length = readlink("/proc/self/exe", library, sizeof(library) - 32);
    void *handle;

    (void)argc, (void)argv;
    NEED(length > 0);
    strcpy(strrchr(library, '/'), "/loop_ucp.so");
    setenv("MFS_NCCL_UCX", library, 1);
    setenv("MFS_SEGMENT", "/nowhere/segment", 1);
    setenv("NCCL_SOCKET_IFNAME", "lo", 1);
    setenv("MFS_ENABLE", "1", 1);
    setenv("MFS_LOG", "0", 1);
    setenv("MFS_NCCL_PEER_TIMEOUT", "1s", 1);
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        fprintf(stderr, "%s\n", dlerror());
    NEED(handle);
    hooks = dlsym(handle, "loop_hooks");
    *(void **)&loop_reset_it = dlsym(handle, "loop_reset");
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (char)(i * 31 + i / 251);
    fuzz_clock_ns = INT64_C(1000000000000); /* never set back: the segment lives on */
    fuzz_look_ns = 200000; /* so that waiting for a second takes 5,000 looks */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t kind;

    input = (struct input){data, size};
    kind = input_below(&input, 8);
    changes = 0;
    *hooks = (struct loop_hooks){.random = input_number(&input, 1), .rdma = kind == 2};
    open_both();
    hooks->change = kind < 6 ? change_message : NULL;
    change_hellos = kind == 6;
    if (kind == 7)
        change_word(sides[0].handle, MFS_NCCL_HANDLE_BYTES);
    if (connect_both() && register_both()) {
        while (input.left > 0)
            step();
    } else {
        NEED(changes > 0);
    }
    hooks->change = NULL;
    hooks->random = 0;
    change_hellos = false;
    close_both();
    loop_reset_it();
    return 0;
}
