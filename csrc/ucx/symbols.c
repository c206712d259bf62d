/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RTLD_NEXT does not see a UCX that was opened RTLD_LOCAL, hence the way through
 * the caller's own dependencies. For the main program (whose handle is the global
 * scope, where the shim itself comes first) RTLD_NEXT is right; the last resort is
 * to walk all loaded objects. Answers are kept by return address, until a library is unloaded.
 */
#include "ucx/symbols.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "host/log.h"

static const char gone;
#define GONE ((const void *)&gone) /* address of a site whose library is no longer there */

static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER; /* held for moments */
struct mfs_ucx_site mfs_ucx_sites[MFS_UCX_SITES]; /* sites are added under the mutex */
_Atomic unsigned mfs_ucx_copies; /* written under the mutex */

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

/* --- copies of UCX --- */

/*
 * Never freed and never changed but for what the mutex guards: another thread may be about to
 * call through it. A copy that is loaded anew, at the same addresses, is the same one.
 */
struct copy {
    struct mfs_ucx_api api; /* first */
    struct copy *next;
    unsigned holds; /* the mutex guards it and the next */
    void *handle;   /* while it is held */
    _Atomic bool used; /* it was, when the answers were found last */
};

static _Atomic(struct copy *) copies;

static struct copy *copy_from(const struct mfs_ucx_api *api)
{
    return (struct copy *)(uintptr_t)api;
}

/* The functions of the libucp that `function` is one of. false: it is no longer there. */
static bool api_read(void *function, struct mfs_ucx_api *api)
{
    void *handle;
    Dl_info info;

    if (!dladdr(function, &info))
        return false;
    handle = dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
    if (!handle)
        return false;
    memset(api, 0, sizeof(*api));
    api->base = info.dli_fbase;
#define MFS_UCX_CALL(type, name, parameters) *(void **)&api->name = dlsym(handle, #name);
#include "ucx/calls.def"
#include "ucx/asks.def"
#undef MFS_UCX_CALL
    dlclose(handle);
    return true;
}

/* A process has one or two: for those no memory is asked for, since without an answer for its
 * caller a call of UCX's cannot even be passed on. Mutex held. */
static struct copy *copy_new(void)
{
    static struct copy few[4];
    static unsigned used;

    return used < sizeof(few) / sizeof(few[0]) ? &few[used++] : calloc(1, sizeof(struct copy));
}

static struct copy *copy_find(const struct mfs_ucx_api *api)
{
    struct copy *copy = mfs_see(&copies);

    while (copy && memcmp(&copy->api, api, sizeof(*api)) != 0)
        copy = copy->next;
    return copy;
}

static const struct mfs_ucx_api *copy_of(void *function)
{
    struct mfs_ucx_api api;
    struct copy *copy;
    bool is_new = false;
    Dl_info info;

    if (!api_read(function, &api))
        return NULL;
    pthread_mutex_lock(&table_mutex);
    copy = copy_find(&api);
    if (!copy) {
        copy = copy_new();
        is_new = copy != NULL;
    }
    if (is_new) {
        copy->api = api;
        copy->next = mfs_get(&copies);
        mfs_publish(&copies, copy);
    }
    pthread_mutex_unlock(&table_mutex);
    if (is_new && dladdr(function, &info))
        mfs_log(MFS_LOG_INFO, "UCX found: %s", info.dli_fname);
    return copy ? &copy->api : NULL;
}

/* The only copy in use, then, is right for our own places. Mutex held. */
static void copies_are(unsigned count)
{
    const struct copy *copy = mfs_get(&copies);

    while (copy && !mfs_get(&copy->used))
        copy = copy->next;
    for (unsigned i = 0; count == 1 && i < MFS_UCX_SITES; i++) {
        if (mfs_ucx_sites[i].own && mfs_ucx_sites[i].caller.api != &copy->api)
            mfs_ucx_sites[i].caller.api = &copy->api;
    }
    mfs_publish(&mfs_ucx_copies, count);
}

void mfs_ucx_api_hold(const struct mfs_ucx_api *api)
{
    struct copy *copy = copy_from(api);
    void *handle = NULL;
    Dl_info info;

    if (dladdr((const void *)api->ucp_worker_progress, &info))
        handle = dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY);
    pthread_mutex_lock(&table_mutex);
    if (copy->holds++ == 0) {
        copy->handle = handle;
        handle = NULL;
    }
    pthread_mutex_unlock(&table_mutex);
    if (handle)
        dlclose(handle);
}

void mfs_ucx_api_let_go(const struct mfs_ucx_api *api)
{
    struct copy *copy = copy_from(api);
    void *handle = NULL;

    pthread_mutex_lock(&table_mutex);
    if (--copy->holds == 0) {
        handle = copy->handle;
        copy->handle = NULL;
    }
    pthread_mutex_unlock(&table_mutex);
    if (handle)
        dlclose(handle);
}

/* --- places that call --- */

/*
 * libucp ends some of its functions with a jump to another exported one (as
 * ucp_disconnect_nb does to ucp_ep_close_nb). When we called the first, the second
 * seems to be called by us: that is an inner call, of the copy we called last (most
 * processes have but one: then nothing need be noted).
 */
