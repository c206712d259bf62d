/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a real UCX sends by which device, and which ports the shim has it on.
 *
 *   rails serve FILE              writes its address into FILE; ends with its parent
 *   rails put peer|none FILE...   an endpoint to each, a put of 4 MiB by each; then it says which
 *                                 devices have sent how much, and waits for the end of its input
 *
 * The puts are of the stage STAGE, if it is set.
 */
#include <string.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include "check.h"

#define BYTES ((size_t)4 << 20)

/* Of the shim's library. */
struct tag {
    uint64_t request;
    uint32_t layer, stage;
};
__attribute__((weak)) void mfs_tag_set(const struct tag *tag);

struct address { /* of a server, as its file has it */
    uint64_t remote, length, key_length;
    char bytes[8192];
};

static ucp_context_h context;
static ucp_worker_h worker;
static ucp_mem_h memory_handle;
static char *memory;

static void set_up(void)
{
    const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                                 .features = UCP_FEATURE_RMA | UCP_FEATURE_AM};
    const ucp_worker_params_t worker_params = {0};
    ucp_mem_map_params_t map = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
        .length = BYTES,
    };

    map.address = memory = calloc(1, BYTES);
    CHECK(memory);
    CHECK_OK(ucp_init(&params, NULL, &context));
    CHECK_OK(ucp_worker_create(context, &worker_params, &worker));
    CHECK_OK(ucp_mem_map(context, &map, &memory_handle));
}

static void serve(const char *path)
{
    struct address to = {.remote = (uintptr_t)memory};
    const pid_t parent = getppid();
    char name[1024];
    ucp_address_t *address;
    size_t length, key_length;
    void *key;
    FILE *file;

    CHECK_OK(ucp_worker_get_address(worker, &address, &length));
    CHECK_OK(ucp_rkey_pack(context, memory_handle, &key, &key_length));
    CHECK(length + key_length <= sizeof(to.bytes));
    to.length = length;
    to.key_length = key_length;
    memcpy(to.bytes, address, length);
    memcpy(to.bytes + length, key, key_length);
    snprintf(name, sizeof(name), "%s.new", path);
    file = fopen(name, "w");
    CHECK(file && fwrite(&to, sizeof(to), 1, file) == 1 && fclose(file) == 0);
    CHECK(rename(name, path) == 0);
    while (getppid() == parent) /* whose end it does not outlive */
        ucp_worker_progress(worker);
}

static void wait_for(ucs_status_ptr_t request)
{
    CHECK(!UCS_PTR_IS_ERR(request));
    if (!request)
        return;
    while (ucp_request_check_status(request) == UCS_INPROGRESS)
        ucp_worker_progress(worker);
    CHECK_OK(ucp_request_check_status(request));
    ucp_request_free(request);
}

static void put(const char *path, ucp_err_handling_mode_t mode)
{
    const ucp_request_param_t plain = {0};
    const struct tag tag = {.stage = getenv("STAGE") ? (uint32_t)atoi(getenv("STAGE")) : 0};
    struct address to;
    ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE,
        .err_mode = mode,
    };
    FILE *file = fopen(path, "r");
    ucp_rkey_h key;
    ucp_ep_h ep;

    CHECK(file && fread(&to, sizeof(to), 1, file) == 1 && fclose(file) == 0);
    params.address = (const ucp_address_t *)to.bytes;
    CHECK_OK(ucp_ep_create(worker, &params, &ep));
    CHECK_OK(ucp_ep_rkey_unpack(ep, to.bytes + to.length, &key));
    if (mfs_tag_set)
        mfs_tag_set(&tag);
    wait_for(ucp_put_nbx(ep, memory, BYTES, to.remote, key, &plain));
    wait_for(ucp_ep_flush_nbx(ep, &plain));
}

/* 0: there is no such device. */
static long sent(const char *device)
{
    char path[128];
    long bytes = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/tx_bytes", device);
    file = fopen(path, "r");
    CHECK(!file || (fscanf(file, "%ld", &bytes) == 1 && fclose(file) == 0));
    return bytes;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    set_up();
    if (strcmp(argv[1], "serve") == 0) {
        serve(argv[2]);
    } else {
        const long first = sent("eth0"), second = sent("eth1");

        for (int i = 3; i < argc; i++)
            put(argv[i], strcmp(argv[2], "peer") == 0 ? UCP_ERR_HANDLING_MODE_PEER
                                                      : UCP_ERR_HANDLING_MODE_NONE);
        printf("%ld %ld\n", sent("eth0") - first, sent("eth1") - second);
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    return 0;
}
