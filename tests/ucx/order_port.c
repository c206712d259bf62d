/* SPDX-License-Identifier: Apache-2.0 */
/* Which port a process's traffic uses, where its environment does not say it. */
#include <string.h>

#include "host/port.h"
#include "order.h"

/* An endpoint that uses these, and a put by it that waits in the queue. */
static void endpoint(const ucp_transport_entry_t *transports, unsigned count)
{
    const ucp_ep_params_t params = {0};

    fake_transports = transports;
    fake_transport_count = count;
    CHECK(ucp_ep_create(worker, &params, &ep) == UCS_OK);
}

static void port_is(const char *expected)
{
    char name[MFS_PORT_NAME_MAX + 1];
    struct mfs_host *host = mfs_host_get();

    CHECK(strcmp(port_own(), expected) == 0);
    (void)put(0, 128);
    finish_all();
    CHECK(mfs_port_name_at(host, 0, name) == 0 && strcmp(name, expected) == 0);
    CHECK(mfs_port_name_at(host, 1, name) != 0);
}

/* TCP carries what UCX says to itself; the data goes by RDMA. */
static void port_by_rdma(void)
{
    static const ucp_transport_entry_t all[] = {
        {"tcp", "eth0"}, {"rc_mlx5", "mlx5_3:1"}, {"sysv", "memory"}, {"rc_mlx5", "mlx5_3:1"}};

    endpoint(all, 4);
    port_is("mlx5_3");
}

static const ucp_transport_entry_t rails[] = {
    {"dc_mlx5", "mlx5_10:1"}, {"dc_mlx5", "mlx5_1:1"}, {"dc_mlx5", "mlx5_2:1"}};

/* Those that have the same two share an order, in whatever order UCX names them. UCX stripes a put
 * over as many as it was told (here 2), the first of the list. */
static void port_of_rails(void)
{
    endpoint(rails, 3);
    port_is("mlx5_1+mlx5_10");
}

/* UCX lists what messages alone are striped over, too. */
static void port_of_one_rail(void)
{
    endpoint(rails, 3);
    port_is("mlx5_10");
}

static void port_of_all_rails(void)
{
    endpoint(rails, 3);
    port_is("mlx5_1+mlx5_10+mlx5_2");
}

static const ucp_transport_entry_t eths[] = {{"tcp", "eth0"}, {"tcp", "eth1"}};

static void survivor(ucp_err_handling_mode_t mode)
{
    const ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE,
                                    .err_mode = mode};

    fake_transports = eths;
    fake_transport_count = 2;
    CHECK(ucp_ep_create(worker, &params, &ep) == UCS_OK);
}

/* Over TCP, an endpoint that survives its peer sends by one device, whatever UCX was told. */
static void port_of_survivor(void)
{
    survivor(UCP_ERR_HANDLING_MODE_PEER);
    port_is("eth0");
}

static void port_of_no_survivor(void)
{
    survivor(UCP_ERR_HANDLING_MODE_NONE);
    port_is("eth0+eth1");
}

/* Loopback and shared memory are no NIC's; who uses one later says which. */
static void port_not_of_loopback(void)
{
    static const ucp_transport_entry_t inside[] = {{"posix", "memory"}, {"tcp", "lo"}};
    static const ucp_transport_entry_t outside[] = {{"posix", "memory"}, {"tcp", "eth1"}};

    endpoint(inside, 2);
    CHECK(strcmp(port_own(), "default") == 0);
    endpoint(outside, 2);
    port_is("eth1");
}

/* Endpoints with NICs of their own never wait for each other: the window of one port is full, and
 * what goes by the other leaves at once. */
static void port_of_each_endpoint(void)
{
    endpoint(&eths[0], 1);
    (void)put(0, 384); /* the last chunk waits: the window has room for two */
    LOG_IS("put 2 0 +128, put 2 128 +128");
    endpoint(&eths[1], 1);
    CHECK(strcmp(port_own(), "eth0") == 0); /* of what is no endpoint's */
    (void)get(3000, 128); /* into the port, not out of it */
    (void)put(2000, 384);
    LOG_IS("get 3 3000 +128, put 3 2000 +128, put 3 2128 +128");
    fake_complete(3, UCS_OK); /* one of the second's: its own next goes, and nobody else's */
    progress();
    LOG_IS("put 3 2256 +128");
    endpoint(&eths[0], 1);
    (void)put(1000, 128); /* by the same device as the first: waits */
    LOG_IS("");
    finish_all();
}

/* An endpoint that is not connected yet has no devices; its first operation asks again. */
static void port_when_connected(void)
{
    endpoint(NULL, 0);
    fake_transports = &eths[1];
    fake_transport_count = 1;
    CHECK(strcmp(port_own(), "default") == 0);
    (void)put(0, 128);
    port_is("eth1");
}

/* What stays on the host is on no NIC's port. */
static void port_of_memory(void)
{
    static const ucp_transport_entry_t inside[] = {{"posix", "memory"}};

    endpoint(&eths[0], 1);
    endpoint(inside, 1);
    CHECK(strcmp(port_own(), "eth0") == 0);
    (void)put(0, 128);
    finish_all();
    {
        char name[MFS_PORT_NAME_MAX + 1];

        CHECK(mfs_port_name_at(mfs_host_get(), 0, name) == 0 && strcmp(name, "default") == 0);
    }
}

/* UCX before 1.14 says that it has told them, and has not. */
static void port_of_old_ucx(void)
{
    endpoint(NULL, 0);
    port_is("default");
}

/* UCX_NET_DEVICES or MFS_PORT. */
static void port_is_said(void)
{
    static const ucp_transport_entry_t all[] = {{"tcp", "eth1"}};

    endpoint(all, 1);
    port_is("eth7");
}

const struct order_case order_port_cases[] = {
    CASE(port_by_rdma),
    CASE(port_of_rails),
    CASE(port_of_one_rail),
    CASE(port_of_all_rails),
    CASE(port_of_survivor),
    CASE(port_of_no_survivor),
    CASE(port_not_of_loopback),
    CASE(port_of_each_endpoint),
    CASE(port_when_connected),
    CASE(port_of_memory),
    CASE(port_of_old_ucx),
    CASE(port_is_said),
    {NULL, NULL},
};
