/* SPDX-License-Identifier: Apache-2.0 */
/* NCCL's structs, by numbers that were worked out by hand from its headers (64-bit). */
#include "nccl/net.h"
#include "nccl/versions.h"
#include "test.h"

#define SLOT 8 /* a pointer in a table */

#define SIZE(type, bytes) CHECK_EQ(sizeof(struct type), bytes)
#define AT(type, member, bytes) CHECK_EQ(offsetof(struct type, member), bytes)

static void tables__sizes(void)
{
    SIZE(mfs_nccl_table_v12, 22 * SLOT);
    SIZE(mfs_nccl_table_v11, 22 * SLOT);
    SIZE(mfs_nccl_table_v10, 20 * SLOT);
    SIZE(mfs_nccl_table_v9, 20 * SLOT);
    SIZE(mfs_nccl_table_v8, 19 * SLOT);
    SIZE(mfs_nccl_table_v7, 19 * SLOT);
}

/* The order of the calls, the same in every version as far as it goes. */
#define ORDER(type)                                                                                \
    AT(type, name, 0 * SLOT);                                                                      \
    AT(type, init, 1 * SLOT);                                                                      \
    AT(type, devices, 2 * SLOT);                                                                   \
    AT(type, properties, 3 * SLOT);                                                                \
    AT(type, listen, 4 * SLOT);                                                                    \
    AT(type, connect, 5 * SLOT);                                                                   \
    AT(type, accept, 6 * SLOT);                                                                    \
    AT(type, reg, 7 * SLOT);                                                                       \
    AT(type, reg_dmabuf, 8 * SLOT);                                                                \
    AT(type, dereg, 9 * SLOT);                                                                     \
    AT(type, isend, 10 * SLOT);                                                                    \
    AT(type, irecv, 11 * SLOT);                                                                    \
    AT(type, iflush, 12 * SLOT);                                                                   \
    AT(type, test, 13 * SLOT);                                                                     \
    AT(type, close_send, 14 * SLOT);                                                               \
    AT(type, close_recv, 15 * SLOT);                                                               \
    AT(type, close_listen, 16 * SLOT);                                                             \
    AT(type, device_mr, 17 * SLOT);                                                                \
    AT(type, irecv_consumed, 18 * SLOT)

static void tables__order(void)
{
    ORDER(mfs_nccl_table_v12);
    ORDER(mfs_nccl_table_v11);
    ORDER(mfs_nccl_table_v10);
    ORDER(mfs_nccl_table_v9);
    ORDER(mfs_nccl_table_v8);
    ORDER(mfs_nccl_table_v7);
    AT(mfs_nccl_table_v12, make_vdevice, 19 * SLOT);
    AT(mfs_nccl_table_v12, finalize, 20 * SLOT);
    AT(mfs_nccl_table_v12, set_attr, 21 * SLOT);
    AT(mfs_nccl_table_v11, make_vdevice, 19 * SLOT);
    AT(mfs_nccl_table_v11, finalize, 20 * SLOT);
    AT(mfs_nccl_table_v11, set_attr, 21 * SLOT);
    AT(mfs_nccl_table_v10, make_vdevice, 19 * SLOT);
    AT(mfs_nccl_table_v9, make_vdevice, 19 * SLOT);
}

static void properties__v7_and_v8(void)
{
    SIZE(mfs_nccl_properties_v7, 56);
    AT(mfs_nccl_properties_v7, guid, 16);
    AT(mfs_nccl_properties_v7, ptr_support, 24);
    AT(mfs_nccl_properties_v7, speed_mbit, 28);
    AT(mfs_nccl_properties_v7, port, 32);
    AT(mfs_nccl_properties_v7, latency_us, 36);
    AT(mfs_nccl_properties_v7, max_comms, 40);
    AT(mfs_nccl_properties_v7, max_recvs, 44);
    AT(mfs_nccl_properties_v7, device_type, 48);
    AT(mfs_nccl_properties_v7, device_version, 52);
    SIZE(mfs_nccl_properties_v8, 64);
    AT(mfs_nccl_properties_v8, reg_is_global, 28);
    AT(mfs_nccl_properties_v8, speed_mbit, 32);
    AT(mfs_nccl_properties_v8, latency_us, 40);
    AT(mfs_nccl_properties_v8, device_version, 56);
}

static void properties__v9_to_v12(void)
{
    SIZE(mfs_nccl_vdevice_v11, 20);
    SIZE(mfs_nccl_vdevice_v12, 36);
    SIZE(mfs_nccl_properties_v9, 104);
    AT(mfs_nccl_properties_v9, force_flush, 32);
    AT(mfs_nccl_properties_v9, speed_mbit, 36);
    AT(mfs_nccl_properties_v9, device_version, 60);
    AT(mfs_nccl_properties_v9, vdevice, 64);
    AT(mfs_nccl_properties_v9, max_p2p_bytes, 88);
    AT(mfs_nccl_properties_v9, max_coll_bytes, 96);
    SIZE(mfs_nccl_properties_v11, 112);
    AT(mfs_nccl_properties_v11, max_multi_request, 104);
    SIZE(mfs_nccl_properties_v12, 128);
    AT(mfs_nccl_properties_v12, vdevice, 64);
    AT(mfs_nccl_properties_v12, max_p2p_bytes, 104);
    AT(mfs_nccl_properties_v12, max_coll_bytes, 112);
    AT(mfs_nccl_properties_v12, max_multi_request, 120);
    AT(mfs_nccl_properties_v12, rail, 124);
    AT(mfs_nccl_properties_v12, plane, 126);
}

static void small_structs(void)
{
    SIZE(mfs_nccl_config, 4);
    SIZE(mfs_nccl_comm_attr, 16);
    SIZE(mfs_nccl_attr, 44);
    AT(mfs_nccl_attr, op, 32);
    AT(mfs_nccl_attr, algorithm, 36);
    AT(mfs_nccl_attr, protocol, 40);
}

static const struct test tests[] = {
    TEST(tables__sizes),         TEST(tables__order), TEST(properties__v7_and_v8),
    TEST(properties__v9_to_v12), TEST(small_structs),
};

TEST_MAIN(tests)
