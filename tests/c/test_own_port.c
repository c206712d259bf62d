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

static const struct test tests[] = {
    TEST(name__as_the_environment_says),
    TEST(own__of_this_process),
};

TEST_MAIN(tests)
