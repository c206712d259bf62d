/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx_side.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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
static int server_fd = -1;
static const ucp_request_param_t no_param;

void die(const char *what, ucs_status_t status)
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

double now_s(void)
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

void progress(void)
{
    ucp_worker_progress(client.worker);
    if (one_process)
        serve();
}

void wait_for(ucs_status_ptr_t request, const char *what)
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

ucs_status_ptr_t post(char operation, size_t bytes)
{
    if (operation == 'p')
        return ucp_put_nbx(client.ep, client.memory, bytes, client.remote, client.rkey, &no_param);
    if (operation == 'g')
        return ucp_get_nbx(client.ep, client.memory, bytes, client.remote, client.rkey, &no_param);
    return ucp_tag_send_nbx(client.ep, client.memory, bytes, TAG, &no_param);
}

ucs_status_ptr_t flush_post(void)
{
    return ucp_ep_flush_nbx(client.ep, &no_param);
}

/* --- where the two sides are --- */

static struct sockaddr_in address_of(const char *host, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "ucx_loop: %s: no IPv4 address\n", host);
        exit(2);
    }
    return address;
}

/* A child for each client that comes. */
static void serve_clients(const char *port)
{
    const struct sockaddr_in address = address_of("0.0.0.0", port);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 16) != 0) {
        perror("ucx_loop: listen");
        exit(1);
    }
    signal(SIGCHLD, SIG_IGN);
    puts("listening");
    fflush(stdout);
    for (;;) {
        const int fd = accept(listener, NULL, NULL);

        if (fd >= 0 && fork() == 0) {
            close(listener);
            serve_until_closed(fd);
        }
        close(fd);
    }
}

static int connect_to(char *place)
{
    char *port = strrchr(place, ':');
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address;

    *port++ = '\0';
    address = address_of(place, port);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        perror("ucx_loop: connect");
        exit(1);
    }
    return fd;
}

/* A server process of our own; the socket to it. */
static int start_server(void)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        die("socketpair", UCS_ERR_IO_ERROR);
    if (fork() == 0) {
        close(fds[0]);
        serve_until_closed(fds[1]);
    }
    close(fds[1]);
    return fds[0];
}

void sides_open(char *place, size_t bytes)
{
    one_process = strcmp(place, "one") == 0;
    memory_bytes = bytes;
    if (strncmp(place, "serve:", 6) == 0)
        serve_clients(place + 6);
    if (strcmp(place, "two") == 0)
        server_fd = start_server();
    else if (!one_process)
        server_fd = connect_to(place);
    side_open(&client);
    if (one_process) {
        side_open(&server);
        side_connect(&client, &server);
    } else {
        side_meet(&client, server_fd);
    }
    wait_for(flush_post(), "connect");
}

void sides_close(void)
{
    if (server_fd < 0)
        return;
    close(server_fd); /* tells the server */
    (void)wait(NULL);
}
