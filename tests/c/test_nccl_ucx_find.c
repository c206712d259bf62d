/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: the source itself, which lies above the floors that C tests link */
#include "nccl/ucx_find.c"
/* clang-format on */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

static const char *root;

static const char *below(const char *path)
{
    static char whole[256];

    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    return whole;
}

static void make_root(void)
{
    static char template[256];

    snprintf(template, sizeof(template), "%s/ucx_find_XXXXXX", getenv("TMPDIR") ?: "/tmp");
    root = mkdtemp(template);
    CHECK(root);
}

static void make_folder(const char *path)
{
    CHECK(mkdir(below(path), 0700) == 0);
}

static void make_file(const char *path)
{
    const int fd = open(below(path), O_CREAT | O_WRONLY, 0600);

    CHECK(fd >= 0 && close(fd) == 0);
}

static void rdma_device__none(void)
{
    char name[64] = "kept";

    make_root();
    CHECK(!mfs_nccl_rdma_device(below("nothing"), name, sizeof(name)));
    make_folder("class");
    make_folder("class/infiniband");
    CHECK(!mfs_nccl_rdma_device(root, name, sizeof(name)));
    CHECK(strcmp(name, "kept") == 0);
}

static void rdma_device__the_first_by_name(void)
{
    char name[64];

    make_root();
    make_folder("class");
    make_folder("class/infiniband");
    make_folder("class/infiniband/mlx5_1");
    make_folder("class/infiniband/mlx5_0");
    CHECK(mfs_nccl_rdma_device(root, name, sizeof(name)));
    CHECK(strcmp(name, "mlx5_0") == 0);
}

static void has_verbs__a_module_beside_it(void)
{
    make_root();
    CHECK(!mfs_nccl_ucx_has_verbs(below("lib/libucp.so.0")));
    make_folder("lib");
    make_file("lib/libucp.so.0.0.0");
    CHECK(symlink("libucp.so.0.0.0", below("lib/libucp.so.0")) == 0);
    CHECK(!mfs_nccl_ucx_has_verbs(below("lib/libucp.so.0")));
    make_folder("lib/ucx");
    make_file("lib/ucx/libuct_cma.so.0");
    CHECK(!mfs_nccl_ucx_has_verbs(below("lib/libucp.so.0")));
    make_file("lib/ucx/libuct_ib.so.0");
    CHECK(mfs_nccl_ucx_has_verbs(below("lib/libucp.so.0")));
}

static const struct test tests[] = {
    TEST(rdma_device__none),
    TEST(rdma_device__the_first_by_name),
    TEST(has_verbs__a_module_beside_it),
};

TEST_MAIN(tests)
