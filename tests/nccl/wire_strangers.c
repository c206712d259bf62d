/* SPDX-License-Identifier: Apache-2.0 */
/* Who else connects to a listener, and what a handle may hold. */
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define STRANGERS 300
#define ADDRESS_AT 40 /* in the handle */
#define TOKEN_AT 72

static unsigned descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    NEED(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static unsigned count_of(const char *words)
{
    unsigned count = 0;

    for (const char *at = warnings; (at = strstr(at, words)); at++)
        count++;
    return count;
}

static int stranger(const struct side *side)
{
    struct sockaddr_in to;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(&to, side->handle + ADDRESS_AT, sizeof(to));
    NEED(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    return fd;
}

static void accept_some(struct side *side)
{
    for (int i = 0; i < 20; i++)
        NEED(net->accept(side->listener, &side->recv, &(void *){NULL}) == 0 && !side->recv);
}

/* Silent ones cost 64 descriptors, those that hang up none, and a peer gets through. */
static void flood(void)
{
    struct side sides[2];
    int silent[STRANGERS];
    unsigned before;

    sides_open(sides);
    before = descriptors();
    for (int i = 0; i < STRANGERS; i++) {
        silent[i] = stranger(&sides[0]);
        close(stranger(&sides[0]));
    }
    accept_some(&sides[1]);
    NEED(descriptors() <= before + STRANGERS + 64);
    NEED(sides_connect(sides));
    NEED(count_of("setting up a connection") <= 1);
    for (int i = 0; i < STRANGERS; i++)
        close(silent[i]);
    sides_close(sides);
}

/* A peer that was given up for strangers tries again. */
static void pushed_out(void)
{
    struct side sides[2];
    int silent[STRANGERS];

    sides_open(sides);
    hooks->random = 0;
    NEED(net->connect(sides[0].ctx, 0, sides[0].handle, &sides[0].send, &(void *){NULL}) == 0);
    for (int i = 0; i < STRANGERS; i++)
        silent[i] = stranger(&sides[0]);
    NEED(sides_connect(sides));
    for (int i = 0; i < STRANGERS; i++)
        close(silent[i]);
    sides_close(sides);
}

static void no_descriptor_left(void)
{
    struct side sides[2];
    struct rlimit limit, few;
    int fd;

    sides_open(sides);
    fd = stranger(&sides[0]);
    NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    few = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    NEED(setrlimit(RLIMIT_NOFILE, &few) == 0);
    accept_some(&sides[1]);
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    NEED(count_of("accept: Too many open files") == 1);
    close(fd);
    NEED(sides_connect(sides));
    sides_close(sides);
}

/* A listener's handle has 0 there; a connector that follows it would end. */
static void token_of_nobody(void)
{
    struct side sides[2];

    sides_open(sides);
    memset(sides[0].handle + TOKEN_AT, 0x41, sizeof(uint64_t));
    NEED(sides_connect(sides));
    sides_close(sides);
}

/* The receiver closes before connect() has seen that it is connected. */
static void closed_before_connected(void)
{
    struct side sides[2];
    void *request = NULL, *data, *mr, *device = NULL;
    size_t bytes = 300000;
    int tag = 0, result = 0;

    sides_open(sides);
    for (int i = 0; i < 20000 && !sides[1].recv; i++) {
        /* its hello goes out; it is answered, and not looked at */
        if (i == 0 || i == 1)
            NEED(net->connect(sides[0].ctx, 0, sides[0].handle, &sides[0].send, &device) == 0);
        NEED(net->accept(sides[1].listener, &sides[1].recv, &device) == 0);
    }
    NEED(sides[1].recv && !sides[0].send);
    data = sides[1].in;
    NEED(net->reg(sides[1].recv, data, BUFFER_BYTES, MFS_NCCL_PTR_HOST, &mr) == 0);
    NEED(net->irecv(sides[1].recv, 1, &data, &bytes, &tag, &mr, NULL, &request) == 0);
    NEED(net->dereg(sides[1].recv, mr) == 0);
    NEED(net->close_recv(sides[1].recv) == 0);
    sides[1].recv = NULL;
    for (int i = 0; i < 20000 && !sides[0].send && result == 0; i++) {
        void *other = NULL;

        NEED(net->accept(sides[0].listener, &other, &device) == 0 && !other); /* UCX first */
        result = net->connect(sides[0].ctx, 0, sides[0].handle, &sides[0].send, &device);
    }
    NEED(result != 0 || sides[0].send);
    sides_close(sides);
}

void strangers(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"flood", flood},
        {"pushed out", pushed_out},
        {"no descriptor left", no_descriptor_left},
        {"token of nobody", token_of_nobody},
        {"closed before connected", closed_before_connected},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin("strangers: %s", cases[i].name);
        cases[i].run();
        printf("%s\n", cases[i].name);
    }
}
