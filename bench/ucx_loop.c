/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring loop of bench/ucx.py: a client and its server.
 *
 *   ucx_loop PLACE OPERATION MIN_BYTES MAX_BYTES FACTOR BUDGET_MS
 *
 * PLACE: two (a process each, wall-clock time) or one (both in one thread, and the time
 * is the CPU time of the process: what the transfer costs, whoever else uses the
 * machine). OPERATION: put, get, tag (bandwidth: up to 32 operations or 64 MiB in flight)
 * or put_lat, get_lat (one at a time, each with a flush). For each size it runs for about
 * BUDGET_MS (below 0: for that many operations) and prints "size_bytes
 * seconds_per_operation".
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#define IN_FLIGHT 32
#define IN_FLIGHT_BYTES ((size_t)64 << 20)
#define TAG 1

/* What the other side must know; followed by the address and the rkey. */
struct card {
    uint64_t memory;
    size_t address_bytes, rkey_bytes;
};

struct side {
    ucp_context_h context;
    ucp_worker_h worker;
    struct card card;
    ucp_address_t *address;
    void *packed_rkey;
    char *memory;
    ucp_ep_h ep;
    ucp_rkey_h rkey;
    uint64_t remote;
    ucs_status_ptr_t receive; /* server: of the next message */
};

static struct side client, server;
static bool one_process;
static size_t memory_bytes;
static const ucp_request_param_t no_param;

static void die(const char *what, ucs_status_t status)
{
    fprintf(stderr, "ucx_loop: %s: status %d\n", what, (int)status);
    exit(1);
}

static void transfer(int fd, void *data, size_t bytes, bool write_it)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t part = write_it ? write(fd, (char *)data + done, bytes - done)
                                : read(fd, (char *)data + done, bytes - done);

        if (part <= 0 && errno != EINTR)
            die("exchange", UCS_ERR_IO_ERROR);
        done += part > 0 ? (size_t)part : 0;
    }
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(one_process ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void side_open(struct side *side)
{
    const ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_FEATURES,
        .features = UCP_FEATURE_RMA | UCP_FEATURE_TAG,
    };
    const ucp_worker_params_t worker_params = {0};
    const ucp_mem_map_params_t map = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_FLAGS,
        .length = memory_bytes,
        .flags = UCP_MEM_MAP_ALLOCATE,
    };
    ucp_mem_attr_t attributes = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};
    ucp_mem_h memh;

    if (ucp_init(&params, NULL, &side->context) ||
        ucp_worker_create(side->context, &worker_params, &side->worker) ||
        ucp_mem_map(side->context, &map, &memh) || ucp_mem_query(memh, &attributes) ||
        ucp_worker_get_address(side->worker, &side->address, &side->card.address_bytes) ||
        ucp_rkey_pack(side->context, memh, &side->packed_rkey, &side->card.rkey_bytes))
        die("set-up", UCS_ERR_NO_RESOURCE);
    side->memory = attributes.address;
    memset(side->memory, 1, memory_bytes);
    side->card.memory = (uint64_t)(uintptr_t)side->memory;
}

static void side_connect(struct side *side, const struct side *other)
{
    const ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS,
        .address = other->address,
    };

    if (ucp_ep_create(side->worker, &params, &side->ep) ||
        ucp_ep_rkey_unpack(side->ep, other->packed_rkey, &side->rkey))
        die("endpoint", UCS_ERR_UNREACHABLE);
    side->remote = other->card.memory;
}

/* Exchange cards with the process at the other end of fd, and connect. */
static void side_meet(struct side *side, int fd)
{
    struct side other = {0};

    transfer(fd, &side->card, sizeof(side->card), true);
    transfer(fd, side->address, side->card.address_bytes, true);
    transfer(fd, side->packed_rkey, side->card.rkey_bytes, true);
    transfer(fd, &other.card, sizeof(other.card), false);
    other.address = malloc(other.card.address_bytes);
    other.packed_rkey = malloc(other.card.rkey_bytes);
    if (!other.address || !other.packed_rkey)
        die("exchange", UCS_ERR_NO_MEMORY);
    transfer(fd, other.address, other.card.address_bytes, false);
    transfer(fd, other.packed_rkey, other.card.rkey_bytes, false);
    side_connect(side, &other);
}

