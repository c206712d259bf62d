/* SPDX-License-Identifier: Apache-2.0 */
#include "host/link.h"

#include "made_up.h"

static void rate__as_the_system_says(void)
{
    static const struct {
        const char *path, *text, *name;
        uint64_t rate_Bps;
    } rows[] = {
        {"class/net/eth0/device/vendor", "0x15b3\n", "eth0", 0}, /* it is there from now on */
        {"class/net/eth0/speed", "1000\n", "eth0", 125000000},
        {"class/net/veth0/speed", "10000\n", "veth0", 0}, /* made up */
        {"class/net/bond0/bonding/mode", "802.3ad 4\n", "bond0", 0},
        {"class/net/bond0/speed", "100000\n", "bond0", UINT64_C(12500000000)},
        {"class/net/eth0:1/device/vendor", "0x15b3\n", "eth0:1", 0},
        {"class/net/eth0:1/speed", "10000\n", "eth0:1", 1250000000}, /* an old alias */
        {"class/net/down/device/vendor", "", "down", 0},
        {"class/net/down/speed", "-1\n", "down", 0},
        {"class/net/empty/device/vendor", "", "empty", 0},
        {"class/net/empty/speed", "", "empty", 0},
        {"class/net/text/device/vendor", "", "text", 0},
        {"class/net/text/speed", "fast\n", "text", 0},
        {"class/net/huge/device/vendor", "", "huge", 0},
        {"class/net/huge/speed", "4294967295\n", "huge", 0}, /* unknown, of old drivers */
        {"class/infiniband/mlx5_0/ports/1/rate", "400 Gb/sec (4X NDR)\n", "mlx5_0",
         UINT64_C(50000000000)},
        {"class/infiniband/mlx5_0/ports/2/rate", "2.5 Gb/sec (1X SDR)\n", "mlx5_0:2", 312500000},
        {"class/infiniband/mlx5_1/ports/2/rate", "100 Gb/sec\n", "mlx5_1", 0},
        {"class/infiniband/mlx5_2/ports/1/rate", "200 Gb/sec\n", "mlx5_0+mlx5_2",
         UINT64_C(75000000000)},
        {"class/net/other/speed", "1000\n", "mlx5_0+other", 0}, /* of one it is not known */
        {"class/net/other/speed", "1000\n", "mlx5_0+", 0},
        {"class/net/other/speed", "1000\n", "default", 0},
        {"class/net/other/speed", "1000\n", "", 0},
        {"class/net/other/speed", "1000\n", "../net/other", 0},
        {"class/net/speed", "1000\n", ".", 0},
    };

    root_make();
    for (size_t row = 0; row < COUNT(rows); row++) {
        file_make(rows[row].path, rows[row].text);
        CHECK_EQ_AT(mfs_link_rate_Bps(root, rows[row].name), rows[row].rate_Bps, row);
    }
    CHECK_EQ(mfs_link_rate_Bps("/nowhere", "eth0"), 0);
}

static const struct test tests[] = {
    TEST(rate__as_the_system_says),
};

TEST_MAIN(tests)
