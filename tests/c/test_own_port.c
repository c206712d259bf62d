/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

static void name__as_the_environment_says(void)
{
    static const struct {
        const char *port, *devices, *name;
    } rows[] = {
        {"eth7", "mlx5_0:1", "eth7"}, {"", "mlx5_0:1", "mlx5_0"}, /* as NCCL's devices are named */
        {"", "eth0", "eth0"},         {"", "enp1s0f0.100", "enp1s0f0.100"},
        {NULL, NULL, "default"},      {"", "", "default"},
        {"", "all", "default"},       {"", "mlx5_0:1,mlx5_1:1", "default"},
        {"", "^eth0", "default"},     {"", "mlx5_*", "default"},
        {"", ":1", "default"},        {"", "a-device-whose-name-is-too-long-for-us:1", "default"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char name[MFS_PORT_NAME_MAX + 1];

        mfs_port_name_of(rows[i].port, rows[i].devices, name);
        CHECK_EQ_AT(strcmp(name, rows[i].name), 0, i);
    }
}

static void own__of_this_process(void)
{
    char name[MFS_PORT_NAME_MAX + 1];

    setenv("UCX_NET_DEVICES", "mlx5_3:1", 1);
    mfs_port_own(name);
    CHECK(strcmp(name, "mlx5_3") == 0);
}

static const char *learn(const char *a, const char *b, const char *c)
{
    static char name[MFS_PORT_NAME_MAX + 1];
    const char *const devices[] = {a, b, c};

    char joined[MFS_PORT_NAME_MAX + 1];

    unsetenv("UCX_NET_DEVICES");
    CHECK(mfs_port_learns());
    CHECK(mfs_port_name_join(devices, 3, joined));
    CHECK(mfs_port_learn(joined));
    mfs_port_own(name);
    CHECK(strcmp(name, joined) == 0);
    return name;
}

static void learned__in_order_and_once(void)
{
    CHECK(strcmp(learn("mlx5_1:1", "mlx5_0:1", "mlx5_1:2"), "mlx5_0+mlx5_1") == 0);
    CHECK(!mfs_port_learns());
}

static void learned__as_many_as_fit(void)
{
    CHECK(strcmp(learn("a-device-of-20-chars", "b-device-of-20-chars", "c-dev"),
                 "a-device-of-20-chars") == 0);
}

static void learned__names_of_devices_alone(void)
{
    CHECK(strcmp(learn("", "../../etc/passwd", "eth0"), "eth0") == 0);
}

static void learned__not_where_the_environment_says(void)
{
    setenv("UCX_NET_DEVICES", "eth1", 1);
    CHECK(mfs_port_said());
    CHECK(!mfs_port_learns());
    CHECK(!mfs_port_learn("eth0"));
}

static void learned__nothing_of_nothing(void)
{
    const char *const devices[] = {"all", "a b"};
    char name[MFS_PORT_NAME_MAX + 1];

    unsetenv("UCX_NET_DEVICES");
    CHECK(!mfs_port_said());
    CHECK(!mfs_port_name_join(devices, 0, name));
    CHECK(!mfs_port_name_join(devices, 2, name));
    CHECK(!mfs_port_learn(name));
    CHECK(!mfs_port_learn("a-port-whose-name-is-much-too-long"));
    CHECK(mfs_port_learns());
}

static const struct test tests[] = {
    TEST(learned__in_order_and_once),
    TEST(learned__as_many_as_fit),
    TEST(learned__names_of_devices_alone),
    TEST(learned__not_where_the_environment_says),
    TEST(learned__nothing_of_nothing),
    TEST(name__as_the_environment_says),
    TEST(own__of_this_process),
};

TEST_MAIN(tests)