static void serve(void)
{
    if (UCS_PTR_IS_PTR(server.receive) &&
        ucp_request_check_status(server.receive) != UCS_INPROGRESS) {
        ucp_request_free(server.receive);
        server.receive = NULL;
    }
    if (!server.receive)
        server.receive = ucp_tag_recv_nbx(server.worker, server.memory, memory_bytes, TAG,
                                          UINT64_MAX, &no_param);
    ucp_worker_progress(server.worker);
}

static void serve_until_closed(int fd)
{
    struct pollfd ended = {.fd = fd, .events = POLLIN};

    side_open(&server);
    side_meet(&server, fd);
    for (unsigned round = 1; round % 4096 != 0 || poll(&ended, 1, 0) == 0; round++)
        serve();
    _exit(0);
}

static void progress(void)
{
    ucp_worker_progress(client.worker);
    if (one_process)
        serve();
}

static void wait_for(ucs_status_ptr_t request, const char *what)
{
    ucs_status_t status = UCS_PTR_STATUS(request);

    if (UCS_PTR_IS_PTR(request)) {
        while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS)
            progress();
        ucp_request_free(request);
    }
    if (status != UCS_OK)
        die(what, status);
}

static ucs_status_ptr_t post(char operation, size_t bytes)
{
    if (operation == 'p')
        return ucp_put_nbx(client.ep, client.memory, bytes, client.remote, client.rkey, &no_param);
    if (operation == 'g')
        return ucp_get_nbx(client.ep, client.memory, bytes, client.remote, client.rkey, &no_param);
    return ucp_tag_send_nbx(client.ep, client.memory, bytes, TAG, &no_param);
}

/* Is it enough? A budget below 0 counts operations, which costs no call. */
static bool enough(size_t count, double start_s, double budget_s)
{
    return budget_s < 0 ? (double)count >= -budget_s * 1e3
                        : count > 0 && now_s() - start_s >= budget_s;
}

/* As many operations as fit in the budget, `depth` in flight; seconds for each. */
static double run(char operation, size_t bytes, size_t depth, double budget_s)
{
    ucs_status_ptr_t requests[IN_FLIGHT] = {NULL};
    const double start_s = now_s();
    size_t count = 0;

    while (count % (bytes > 65536 ? 1 : 64) != 0 || !enough(count, start_s, budget_s)) {
        const size_t at = count++ % depth;

        if (requests[at])
            wait_for(requests[at], "operation");
        requests[at] = post(operation, bytes);
        if (depth == 1)
            wait_for(ucp_ep_flush_nbx(client.ep, &no_param), "flush");
        else if (count % 16 == 0)
            progress();
    }
    for (size_t i = 0; i < depth; i++)
        wait_for(requests[i], "operation");
    wait_for(ucp_ep_flush_nbx(client.ep, &no_param), "flush");
    return (now_s() - start_s) / (double)count;
}

static void measure(const char *name, size_t bytes, double budget_s)
{
    const size_t fit = IN_FLIGHT_BYTES / bytes;
    const size_t depth = strstr(name, "_lat") || fit < 2 ? 1 : fit < IN_FLIGHT ? fit : IN_FLIGHT;

    (void)run(name[0], bytes, depth, budget_s / 8); /* warm up */
    printf("%zu %.9g\n", bytes, run(name[0], bytes, depth, budget_s));
}

int main(int argc, char **argv)
{
    size_t largest;
    int fds[2] = {-1, -1};

    if (argc != 7) {
        fputs("usage: ucx_loop one|two OPERATION MIN_BYTES MAX_BYTES FACTOR BUDGET_MS\n", stderr);
        return 2;
    }
    one_process = strcmp(argv[1], "one") == 0;
    largest = strtoull(argv[4], NULL, 10);
    memory_bytes = largest;
    if (!one_process && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        die("socketpair", UCS_ERR_IO_ERROR);
    if (!one_process && fork() == 0) {
        close(fds[0]);
        serve_until_closed(fds[1]);
    }
    side_open(&client);
    if (one_process) {
        side_open(&server);
        side_connect(&client, &server);
    } else {
        close(fds[1]);
        side_meet(&client, fds[0]);
    }
    wait_for(ucp_ep_flush_nbx(client.ep, &no_param), "connect");
    for (size_t bytes = strtoull(argv[3], NULL, 10); bytes <= largest;
         bytes *= strtoull(argv[5], NULL, 10))
        measure(argv[2], bytes, strtod(argv[6], NULL) * 1e-3);
    fflush(stdout);
    if (!one_process) {
        close(fds[0]); /* tells the server */
        (void)wait(NULL);
    }
    _exit(0);
}