static _Thread_local const struct mfs_ucx_api *last_api;

static const struct mfs_ucx_api *some_api(void)
{
    const struct copy *copy = mfs_see(&copies);

    while (copy && !mfs_get(&copy->used))
        copy = copy->next;
    return copy ? &copy->api : NULL;
}

static struct mfs_ucx_caller answer(struct mfs_ucx_caller found, bool own)
{
    if (mfs_see(&mfs_ucx_copies) == 1)
        return found;
    if (!own)
        last_api = found.api;
    else if (last_api && mfs_get(&copy_from(last_api)->used))
        found.api = last_api;
    return found;
}

static bool is_own(const void *return_address)
{
    return object_of(return_address) == object_of((const void *)&probe);
}

/* The answer for a place that calls; api NULL: there is no UCX behind it. */
static struct mfs_ucx_caller resolve(const void *return_address)
{
    struct mfs_ucx_caller found = {NULL, false};
    void *function;

    if (is_own(return_address))
        return (struct mfs_ucx_caller){some_api(), true};
    function = resolve_probe(return_address);
    if (function)
        found.api = copy_of(function);
    if (found.api)
        found.inner = object_of(return_address) == found.api->base;
    return found;
}

static void site_add(const void *return_address, struct mfs_ucx_caller found, bool own)
{
    struct copy *copy = copy_from(found.api);
    unsigned at = mfs_ucx_site_home(return_address);

    pthread_mutex_lock(&table_mutex);
    if (!own && !mfs_get(&copy->used)) {
        mfs_set(&copy->used, true);
        copies_are(mfs_get(&mfs_ucx_copies) + 1);
    }
    for (unsigned probes = 0; probes < MFS_UCX_SITES / 2; probes++, at++) {
        struct mfs_ucx_site *site = &mfs_ucx_sites[at % MFS_UCX_SITES];
        const void *address = mfs_get(&site->address);

        if (!address || address == GONE) {
            site->caller = found;
            site->own = own;
            mfs_publish(&site->address, return_address);
        }
        if (!address || address == GONE || address == return_address)
            break;
    }
    pthread_mutex_unlock(&table_mutex);
}

struct mfs_ucx_caller mfs_ucx_caller_of(const void *return_address)
{
    unsigned at = mfs_ucx_site_home(return_address);
    struct mfs_ucx_caller found;
    bool own;

    for (unsigned probes = 0; probes < MFS_UCX_SITES; probes++, at++) {
        const struct mfs_ucx_site *site = &mfs_ucx_sites[at % MFS_UCX_SITES];
        const void *address = mfs_see(&site->address);

        if (address == return_address)
            return answer(site->caller, site->own);
        if (!address)
            break;
    }
    mfs_ucx_callers_check(); /* somebody new */
    own = is_own(return_address);
    found = resolve(return_address);
    if (!found.api) {
        mfs_log(MFS_LOG_WARN, "no UCX behind the shim: a ucp_ function was called, but no libucp "
                              "is loaded that has it");
        abort();
    }
    site_add(return_address, found, own);
    return answer(found, own);
}

/* --- when libraries come and go --- */

static int read_unloads(struct dl_phdr_info *info, size_t size, void *result)
{
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs))
        *(unsigned long long *)result = info->dlpi_subs;
    return 1;
}

/* The loader's lock is never taken with our mutex held: who has the loader's may call us, from a
 * library's constructor. So two threads may do this at a time; both find the same. */
static void site_check(struct mfs_ucx_site *site)
{
    const void *address = mfs_see(&site->address);
    struct mfs_ucx_caller found = {NULL, false};

    if (!address || address == GONE || site->own)
        return;
    if (object_of(address))
        found = resolve(address);
    pthread_mutex_lock(&table_mutex);
    if (mfs_get(&site->address) == address) {
        if (!found.api)
            mfs_set(&site->address, GONE);
        else if (found.api != site->caller.api || found.inner != site->caller.inner)
            site->caller = found;
    }
    pthread_mutex_unlock(&table_mutex);
}

/* Which copies are in use now. */
static void copies_count(void)
{
    unsigned count = 0;

    pthread_mutex_lock(&table_mutex);
    for (struct copy *copy = mfs_get(&copies); copy; copy = copy->next)
        mfs_set(&copy->used, copy->holds > 0);
    for (unsigned i = 0; i < MFS_UCX_SITES; i++) {
        const struct mfs_ucx_site *site = &mfs_ucx_sites[i];
        const void *address = mfs_get(&site->address);

        if (address && address != GONE && !site->own)
            mfs_set(&copy_from(site->caller.api)->used, true);
    }
    for (struct copy *copy = mfs_get(&copies); copy; copy = copy->next)
        count += mfs_get(&copy->used);
    copies_are(count);
    pthread_mutex_unlock(&table_mutex);
}

void mfs_ucx_callers_check(void)
{
    static _Atomic unsigned long long seen;
    unsigned long long unloads = 0;

    dl_iterate_phdr(read_unloads, &unloads);
    if (mfs_see(&seen) == unloads)
        return;
    for (unsigned i = 0; i < MFS_UCX_SITES; i++)
        site_check(&mfs_ucx_sites[i]);
    copies_count();
    mfs_publish(&seen, unloads);
}
