/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NCCL plug-in under faults by table: init, listen, connect, accept, regMr, isend, irecv, test,
 * iflush, deregMr, the closes, finalize, between two communicators over tests/nccl/loop_ucp.c.
 *
 *     faults_nccl ours LOOP_UCP [all]    all: and all calls behind the one that fails
 *     faults_nccl gate INNER [all]       the gate before another plug-in, whose own calls succeed
 *
 * Each call answers 0 or one of NCCL's errors; a message that is told as received is right to the
 * byte; what was opened can be closed; no wait is without end.
 */
#include <dlfcn.h>

#include "../nccl/loop_ucp.h"
#include "faults.h"
#include "nccl/gate.h"
#include "nccl/plugin.h"

#define BYTES ((size_t)300000)
#define ROUNDS 30000u

static const struct mfs_nccl_table_v12 *net = &mfs_nccl_transport;
static struct loop_hooks *hooks; /* NULL: the gate's inner plug-in moves the bytes */
static char out[BYTES];

static struct side {
    void *ctx, *listener, *send, *recv, *send_mr, *recv_mr;
    char handle[MFS_NCCL_HANDLE_BYTES];
    char in[BYTES];
} sides[2];

static bool ucx_fails(const char *call)
{
    return fault_due(FAULT_UCX, call);
}

/* 0, or an error that NCCL knows, which only a fault may bring. */
static bool answers(int result, bool faulty, int line)
{
    if (result != MFS_NCCL_OK && !(faulty && fault_met() && result >= MFS_NCCL_SYSTEM_ERROR &&
                                   result <= MFS_NCCL_REMOTE_ERROR))
        FAIL("the call in line %d answers %d%s", line, result, faulty ? "" : ", later");
    return result == MFS_NCCL_OK;
}

#define good(result, faulty) answers(result, faulty, __LINE__)

static void log_nothing(int level, unsigned long flags, const char *file, int line,
                        const char *format, ...)
{
    (void)level, (void)flags, (void)file, (void)line, (void)format;
}

static bool meet(bool faulty)
{
    void *device;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 2; i++) {
            struct side *side = &sides[i];

            if (!side->send &&
                !good(net->connect(side->ctx, 0, side->handle, &side->send, &device), faulty))
                return false;
            if (!side->recv && !good(net->accept(side->listener, &side->recv, &device), faulty))
                return false;
        }
        if (sides[0].send && sides[1].send && sides[0].recv && sides[1].recv)
            return true;
    }
    FAIL("they never meet, and nobody is told");
}

static bool open_all(bool faulty)
{
    struct mfs_nccl_config config = {-1};

    for (int i = 0; i < 2; i++) {
        if (!good(net->init(&sides[i].ctx, 1, &config, log_nothing, NULL), faulty))
            return false;
    }
    for (int i = 0; i < 2; i++) {
        struct side *side = &sides[i];

        if (!good(net->listen(side->ctx, 0, sides[1 - i].handle, &side->listener), faulty))
            return false;
    }
    if (!meet(faulty))
        return false;
    for (int i = 0; i < 2; i++) {
        struct side *side = &sides[i];

        if (!good(net->reg(side->send, out, BYTES, MFS_NCCL_PTR_HOST, &side->send_mr), faulty) ||
            !good(net->reg(side->recv, side->in, BYTES, MFS_NCCL_PTR_HOST, &side->recv_mr), faulty))
            return false;
    }
    return true;
}

