/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plug-in against what a peer must not say:
 *
 *   wire PLUGIN LOOP_UCP forged [NAME]      one wrong message each, and what is said of it
 *   wire PLUGIN LOOP_UCP strangers          others at a listener, and numbers in a handle
 *   wire PLUGIN LOOP_UCP endings            finalize over RDMA, with a peer that has ended
 *   wire PLUGIN LOOP_UCP ucx MINOR          under a UCX of that version
 *   wire PLUGIN - which                     which UCX it opens by itself
 *   wire PLUGIN LOOP_UCP fuzz FROM COUNT    seeds: messages, hellos and handles changed at random
 *
 * Nothing may crash, hang, or reach UCX or memory that is not the receiver's.
 */
#include "wire.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

const struct mfs_nccl_table_v12 *net;
struct loop_hooks *hooks;
char warnings[65536], infos[65536];
char now_doing[128] = "start";

/* The plug-in's clock: each look takes 200 µs, so waiting for a second takes 5,000 looks. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int64_t now_ns = INT64_C(1000000000000);

    (void)clock;
    now_ns += 200000;
    now->tv_sec = now_ns / 1000000000;
    now->tv_nsec = now_ns % 1000000000;
    return 0;
}

static void log_line(int level, unsigned long flags, const char *file, int line, const char *format,
                     ...)
{
    char *const to = level > 2 ? infos : warnings;
    const size_t used = strlen(to);
    va_list arguments;

    (void)flags;
    (void)file;
    (void)line;
    if (used > sizeof(warnings) - 1024)
        return;
    va_start(arguments, format);
    vsnprintf(to + used, sizeof(warnings) - used - 1, format, arguments);
    va_end(arguments);
    strcat(to, "\n");
}

static char *guarded(void)
{
    char *memory = malloc(BUFFER_BYTES + 2 * GUARD_BYTES);

    memset(memory, 0x5a, BUFFER_BYTES + 2 * GUARD_BYTES);
    return memory + GUARD_BYTES;
}

static void guards_check(const char *memory)
{
    for (size_t i = 1; i <= GUARD_BYTES; i++)
        NEED(memory[-(long)i] == 0x5a && memory[BUFFER_BYTES + i - 1] == 0x5a);
}

void sides_open(struct side sides[2])
{
    struct mfs_nccl_config config = {-1};

    warnings[0] = infos[0] = hooks->log[0] = '\0';
    memset(sides, 0, 2 * sizeof(*sides));
    for (int i = 0; i < 2; i++) {
        sides[i].in = guarded();
        sides[i].out = guarded();
        for (size_t j = 0; j < BUFFER_BYTES; j++)
            sides[i].out[j] = (char)(j * 31 + j / 251);
        NEED(net->init(&sides[i].ctx, 1, &config, log_line, NULL) == 0);
    }
    for (int i = 0; i < 2; i++)
        NEED(net->listen(sides[i].ctx, 0, sides[1 - i].handle, &sides[i].listener) == 0);
}

bool sides_connect(struct side sides[2])
{
    void *device;
    int failed = 0;

    for (unsigned round = 0; round < 20000 && !failed; round++) {
        for (int i = 0; i < 2; i++) {
            if (!sides[i].send)
                failed |= net->connect(sides[i].ctx, 0, sides[i].handle, &sides[i].send, &device);
            if (!sides[i].recv)
                failed |= net->accept(sides[i].listener, &sides[i].recv, &device);
        }
        if (!sides[0].send || !sides[1].send || !sides[0].recv || !sides[1].recv)
            continue;
        for (int i = 0; i < 2; i++) {
            NEED(net->reg(sides[i].send, sides[i].out, BUFFER_BYTES, MFS_NCCL_PTR_HOST,
                          &sides[i].send_mr) == 0);
            NEED(net->reg(sides[i].recv, sides[i].in, BUFFER_BYTES, MFS_NCCL_PTR_HOST,
                          &sides[i].recv_mr) == 0);
        }
        return true;
    }
    return false;
}

void sides_close(struct side sides[2])
{
    for (int i = 0; i < 2; i++) {
        if (sides[i].recv_mr)
            NEED(net->dereg(sides[i].recv, sides[i].recv_mr) == 0);
        if (sides[i].send_mr)
            NEED(net->dereg(sides[i].send, sides[i].send_mr) == 0);
        if (sides[i].recv)
            NEED(net->close_recv(sides[i].recv) == 0);
        if (sides[i].send)
            NEED(net->close_send(sides[i].send) == 0);
        NEED(net->close_listen(sides[i].listener) == 0);
    }
    for (int i = 0; i < 2; i++) {
        NEED(net->finalize(sides[i].ctx) == 0);
        guards_check(sides[i].in);
        free(sides[i].in - GUARD_BYTES);
        free(sides[i].out - GUARD_BYTES);
    }
}

int wait_for(void *request, void *other, unsigned rounds, int *size)
{
    int done = 0, result = 0, other_done = 0;

    while (rounds-- > 0 && !done && result == 0) {
        result = net->test(request, &done, size);
        if (other && !other_done && net->test(other, &other_done, NULL) != 0)
            other = NULL;
    }
    return done || result != 0 ? result : -1;
}

/* Under UCX 1.`minor`: what init says when it refuses, or a large message from side to side. */
static void old_ucx(unsigned minor)
{
    struct mfs_nccl_config config = {-1};
    struct side sides[2];
    void *ctx, *sent = NULL, *received = NULL, *data;
    size_t bytes = 300000;
    int tag = 0, size = 0;

    hooks->minor = minor;
    if (net->init(&ctx, 1, &config, log_line, NULL) != 0) {
        printf("%s", warnings);
        return;
    }
    NEED(net->finalize(ctx) == 0);
    sides_open(sides);
    NEED(sides_connect(sides));
    data = sides[1].in;
    NEED(net->irecv(sides[1].recv, 1, &data, &bytes, &tag, &sides[1].recv_mr, NULL, &received) ==
         0);
    NEED(net->isend(sides[0].send, sides[0].out, bytes, 0, sides[0].send_mr, NULL, &sent) == 0);
    NEED(wait_for(received, sent, 2000, &size) == 0 && size == (int)bytes);
    NEED(memcmp(sides[1].in, sides[0].out, bytes) == 0);
    sides_close(sides);
    printf("%s", hooks->log); /* a flush, where nobody knows the transports */
}

