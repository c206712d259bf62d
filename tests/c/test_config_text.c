/* SPDX-License-Identifier: Apache-2.0 */
#include "host/config_text.h"

#include "test.h"

static void check__forms(void)
{
    static const struct {
        const char *name, *text;
        bool right;
    } rows[] = {
        {"MFS_SLO", "", true},
        {"MFS_SLO", "tight=300ms", true},
        {"MFS_SLO", " tight=300ms , loose=8x,default=.5s, ", true},
        {"MFS_SLO", "a_b-c.9=2.x,b=1ns,c=1us", true},
        {"MFS_SLO", "tight", false},
        {"MFS_SLO", "tight=", false},
        {"MFS_SLO", "tight=fast", false},
        {"MFS_SLO", "tight=3", false},
        {"MFS_SLO", "tight=3 ms", false},
        {"MFS_SLO", "tight=-3ms", false},
        {"MFS_SLO", "tight=1..5ms", false},
        {"MFS_SLO", "tight=.ms", false},
        {"MFS_SLO", "tight=0x", false},
        {"MFS_SLO", "tight=0.00s", false},
        {"MFS_SLO", "tight=1000000001s", false},
        {"MFS_SLO", "=3ms", false},
        {"MFS_SLO", "9=3ms", false},
        {"MFS_SLO", "tight=3ms,loose", false},
        {"MFS_SLO", "tight=3ms,loose=4ms,tight=5ms", false},
        {"MFS_SLO", "tight=3ms, tight=3ms", false},
        {"MFS_SLO", "tight=3ms;loose=8x", false},
        {"MFS_TTFT_HEADERS", "x-mfs-ttft-ms", true},
        {"MFS_TTFT_HEADERS", "X-A, x_b.9", true},
        {"MFS_TTFT_HEADERS", "x-a,", false},
        {"MFS_TTFT_HEADERS", "x-a:5", false},
        {"MFS_TTFT_HEADERS", "x a", false},
        {"MFS_TTFT_HEADERS", "x-\xc3\xa9", false},
        {"MFS_NIXL_GATE", "always", true},
        {"MFS_NIXL_GATE", "sometimes", false},
        {"MFS_PRIORITY_HEADER", "x-priority", true},
        {"MFS_PRIORITY_HEADER", "x-a,x-b", false},
        {"MFS_NCCL_CLASSES", "", true},
        {"MFS_NCCL_CLASSES", "0:106", true},
        {"MFS_NCCL_CLASSES", "0:106,3:34,4:0,31:255", true},
        {"MFS_NCCL_CLASSES", "0:106,1:1,2:2,3:3,4:4", false},
        {"MFS_NCCL_CLASSES", "1:106", false},
        {"MFS_NCCL_CLASSES", "0:106,0:34", false},
        {"MFS_NCCL_CLASSES", "0:256", false},
        {"MFS_NCCL_CLASSES", "0:1,32:2", false},
        {"MFS_NCCL_CLASSES", "0:99999999999999999999999", false},
        {"MFS_NCCL_CLASSES", "0", false},
        {"MFS_NCCL_CLASSES", ":", false},
        {"MFS_NCCL_CLASSES", ",", false},
        {"MFS_NCCL_CLASSES", "0:-1", false},
        {"MFS_NCCL_CLASSES", "garbage", false},
        {"MFS_NCCL_STAGES", "1:kv_reuse,2:p2d,2147483647:collective", true},
        {"MFS_NCCL_STAGES", "p2p:p2d", true},
        {"MFS_NCCL_STAGES", "1:kv_reuse,p2p:collective", true},
        {"MFS_NCCL_STAGES", "p2p:p2p", false},
        {"MFS_NCCL_STAGES", "p2:p2d", false},
        {"MFS_NCCL_STAGES", "p2p", false},
        {"MFS_NCCL_STAGES", "1:kv", false},
        {"MFS_NCCL_STAGES", "1:p2d2", false},
        {"MFS_NCCL_STAGES", "p2d", false},
        {"MFS_NCCL_STAGES", ":p2d", false},
        {"MFS_NCCL_STAGES", "1:p2d,", false},
        {"MFS_NCCL_STAGES", "-1:p2d", false},
        {"MFS_NCCL_STAGES", "2147483648:p2d", false},
        {"MFS_NCCL_STAGES", "1:none", false},
        {"MFS_PORT", "any text, 9=1:2", true},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char message[256] = "";

        CHECK_EQ_AT(mfs_config_text_check(rows[i].name, rows[i].text, message, sizeof(message)),
                    rows[i].right ? 0 : -EINVAL, i);
        if (rows[i].right != (*message == '\0') || (*message && !strstr(message, rows[i].name)))
            FAIL("row %zu says \"%s\"", i, message);
    }
}

static const struct test tests[] = {TEST(check__forms)};

TEST_MAIN(tests)
