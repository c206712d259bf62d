/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx_tag.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/host.h"

static struct mfs_tag last;

/* What the library offers, if it is loaded. */
static struct {
    void (*tag_set)(const struct mfs_tag *tag);
    uint64_t (*request_key)(const char *name);
    struct mfs_host *(*host_get)(void);
    void (*facts_init)(struct mfs_facts *facts);
    int (*request_put)(struct mfs_host *host, uint64_t key, const char *name,
                       const struct mfs_facts *facts);
    int (*request_drop)(struct mfs_host *host, uint64_t key);
    int64_t (*now_ns)(void);
} library;

static void library_find(void)
{
    *(void **)&library.tag_set = dlsym(RTLD_DEFAULT, "mfs_tag_set");
    *(void **)&library.request_key = dlsym(RTLD_DEFAULT, "mfs_request_key");
    *(void **)&library.host_get = dlsym(RTLD_DEFAULT, "mfs_host_get");
    *(void **)&library.facts_init = dlsym(RTLD_DEFAULT, "mfs_facts_init");
    *(void **)&library.request_put = dlsym(RTLD_DEFAULT, "mfs_request_put");
    *(void **)&library.request_drop = dlsym(RTLD_DEFAULT, "mfs_request_drop");
    *(void **)&library.now_ns = dlsym(RTLD_DEFAULT, "mfs_now_ns");
}

void tagged(const char *request, double due_s)
{
    static int looked;
    struct mfs_tag tag = {.stage = MFS_STAGE_P2D};
    struct mfs_facts facts;
    int error;

    if (!looked++)
        library_find();
    if (!library.tag_set)
        return;
    if (!request) {
        library.tag_set(NULL);
        return;
    }
    tag.request = library.request_key(request);
    library.facts_init(&facts);
    facts.deadline_ns = library.now_ns() + (int64_t)(due_s * 1e9);
    error = library.request_put(library.host_get(), tag.request, request, &facts);
    if (error && error != -EAGAIN) { /* else the segment's lock is held: it has no deadline then */
        fputs("no room for a request\n", stderr);
        exit(1);
    }
    library.tag_set(&tag);
    last = tag;
}

void tagged_layer(unsigned layer)
{
    last.layer = layer;
    if (library.tag_set)
        library.tag_set(&last);
}

void tagged_drop(const char *request)
{
    if (library.request_drop) /* found by the first tag */
        (void)library.request_drop(library.host_get(), library.request_key(request));
}