/* The plug-in's own choice, and what it says of it. */
static void which_ucx(void)
{
    struct mfs_nccl_config config = {-1};
    void *ctx;

    NEED(net && net->init(&ctx, 1, &config, log_line, NULL) == 0);
    printf("%s%s", infos, warnings);
    NEED(net->finalize(ctx) == 0);
}

void begin(const char *format, ...)
{
    /* of the processor's time: what hangs here polls */
    const struct itimerval patience = {.it_value = {.tv_sec = 20}};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(now_doing, sizeof(now_doing), format, arguments);
    va_end(arguments);
    NEED(setitimer(ITIMER_PROF, &patience, NULL) == 0);
}

static void on_hang(int number)
{
    (void)number;
    (void)!write(STDERR_FILENO, now_doing, strlen(now_doing));
    (void)!write(STDERR_FILENO, ": hangs\n", 8);
    abort();
}

int main(int argc, char **argv)
{
    char reason[512];
    void *library;

    signal(SIGPROF, on_hang);
    if (argc < 4) {
        fputs("usage: wire PLUGIN LOOP_UCP forged [NAME] | strangers | endings | ucx MINOR | which "
              "| fuzz "
              "FROM COUNT\n",
              stderr);
        return 2;
    }
    if (strcmp(argv[3], "which") == 0) {
        net = mfs_nccl_inner_open(argv[1], 12, reason, sizeof(reason));
        which_ucx();
        return 0;
    }
    setenv("MFS_NCCL_UCX", argv[2], 1);
    library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    hooks = library ? dlsym(library, "loop_hooks") : NULL;
    net = mfs_nccl_inner_open(argv[1], 12, reason, sizeof(reason));
    if (!hooks || !net) {
        fprintf(stderr, "%s\n", hooks ? reason : dlerror());
        return 2;
    }
    if (strcmp(argv[3], "forged") == 0)
        forged(argc > 4 ? argv[4] : NULL);
    else if (strcmp(argv[3], "strangers") == 0)
        strangers();
    else if (strcmp(argv[3], "endings") == 0)
        endings();
    else if (strcmp(argv[3], "ucx") == 0 && argc > 4)
        old_ucx((unsigned)atoi(argv[4]));
    else if (argc > 5)
        fuzz(strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
    return 0;
}
