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

/* Those that have the same two share an order, in whatever order UCX names them. */
static void port_of_rails(void)
{
    static const ucp_transport_entry_t all[] = {
        {"dc_mlx5", "mlx5_10:1"}, {"dc_mlx5", "mlx5_1:1"}, {"dc_mlx5", "mlx5_2:1"}};

    endpoint(all, 3);
    port_is("mlx5_1+mlx5_10+mlx5_2");
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

/* The first that is known stays: a port has one name. */
static void port_stays(void)
{
    static const ucp_transport_entry_t first[] = {{"tcp", "eth1"}}, second[] = {{"tcp", "eth2"}};

    endpoint(first, 1);
    endpoint(second, 1);
    port_is("eth1");
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
    CASE(port_by_rdma), CASE(port_of_rails),   CASE(port_not_of_loopback),
    CASE(port_stays),   CASE(port_of_old_ucx), CASE(port_is_said),
    {NULL, NULL},
};
