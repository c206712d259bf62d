/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/hello.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t digest_of(const struct mfs_nccl_hello *hello, const void *addresses)
{
    const uint64_t head =
        mfs_nccl_digest(hello->cookie, hello, offsetof(struct mfs_nccl_hello, digest));

    return mfs_nccl_digest(head, addresses, hello->bytes);
}

/* --- what we say --- */

/* false: UCX does not tell one. */
static bool addresses_get(const struct mfs_nccl_engine *engine, ucp_address_t **addresses,
                          struct mfs_nccl_hello *hello)
{
    bool good = true;

    for (unsigned klass = 0; klass < engine->classes; klass++) {
        size_t bytes = 0;

        if (engine->ucx->ucp_worker_get_address(engine->workers[klass], &addresses[klass],
                                                &bytes) != UCS_OK) {
            addresses[klass] = NULL;
            good = false;
        }
        hello->address_bytes[klass] = (uint32_t)bytes;
        hello->bytes += (uint32_t)bytes;
    }
    return good;
}

char *mfs_nccl_hello_make(const struct mfs_nccl_comm *comm, uint64_t cookie, bool keep,
                          size_t *bytes)
{
    const struct mfs_nccl_engine *engine = comm->engine;
    ucp_address_t *addresses[MFS_NCCL_CLASSES_MAX] = {NULL};
    struct mfs_nccl_hello hello = {
        .magic = MFS_NCCL_WIRE_MAGIC,
        .version = MFS_NCCL_WIRE_VERSION,
        .cookie = cookie,
        .comm = comm->index,
        .generation = comm->generation,
        .classes = engine->classes,
        .channels = engine->channels,
        .flags = (keep ? MFS_NCCL_HELLO_KEEP : 0) |
                 (engine->device->cuda ? 0 : MFS_NCCL_HELLO_HOST_ONLY),
        .eager_bytes = mfs_config_get()->nccl_eager,
    };
    const bool good = addresses_get(engine, addresses, &hello);
    char *all = good ? malloc(sizeof(hello) + hello.bytes) : NULL;
    size_t at = sizeof(hello);

    for (unsigned klass = 0; klass < engine->classes; klass++) {
        if (all)
            memcpy(all + at, addresses[klass], hello.address_bytes[klass]);
        at += hello.address_bytes[klass];
        if (addresses[klass])
            engine->ucx->ucp_worker_release_address(engine->workers[klass], addresses[klass]);
    }
    if (!all)
        return NULL;
    memcpy(hello.uuid, engine->uuid, sizeof(hello.uuid));
    mfs_nccl_own_name(hello.name, sizeof(hello.name));
    hello.digest = digest_of(&hello, all + sizeof(hello));
    memcpy(all, &hello, sizeof(hello));
    *bytes = at;
    return all;
}

void mfs_nccl_hello_refusal(struct mfs_nccl_hello *hello, uint64_t cookie, const char *reason)
{
    *hello = (struct mfs_nccl_hello){
        .magic = MFS_NCCL_WIRE_MAGIC,
        .version = MFS_NCCL_WIRE_VERSION,
        .cookie = cookie,
        .flags = MFS_NCCL_HELLO_REFUSED,
    };
    snprintf(hello->name, sizeof(hello->name), "%s", reason);
    hello->digest = digest_of(hello, NULL);
}

/* --- what we hear --- */

static bool addresses_fit(const struct mfs_nccl_hello *heard)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < MFS_NCCL_CLASSES_MAX; i++) {
        if ((heard->address_bytes[i] > 0) != (i < heard->classes))
            return false;
        sum += heard->address_bytes[i];
    }
    return sum == heard->bytes && sum <= MFS_NCCL_ADDRESSES_MAX && heard->classes > 0 &&
           heard->classes <= MFS_NCCL_CLASSES_MAX;
}

const char *mfs_nccl_hello_wrong(const struct mfs_nccl_hello *heard, uint64_t cookie,
                                 bool connector)
{
    static const unsigned char nobody[sizeof(heard->uuid)];

    if (heard->magic != MFS_NCCL_WIRE_MAGIC)
        return "whoever is there does not speak our protocol";
    if (heard->version != MFS_NCCL_WIRE_VERSION)
        return "it speaks another wire version: install the same mfs-transport on both";
    if (heard->cookie != cookie)
        return "it was not for us";
    if (heard->flags & MFS_NCCL_HELLO_REFUSED)
        return connector && heard->bytes == 0 ? NULL : "a hello that cannot be";
    if (!addresses_fit(heard))
        return "a hello that cannot be: its addresses have no such lengths";
    if (heard->comm >= MFS_NCCL_COMMS_MAX || heard->reserved ||
        heard->flags & ~(MFS_NCCL_HELLO_KEEP | MFS_NCCL_HELLO_HOST_ONLY) ||
        memcmp(heard->uuid, nobody, sizeof(nobody)) == 0)
        return "a hello that cannot be";
    return NULL;
}

const char *mfs_nccl_hello_whole_wrong(struct mfs_nccl_hello *heard, const char *addresses)
{
    if (heard->digest != digest_of(heard, addresses))
        return "a hello that is not as it was written";
    heard->name[sizeof(heard->name) - 1] = '\0';
    for (char *at = heard->name; *at; at++) { /* it goes into messages */
        if (*at < ' ' || *at > '~')
            *at = '?';
    }
    return NULL;
}
