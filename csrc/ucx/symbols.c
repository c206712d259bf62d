/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RTLD_NEXT does not see a UCX that was opened RTLD_LOCAL, hence the way through
 * the caller's own dependencies. For the main program (whose handle is the global
 * scope, where the shim itself comes first) RTLD_NEXT is right; the last resort is
 * to walk all loaded objects. Answers are cached by return address: there are some
 * tens of call sites in a process, each resolved once.
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
#define CACHE_SIZE 1024u /* a power of two */

static pthread_mutex_t resolve_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mfs_ucx_api copies[COPIES_MAX];
static _Atomic unsigned copies_count; /* written under the mutex */

/* An entry is written once: the address last, which publishes the rest. */
static struct {
    _Atomic(const void *) address;
    const struct mfs_ucx_api *api; /* NULL: the address is our own */
    bool inner;
} cache[CACHE_SIZE];

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

    const unsigned count = atomic_load_explicit(&copies_count, memory_order_relaxed);

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
    atomic_store_explicit(&copies_count, count + 1, memory_order_release);
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

static __attribute__((noinline)) struct mfs_ucx_caller answer_of_several(
    const struct mfs_ucx_api *api, bool inner)
{
    if (!api)
        return (struct mfs_ucx_caller){last_api ? last_api : &copies[0], true};
    last_api = api;
    return (struct mfs_ucx_caller){api, inner};
}

static inline struct mfs_ucx_caller answer(const struct mfs_ucx_api *api, bool inner)
{
    if (atomic_load_explicit(&copies_count, memory_order_acquire) != 1)
        return answer_of_several(api, inner);
    return api ? (struct mfs_ucx_caller){api, inner} : (struct mfs_ucx_caller){&copies[0], true};
}

static unsigned home(const void *return_address)
{
    return (unsigned)((uintptr_t)return_address * UINT64_C(0x9E3779B97F4A7C15) >> 40) % CACHE_SIZE;
}

/* Not where it would be: perhaps further on, perhaps never asked for before. */
static __attribute__((noinline)) struct mfs_ucx_caller resolve(const void *return_address)
{
    unsigned at = home(return_address);
    struct mfs_ucx_caller caller;
    void *function;

    for (unsigned probes = 0; probes < CACHE_SIZE; probes++, at++) {
        const void *address =
            atomic_load_explicit(&cache[at % CACHE_SIZE].address, memory_order_acquire);

        if (address == return_address)
            return answer(cache[at % CACHE_SIZE].api, cache[at % CACHE_SIZE].inner);
        if (!address)
            break;
    }
    pthread_mutex_lock(&resolve_mutex);
    caller.inner = object_of(return_address) == object_of((const void *)&probe);
    function = caller.inner ? NULL : resolve_probe(return_address);
    caller.api = function ? copy_of(function) : NULL;
    if (!caller.inner && !caller.api) {
        mfs_log(MFS_LOG_WARN, "no UCX behind the shim: a ucp_ function was called, but no libucp "
                              "is loaded that has it");
        abort();
    }
    if (caller.api)
        caller.inner = object_of(return_address) == caller.api->base;
    for (unsigned probes = 0; probes < CACHE_SIZE / 2; probes++, at++) {
        if (!atomic_load_explicit(&cache[at % CACHE_SIZE].address, memory_order_relaxed)) {
            cache[at % CACHE_SIZE].api = caller.api;
            cache[at % CACHE_SIZE].inner = caller.inner;
            atomic_store_explicit(&cache[at % CACHE_SIZE].address, return_address,
                                  memory_order_release);
            break;
        }
    }
    pthread_mutex_unlock(&resolve_mutex);
    return answer(caller.api, caller.inner);
}

struct mfs_ucx_caller mfs_ucx_caller(const void *return_address)
{
    const unsigned at = home(return_address);

    if (atomic_load_explicit(&cache[at].address, memory_order_acquire) == return_address)
        return answer(cache[at].api, cache[at].inner);
    return resolve(return_address);
}