/* One message from side to side; false: one of them has failed, and the other is not waited for. */
static bool message(int from, size_t bytes, bool registered, bool faulty)
{
    struct side *sender = &sides[from], *receiver = &sides[1 - from];
    void *requests[2] = {NULL, NULL}, *data = receiver->in;
    void *mr = registered ? receiver->recv_mr : NULL;
    size_t room = bytes;
    int tag = 0, done[2] = {0, 0}, size = 0;

    memset(receiver->in, 0, bytes);
    for (unsigned round = 0; !done[0] || !done[1]; round++) {
        if (round > ROUNDS)
            FAIL("a message never ends, and nobody is told");
        if (!requests[0] &&
            !good(net->irecv(receiver->recv, 1, &data, &room, &tag, &mr, NULL, &requests[0]),
                  faulty))
            return false;
        if (!requests[1] &&
            !good(net->isend(sender->send, out, bytes, 0, registered ? sender->send_mr : NULL, NULL,
                             &requests[1]),
                  faulty))
            return false;
        if (!done[0] && requests[0] && !good(net->test(requests[0], &done[0], &size), faulty))
            return false;
        if (!done[1] && requests[1] && !good(net->test(requests[1], &done[1], NULL), faulty))
            return false;
    }
    CHECK_EQ(size, bytes);
    CHECK(memcmp(receiver->in, out, bytes) == 0);
    return true;
}

static bool flush(struct side *side, bool faulty)
{
    void *data = side->in, *request = NULL;
    int size = 8, done = 0;

    if (!good(net->iflush(side->recv, 1, &data, &size, &side->recv_mr, &request), faulty))
        return false;
    for (unsigned round = 0; request && !done; round++) {
        CHECK(round < ROUNDS);
        if (!good(net->test(request, &done, NULL), faulty))
            return false;
    }
    return true;
}

static void close_all(bool faulty)
{
    for (int i = 0; i < 2; i++) {
        struct side *side = &sides[i];

        if (side->recv_mr)
            (void)good(net->dereg(side->recv, side->recv_mr), faulty);
        if (side->send_mr)
            (void)good(net->dereg(side->send, side->send_mr), faulty);
        if (side->recv)
            (void)good(net->close_recv(side->recv), faulty);
        if (side->send)
            (void)good(net->close_send(side->send), faulty);
        if (side->listener)
            (void)good(net->close_listen(side->listener), faulty);
    }
    for (int i = 0; i < 2; i++) {
        if (sides[i].ctx)
            (void)good(net->finalize(sides[i].ctx), faulty);
    }
    memset(sides, 0, sizeof(sides));
}

static void run(bool faulty)
{
    static const size_t sizes[] = {8, 0, 8192, 20000, BYTES};
    bool right = open_all(faulty);

    for (size_t i = 0; right && i < COUNT(sizes); i++)
        right = message((int)(i % 2), sizes[i], i % 3 != 1, faulty);
    if (right && message(0, 8192, false, faulty))
        (void)flush(&sides[1], faulty);
    close_all(faulty);
    if (hooks) {
        hooks->hold = false;
        ((void (*)(void))dlsym(RTLD_DEFAULT, "loop_reset"))();
    }
}

/* What lives as long as the process is made before. */
static void set_up(void)
{
    run(false);
}

static void begin_ours(const char *loop_ucp)
{
    void *library = dlopen(loop_ucp, RTLD_NOW | RTLD_GLOBAL);

    if (!library)
        FAIL("%s", dlerror());
    setenv("MFS_NCCL_UCX", loop_ucp, 1);
    hooks = dlsym(library, "loop_hooks");
    hooks->fails = ucx_fails;
    hooks->random = 1;
}

static void begin_gate(const char *inner)
{
    setenv("MFS_NCCL_INNER", inner, 1);
    net = mfs_nccl_gate_open(inner);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"first", NULL, run},  /* with what a process does once */
        {"later", set_up, run},
    };
    unsigned bad = 0;

    if (argc < 3)
        return 2;
    for (size_t i = 0; i < BYTES; i++)
        out[i] = (char)(i * 31 + i / 251 + 1);
    setenv("NCCL_SOCKET_IFNAME", "lo", 1);
    setenv("MFS_NCCL_PEER_TIMEOUT", "1s", 1);
    setenv("MFS_TEST_NCCL_FLUSH", "1", 1);
    setenv("MFS_LOG", "0", 1);
    if (strcmp(argv[1], "gate") == 0)
        begin_gate(argv[2]);
    else
        begin_ours(argv[2]);
    for (size_t i = 0; i < COUNT(scenarios); i++)
        bad += faults_run(&scenarios[i], argc > 3);
    return bad > 0;
}
