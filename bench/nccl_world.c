/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl_world.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 120u /* then a rank that hangs ends by SIGALRM */

struct board *world_board(void)
{
    void *memory =
        mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        DIE("no memory");
    return memory;
}

/* Entry `rank` of a list with commas in the environment; NULL: none. */
static const char *entry_of(const char *name, int rank, char *text, size_t size)
{
    const char *at = getenv(name);

    for (; at && rank > 0; rank--) {
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    if (!at)
        return NULL;
    snprintf(text, size, "%.*s", (int)strcspn(at, ","), at);
    return text;
}

/* A host of its own: WORLD_NETNS, WORLD_SEGMENTS and WORLD_NET_DEVICES (of UCX) name one for each
 * rank. */
static void world_place(int rank)
{
    char text[512], path[600];
    const char *name = entry_of("WORLD_NETNS", rank, text, sizeof(text));

    if (name) {
        int fd;

        snprintf(path, sizeof(path), "/run/netns/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
            DIE("rank %d cannot enter %s", rank, path);
        close(fd);
    }
    name = entry_of("WORLD_SEGMENTS", rank, text, sizeof(text));
    if (name)
        setenv("MFS_SEGMENT", name, 1);
    name = entry_of("WORLD_NET_DEVICES", rank, text, sizeof(text));
    if (name)
        setenv("UCX_NET_DEVICES", name, 1);
}

int world_run(struct world *world, int ranks, int victim, void (*scene)(struct world *))
{
    pid_t children[WORLD_RANKS];
    int failed = 0;

    world->ranks = ranks;
    if (!world->board)
        world->board = world_board();
    fflush(NULL);
    for (int rank = 0; rank < ranks; rank++) {
        children[rank] = fork();
        if (children[rank] < 0)
            DIE("fork");
        if (children[rank] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(PATIENCE_S);
            world->rank = rank;
            world_place(rank);
            scene(world);
            exit(0);
        }
    }
    for (int rank = 0; rank < ranks; rank++) {
        int status;

        if (waitpid(children[rank], &status, 0) != children[rank])
            DIE("waitpid");
        if (rank == victim ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        fprintf(stderr, "rank %d ended with status 0x%x\n", rank, (unsigned)status);
        if (!failed) { /* the others wait for it in vain */
            for (int other = rank + 1; other < ranks; other++)
                kill(children[other], SIGKILL);
        }
        failed = 1;
    }
    return failed;
}

static void log_line(int level, unsigned long flags, const char *file, int line, const char *format,
                     ...)
{
    va_list arguments;
    char text[1024];

    (void)flags;
    (void)file;
    (void)line;
    if (level > (getenv("WORLD_LOG") ? 3 : 2))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s %s\n", level == 2 ? "WARN" : "INFO", text);
}

void world_open(struct world *world)
{
    struct mfs_nccl_config config = {-1};
    char reason[512];
    int devices = 0;

    world->net = mfs_nccl_inner_open(world->plugin, world->version, reason, sizeof(reason));
    if (!world->net)
        DIE("%s", reason);
    CALL(world->net->init(&world->ctx, 42, &config, log_line, NULL));
    CALL(world->net->devices(&devices));
    if (devices < 1)
        DIE("no devices");
}

void world_barrier(struct world *world)
{
    _Atomic uint32_t *arrived = &world->board->arrived[world->barrier++ % 256];

    atomic_fetch_add(arrived, 1);
    while (atomic_load(arrived) % (uint32_t)world->ranks != 0)
        sched_yield();
}

double world_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint64_t world_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

void world_listen(struct world *world, void *ctx, int slot, void **listen_comm)
{
    CALL(world->net->listen(ctx, 0, world->board->handles[world->rank][slot], listen_comm));
    NEED(*listen_comm);
    atomic_store(&world->board->published[world->rank][slot], 1);
}

void world_handle(struct world *world, int rank, int slot, void *handle)
{
    while (!atomic_load(&world->board->published[rank][slot]))
        sched_yield();
    memcpy(handle, world->board->handles[rank][slot], MFS_NCCL_HANDLE_BYTES);
}

void world_connect(struct world *world, void *ctx, int rank, int slot, void **send_comm,
                   void *listen_comm, void **recv_comm)
{
    char handle[MFS_NCCL_HANDLE_BYTES];
    void *device = NULL;

    if (send_comm) {
        *send_comm = NULL;
        world_handle(world, rank, slot, handle);
    }
    if (recv_comm)
        *recv_comm = NULL;
    while ((send_comm && !*send_comm) || (recv_comm && !*recv_comm)) {
        if (send_comm && !*send_comm)
            CALL(world->net->connect(ctx, 0, handle, send_comm, &device));
        if (recv_comm && !*recv_comm)
            CALL(world->net->accept(listen_comm, recv_comm, &device));
        sched_yield();
    }
}

int world_wait(struct world *world, void *request)
{
    int done = 0, size = -1;

    while (!done) {
        CALL(world->net->test(request, &done, &size));
        if (!done)
            sched_yield(); /* as NCCL's progress thread does when nothing moves */
    }
    return size;
}

void *world_isend(struct world *world, void *comm, void *data, size_t size, void *mr)
{
    void *request = (void *)1;

    for (;;) {
        CALL(world->net->isend(comm, data, size, world->rank, mr, NULL, &request));
        NEED(request != (void *)1);
        if (request)
            return request;
        sched_yield();
    }
}

void *world_irecv(struct world *world, void *comm, void *data, size_t size, void *mr)
{
    void *request = (void *)1;
    int tag = 0;

    for (;;) {
        CALL(world->net->irecv(comm, 1, &data, &size, &tag, &mr, NULL, &request));
        NEED(request != (void *)1);
        if (request)
            return request;
        sched_yield();
    }
}
