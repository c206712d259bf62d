/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a registration on their way: where it lies, then bytes (16 bit) and the key of each
 * class, one after another. The receiver packs them with its first grant of that registration on a
 * connection; the sender unpacks them, for each channel, and finds them by the registration's id
 * from then on.
 */
#include <stdlib.h>
#include <string.h>

#include "nccl/comm.h"

size_t mfs_nccl_keys_pack(const struct mfs_nccl_mr *mr, unsigned classes, char *payload)
{
    const struct mfs_nccl_keys_header where = {(uint64_t)(uintptr_t)mr->data, mr->size};
    size_t at = sizeof(where);

    memcpy(payload, &where, sizeof(where));
    for (unsigned klass = 0; klass < classes; klass++) {
        const uint16_t length = (uint16_t)mr->key_bytes[klass];

        if (at + sizeof(length) + mr->key_bytes[klass] > MFS_NCCL_KEYS_BYTES_MAX)
            return 0;
        memcpy(payload + at, &length, sizeof(length));
        memcpy(payload + at + sizeof(length), mr->key[klass], length);
        at += sizeof(length) + length;
    }
    return at;
}

void mfs_nccl_key_put(struct mfs_nccl_comm *comm, struct mfs_nccl_key *key)
{
    if (!key || --key->refs > 0)
        return;
    for (unsigned channel = 0; channel < MFS_NCCL_CHANNELS_MAX; channel++) {
        if (key->rkeys[channel])
            comm->engine->ucx->ucp_rkey_destroy(key->rkeys[channel]);
    }
    free(key);
}

/* The key of one class for each of its channels. false: it is none, or UCX does not take it. */
static bool class_unpack(struct mfs_nccl_comm *comm, struct mfs_nccl_key *key, unsigned klass,
                         const char *packed)
{
    const unsigned each = comm->engine->channels / comm->engine->classes;

    for (unsigned channel = klass * each; channel < (klass + 1) * each; channel++) {
        if (comm->engine->ucx->ucp_ep_rkey_unpack(comm->peer->eps[channel], packed,
                                                  &key->rkeys[channel]) != UCS_OK) {
            key->rkeys[channel] = NULL;
            return false;
        }
    }
    return true;
}

static struct mfs_nccl_key *key_unpack(struct mfs_nccl_comm *comm, uint64_t id, const char *payload,
                                       size_t bytes)
{
    struct mfs_nccl_key *key = calloc(1, sizeof(*key));
    struct mfs_nccl_keys_header where = {0, 0};
    const char *const end = payload + bytes;
    bool good = key && bytes > sizeof(where);

    if (key)
        *key = (struct mfs_nccl_key){.id = id, .refs = 1};
    if (good) {
        memcpy(&where, payload, sizeof(where));
        payload += sizeof(where);
        key->base = where.base;
        key->size = where.size;
        good = where.size <= UINT64_MAX - where.base;
    }
    for (unsigned klass = 0; good && klass < comm->engine->classes; klass++) {
        uint16_t length = 0;

        if (end - payload >= (ptrdiff_t)sizeof(length)) {
            memcpy(&length, payload, sizeof(length));
            payload += sizeof(length);
        }
        good = length > 0 && length <= end - payload && class_unpack(comm, key, klass, payload);
        payload += good ? length : 0;
    }
    if (good && payload == end)
        return key;
    mfs_nccl_key_put(comm, key);
    return NULL;
}

struct mfs_nccl_key *mfs_nccl_key_of(struct mfs_nccl_comm *comm,
                                     const struct mfs_nccl_header *header, const char *payload,
                                     size_t bytes)
{
    struct mfs_nccl_key **cell = &comm->keys[header->mr % MFS_NCCL_KEYS];

    if (header->flags & MFS_NCCL_HEADER_KEYS) {
        struct mfs_nccl_key *key = key_unpack(comm, header->mr, payload, bytes);

        if (!key)
            return NULL;
        mfs_nccl_key_put(comm, *cell);
        *cell = key;
    }
    if (!*cell || (*cell)->id != header->mr)
        return NULL;
    (*cell)->refs++;
    return *cell;
}
