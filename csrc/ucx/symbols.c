/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RTLD_NEXT does not see a UCX that was opened RTLD_LOCAL, hence the way through
 * the caller's own dependencies. For the main program (whose handle is the global
 * scope, where the shim itself comes first) RTLD_NEXT is right; the last resort is
 * to walk all loaded objects. Answers are kept by return address.
 */
#include "ucx/symbols.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "host/log.h"

#define COPIES_MAX 16

static pthread_mutex_t resolve_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mfs_ucx_api copies[COPIES_MAX];
_Atomic unsigned mfs_ucx_copies; /* written under the mutex */
struct mfs_ucx_site mfs_ucx_sites[MFS_UCX_SITES];

static const void *object_of(const void *address)
{
    Dl_info info;

    return dladdr(address, &info) ? info.dli_fbase : NULL;
}

/* A libucp function seen through a handle; NULL if it is not there or is ours. */
static void *probe(void *handle)
{
    void *found = dlsym(handle, "ucp_worker_progress");

    return found && object_of(found) != object_of((const void *)&probe) ? found : NULL;
}

static int find_loaded(struct dl_phdr_info *info, size_t size, void *result)
{
    void *handle, *found = NULL;

    (void)size;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "libucp"))
        return 0;
    handle = dlopen(info->dlpi_name, RTLD_NOLOAD | RTLD_LAZY);
    if (handle) {
        found = probe(handle);
        dlclose(handle);
    }
    if (found)
        *(void **)result = found;
    return found != NULL;
}

/* Some function of the libucp that the object at `address` uses. */
static void *resolve_probe(const void *address)
{
    void *handle, *found = NULL;
    Dl_info info;

    if (dladdr(address, &info) && info.dli_fname) {
        handle = dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
        if (handle) {
            found = probe(handle);
            dlclose(handle);
        }
    }
    if (!found)
        found = probe(RTLD_NEXT);
    if (!found)
        dl_iterate_phdr(find_loaded, &found);
    return found;
}

static const struct mfs_ucx_api *copy_of(void *function)
{
    const void *base = object_of(function);
    struct mfs_ucx_api *api;
    void *handle;
    Dl_info info;

    const unsigned count = atomic_load_explicit(&mfs_ucx_copies, memory_order_relaxed);

    for (unsigned i = 0; i < count; i++) {
        if (copies[i].base == base)
            return &copies[i];
    }
    if (count == COPIES_MAX || !dladdr(function, &info))
        return NULL;
    handle = dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY); /* kept: pins this copy */
    if (!handle)
        return NULL;
    api = &copies[count];
    api->base = base;
#define MFS_UCX_CALL(type, name, parameters) *(void **)&api->name = dlsym(handle, #name);
#include "ucx/calls.def"
#undef MFS_UCX_CALL
    atomic_store_explicit(&mfs_ucx_copies, count + 1, memory_order_release);
    mfs_log(MFS_LOG_INFO, "UCX found: %s", info.dli_fname);
    return api;
}

/*
 * libucp ends some of its functions with a jump to another exported one (as
 * ucp_disconnect_nb does to ucp_ep_close_nb). When we called the first, the second
 * seems to be called by us: that is an inner call, of the copy we called last (most
 * processes have but one: then nothing need be noted).
 */
static _Thread_local const struct mfs_ucx_api *last_api;

static struct mfs_ucx_caller answer(const struct mfs_ucx_site *site)
{
    if (atomic_load_explicit(&mfs_ucx_copies, memory_order_acquire) == 1)
        return site->caller;
    if (site->own)
        return (struct mfs_ucx_caller){last_api ? last_api : &copies[0], true};
    last_api = site->caller.api;
    return site->caller;
}

static struct mfs_ucx_site resolve(const void *return_address)
{
    struct mfs_ucx_site site = {.address = return_address};
    void *function;

    site.own = object_of(return_address) == object_of((const void *)&probe);
    if (site.own) {
        site.caller = (struct mfs_ucx_caller){&copies[0], true};
        return site;
    }
    function = resolve_probe(return_address);
    site.caller.api = function ? copy_of(function) : NULL;
    if (!site.caller.api) {
        mfs_log(MFS_LOG_WARN, "no UCX behind the shim: a ucp_ function was called, but no libucp "
                              "is loaded that has it");
        abort();
    }
    site.caller.inner = object_of(return_address) == site.caller.api->base;
    return site;
}

struct mfs_ucx_caller mfs_ucx_caller_of(const void *return_address)
{
    unsigned at = mfs_ucx_site_home(return_address);
    struct mfs_ucx_site found;

    for (unsigned probes = 0; probes < MFS_UCX_SITES; probes++, at++) {
        const struct mfs_ucx_site *site = &mfs_ucx_sites[at % MFS_UCX_SITES];
        const void *address = atomic_load_explicit(&site->address, memory_order_acquire);

        if (address == return_address)
            return answer(site);
        if (!address)
            break;
    }
    pthread_mutex_lock(&resolve_mutex);
    found = resolve(return_address);
    for (unsigned probes = 0; probes < MFS_UCX_SITES / 2; probes++, at++) {
        struct mfs_ucx_site *site = &mfs_ucx_sites[at % MFS_UCX_SITES];

        if (!atomic_load_explicit(&site->address, memory_order_relaxed)) {
            site->caller = found.caller;
            site->own = found.own;
            atomic_store_explicit(&site->address, return_address, memory_order_release);
            break;
        }
    }
    pthread_mutex_unlock(&resolve_mutex);
    return answer(&found);
}
