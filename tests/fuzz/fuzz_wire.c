/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer says, as the input's bytes, held against what this side knows (nccl/wire.h), with no
 * UCX and no socket: hellos, headers of messages, keys of a registration. What is taken for right
 * is inside every bound that a reader relies on; nothing is read behind its end.
 *
 * Bytes are copied to memory of their exact length, so that ASan sees its end.
 */
#include "core/atomic.h"
#include "input.h"
#include "nccl/comm.h"
#include "nccl/hello.h"

#define CHANNELS 4u
#define CLASSES 2u
#define EAGER_BYTES 8192u

/* --- a UCX that counts keys --- */

static unsigned keys_open;

static ucs_status_t unpack(ucp_ep_h ep, const void *packed, ucp_rkey_h *key)
{
    (void)ep;
    if (*(const unsigned char *)packed == 0xff) /* one that UCX does not take */
        return UCS_ERR_INVALID_PARAM;
    keys_open++;
    *key = (ucp_rkey_h)(uintptr_t)64;
    return UCS_OK;
}

static void destroy(ucp_rkey_h key)
{
    NEED(key == (ucp_rkey_h)(uintptr_t)64 && keys_open > 0);
    keys_open--;
}

static const struct mfs_nccl_ucx ucx = {.ucp_ep_rkey_unpack = unpack, .ucp_rkey_destroy = destroy};
static struct mfs_nccl_engine engine = {.ucx = &ucx, .classes = CLASSES, .channels = CHANNELS};
static struct mfs_nccl_peer peer = {.engine = &engine, .channels = CHANNELS, .of_a_class = 2};
static struct mfs_nccl_comm comm;

/* --- what is said --- */

/* The rest of the input in memory of its own; freed by the caller. */
static void *rest(struct input *input, size_t *bytes)
{
    void *copy = malloc(input->left > 0 ? input->left : 1);

    NEED(copy);
    memcpy(copy, input->at, input->left);
    *bytes = input->left;
    input->at += input->left;
    input->left = 0;
    return copy;
}

static void hello(struct input *input)
{
    const bool connector = input_below(input, 2), fitting = input_below(input, 2);
    const uint64_t cookie = 0x1122334455667788;
    struct mfs_nccl_hello heard;
    char *addresses;
    size_t bytes = input->left < sizeof(heard) ? input->left : sizeof(heard);

    memset(&heard, 0, sizeof(heard));
    memcpy(&heard, input->at, bytes);
    input->at += bytes;
    input->left -= bytes;
    if (fitting) { /* few inputs would get that far by chance */
        heard.magic = MFS_NCCL_WIRE_MAGIC;
        heard.version = MFS_NCCL_WIRE_VERSION;
        heard.cookie = cookie;
    }
    if (mfs_nccl_hello_wrong(&heard, cookie, connector))
        return;
    NEED(heard.bytes <= MFS_NCCL_ADDRESSES_MAX);
    if (!(heard.flags & MFS_NCCL_HELLO_REFUSED)) {
        uint64_t sum = 0;

        NEED(heard.classes > 0 && heard.classes <= MFS_NCCL_CLASSES_MAX);
        NEED(heard.comm < MFS_NCCL_COMMS_MAX);
        for (unsigned i = 0; i < heard.classes; i++)
            sum += heard.address_bytes[i];
        NEED(sum == heard.bytes);
    }
    addresses = malloc(heard.bytes + 1); /* as handshake.c has it */
    NEED(addresses);
    memset(addresses, 0, heard.bytes);
    if (fitting)
        heard.digest = mfs_nccl_digest(
            mfs_nccl_digest(heard.cookie, &heard, offsetof(struct mfs_nccl_hello, digest)),
            addresses, heard.bytes);
    if (!mfs_nccl_hello_whole_wrong(&heard, addresses)) {
        NEED(memchr(heard.name, '\0', sizeof(heard.name)));
        for (const char *at = heard.name; *at; at++)
            NEED(*at >= ' ' && *at <= '~');
    }
    free(addresses);
}

