/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To which hosts a process is connected by UCX, as the shim tells it in the segment. UCX is one
 * that does nothing (fake_ucp.c); its sockets are this program's own, set up as libuct does it.
 *
 *     sockets    a connection to another address comes and goes; one of this host is none
 *     address    an endpoint that is made from a socket's address
 *     nobody     wants to know: nothing is told
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "fake_ucp.h"
#include "host/contact.h"

#define LOOKS 400 /* 5 ms apart, until something must have happened */
#define HERE "127.0.0.1"
#define THERE "127.0.0.2"

typedef ucs_status_t set_option(int fd, int level, int option, const void *value, socklen_t size);

static ucp_context_h context;
static ucp_worker_h worker;

static struct sockaddr_in address_of(const char *ip)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    CHECK(inet_pton(AF_INET, ip, &address.sin_addr) == 1);
    return address;
}

/* Between two addresses of loopback; UCX would set it up before it connects. */
static int connection(const char *from, const char *to)
{
    struct sockaddr_in own = address_of(from), other = address_of(to);
    socklen_t size = sizeof(other);
    const int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    set_option *set;

    *(void **)&set = dlsym(RTLD_DEFAULT, "ucs_socket_setopt");
    CHECK(set != NULL);
    CHECK(bind(listener, (void *)&other, sizeof(other)) == 0 && listen(listener, 8) == 0);
    CHECK(getsockname(listener, (void *)&other, &size) == 0);
    CHECK(set(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) == UCS_OK);
    CHECK(bind(fd, (void *)&own, sizeof(own)) == 0);
    CHECK(connect(fd, (void *)&other, sizeof(other)) == 0);
    CHECK(accept(listener, NULL, NULL) >= 0); /* it stays until the program ends */
    CHECK(close(listener) == 0);
    return fd;
}

/* What is told; *ip: of the last one. */
static uint32_t told(struct in_addr *ip)
{
    struct mfs_contact contacts[8];
    const uint32_t count = mfs_contacts(mfs_host_get(), contacts, 8);

    for (uint32_t i = 0; i < count; i++) {
        CHECK(contacts[i].teller == MFS_CONTACT_UCX);
        memcpy(ip, contacts[i].ip + 12, sizeof(*ip));
    }
    return count;
}

static void wait_for(uint32_t count, const char *ip)
{
    struct in_addr found = {0};
    const struct in_addr wanted = address_of(ip).sin_addr;

    for (int looks = 0; told(&found) != count; looks++) {
        CHECK(looks < LOOKS);
        for (int rounds = 0; rounds < 64; rounds++)
            (void)ucp_worker_progress(worker);
        usleep(5000);
    }
    CHECK(count == 0 || found.s_addr == wanted.s_addr);
}

static ucp_ep_h ep_at(const char *ip)
{
    static struct sockaddr_in address;
    const ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS,
        .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
        .sockaddr = {.addr = (void *)&address, .addrlen = sizeof(address)}};
    ucp_ep_h ep;

    address = address_of(ip);
    CHECK(ucp_ep_create(worker, &params, &ep) == UCS_OK);
    return ep;
}

static void ep_close(ucp_ep_h ep)
{
    const ucp_request_param_t param = {0};

    CHECK(!UCS_PTR_IS_ERR(ucp_ep_close_nbx(ep, &param)));
}

static void sockets(void)
{
    const int here = connection(HERE, HERE), there = connection(HERE, THERE);
    const int again = connection(HERE, THERE);

    wait_for(1, THERE);
    close(again);
    close(there);
    wait_for(0, HERE);
    close(here);
}

static void address(void)
{
    const ucp_ep_h first = ep_at(THERE), second = ep_at(THERE);

    wait_for(1, THERE);
    ep_close(first);
    ep_close(second);
    wait_for(0, HERE);
    (void)ep_at(THERE);
    wait_for(1, THERE);
    ucp_worker_destroy(worker); /* nobody makes progress any more */
    CHECK(mfs_contacts(mfs_host_get(), (struct mfs_contact[1]){0}, 1) == 0);
}

static void nobody(void)
{
    struct in_addr ip;
    const int there = connection(HERE, THERE);

    (void)ep_at(THERE);
    for (int rounds = 0; rounds < 10000; rounds++)
        (void)ucp_worker_progress(worker);
    CHECK(told(&ip) == 0);
    close(there);
}

int main(int argc, char **argv)
{
    const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                                 .features = UCP_FEATURE_RMA};
    const ucp_worker_params_t alone = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                       .thread_mode = UCS_THREAD_MODE_SINGLE};

    CHECK(argc == 2 && ucp_init(&params, NULL, &context) == UCS_OK);
    CHECK(ucp_worker_create(context, &alone, &worker) == UCS_OK);
    if (strcmp(argv[1], "sockets") == 0)
        sockets();
    else if (strcmp(argv[1], "address") == 0)
        address();
    else
        nobody();
    return 0;
}