/* A connection that has come some way. */
static void some_comm(struct input *input)
{
    memset(&comm, 0, sizeof(comm));
    comm.engine = &engine;
    comm.peer = &peer;
    comm.sender = input_below(input, 2);
    comm.eager_bytes = EAGER_BYTES;
    comm.next_seq = input_below(input, 4) ? input_number(input, 1) : input_limit(input);
    comm.closes = (unsigned)input_below(input, CHANNELS + 1);
    comm.closed_at = comm.closes ? input_number(input, 1) : UINT64_MAX;
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        struct mfs_nccl_request *request = &comm.requests[i];

        request->seq = comm.next_seq - 1 - i;
        request->bytes = input_number(input, 1) * 1000;
        request->received = request->bytes / 2;
        request->granted = i % 2;
        request->comm = &comm;
        mfs_set(&request->state, i % 3 ? MFS_NCCL_BUSY : MFS_NCCL_FREE);
        if (i == 3)
            break;
    }
}

static void message(struct input *input)
{
    const unsigned id = (unsigned)input_below(input, MFS_NCCL_WIRE_LAST + 2);
    const bool fitting = input_below(input, 2);
    struct mfs_nccl_header header = {0};
    const struct mfs_nccl_request *request;
    size_t bytes;
    void *data;

    some_comm(input);
    header.seq =
        input_below(input, 2) ? comm.next_seq + input_below(input, 8) - 4 : input_limit(input);
    header.bytes = input_limit(input);
    header.at = input_limit(input);
    header.posted =
        input_below(input, 2) ? comm.next_seq + input_number(input, 1) : input_limit(input);
    header.mr = input_number(input, 1);
    header.flags = (uint32_t)input_number(input, input_below(input, 4) ? 1 : 4);
    data = rest(input, &bytes);
    if (fitting)
        header.digest = mfs_nccl_payload_digest(data, bytes);
    if (!mfs_nccl_wire_wrong(&comm, id, &header, data, bytes)) {
        request = &comm.requests[header.seq % MFS_NCCL_RING];
        NEED(id >= MFS_NCCL_WIRE_GRANT && id < MFS_NCCL_WIRE_LAST);
        NEED(bytes == 0 || id == MFS_NCCL_WIRE_GRANT);
        NEED(bytes <= MFS_NCCL_KEYS_BYTES_MAX);
        NEED(comm.sender == (id == MFS_NCCL_WIRE_GRANT || id == MFS_NCCL_WIRE_REVOKE));
        if (id == MFS_NCCL_WIRE_GRANT)
            NEED(header.posted <= comm.next_seq + MFS_NCCL_RING);
        if (id == MFS_NCCL_WIRE_FIN)
            NEED(header.seq < comm.next_seq);
        if (id == MFS_NCCL_WIRE_FIN && mfs_get(&request->state) == MFS_NCCL_BUSY &&
            request->seq == header.seq && !(header.flags & MFS_NCCL_HEADER_TOO_LARGE))
            NEED(request->received + header.at <= header.bytes && header.bytes <= request->bytes);
    }
    free(data);
}

/* Grants that carry keys, and some that name them again. */
static void keys(struct input *input)
{
    struct mfs_nccl_key *held[8];
    unsigned count = 0;

    memset(&comm, 0, sizeof(comm));
    comm.engine = &engine;
    comm.peer = &peer;
    while (input->left > 0 && count < COUNT(held)) {
        const bool carries = input_below(input, 4) > 0;
        const struct mfs_nccl_header header = {.mr = input_below(input, 70),
                                               .flags = carries ? MFS_NCCL_HEADER_KEYS : 0};
        size_t bytes = input_below(input, 64);
        char *payload;

        bytes = bytes < input->left ? bytes : input->left;
        payload = malloc(bytes > 0 ? bytes : 1);
        NEED(payload);
        memcpy(payload, input->at, bytes);
        input->at += bytes;
        input->left -= bytes;
        held[count] = mfs_nccl_key_of(&comm, &header, payload, bytes);
        free(payload);
        if (!held[count])
            continue;
        NEED(held[count]->id == header.mr && held[count]->size <= UINT64_MAX - held[count]->base);
        for (unsigned channel = 0; channel < CHANNELS; channel++)
            NEED(held[count]->rkeys[channel]);
        count++;
    }
    while (count > 0)
        mfs_nccl_key_put(&comm, held[--count]);
    for (unsigned i = 0; i < MFS_NCCL_KEYS; i++)
        mfs_nccl_key_put(&comm, comm.keys[i]);
    NEED(keys_open == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    switch (input_below(&input, 3)) {
    case 0:
        hello(&input);
        break;
    case 1:
        message(&input);
        break;
    default:
        keys(&input);
    }
    return 0;
}
