/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hosts that this process has open: those that a forked child lets go of, and the one that is
 * for all of the process.
 *
 * FORKING: A child shares its parent's open file description and mapping. Before it runs on, its
 * copies are closed and an empty private segment is mapped in their place, so that nothing it
 * still does with them reaches the parent's members, and it cannot keep a dead parent alive. No
 * file is opened while a fork is under way.
 *
 * The process-wide host is forgotten: a child that asks for it attaches for itself.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/log.h"
#include "host/place.h"

static struct {
    pthread_mutex_t mutex;
    struct mfs_host *list;      /* all that are open: a forked child lets go of these */
    struct mfs_host *_Atomic shared; /* the process-wide one */
    bool handler;
} hosts = {PTHREAD_MUTEX_INITIALIZER, NULL, NULL, false};

void mfs_fork_begin(void)
{
    pthread_mutex_lock(&hosts.mutex);
}

void mfs_fork_end(void)
{
    pthread_mutex_unlock(&hosts.mutex);
}

static void forked_child(void)
{
    for (struct mfs_host *host = hosts.list; host; host = host->next) {
        pthread_mutex_init(&host->mutex, NULL); /* another thread of the parent may have had it */
        if (host->fd >= 0)
            mfs_host_become_private(host, false, "it was opened before this process was forked");
    }
    mfs_set(&hosts.shared, NULL);
    pthread_mutex_init(&hosts.mutex, NULL);
}

void mfs_fork_list(struct mfs_host *host)
{
    mfs_fork_begin();
    if (!hosts.handler)
        hosts.handler = pthread_atfork(mfs_fork_begin, mfs_fork_end, forked_child) == 0;
    host->next = hosts.list;
    hosts.list = host;
    mfs_fork_end();
}

void mfs_fork_unlist(struct mfs_host *host)
{
    mfs_fork_begin();
    for (struct mfs_host **at = &hosts.list; *at; at = &(*at)->next) {
        if (*at == host) {
            *at = host->next;
            break;
        }
    }
    mfs_fork_end();
}

/* --- the process-wide one --- */

static void policy_note(struct mfs_host *host)
{
    const char *used = mfs_host_policy(host)->name;
    const char *wanted = mfs_config_get()->policy;

    if (getenv("MFS_POLICY") && strcmp(used, wanted) != 0)
        mfs_log(MFS_LOG_WARN, "MFS_POLICY=%s is not used: segment %s is in use with policy %s",
                wanted, host->path, used);
}

/* Why a segment cannot be used, in words of the segment. */
static void reason_of(int error, const char *elsewhere, char *reason, size_t size)
{
    switch (-error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        snprintf(reason, size, "no room for its %zu bytes (%s)", sizeof(struct mfs_segment),
                 strerror(-error));
        break;
    case EPROTO:
        snprintf(reason, size, "another version of mfs-transport is using it, or it is no segment");
        break;
    case EUSERS:
        snprintf(reason, size, "all of its %u places for processes are taken", MFS_PROCESSES_MAX);
        break;
    default:
        snprintf(reason, size, "%s%s%s", strerror(-error), *elsewhere ? ": " : "", elsewhere);
    }
}

/* By MFS_SEGMENT, or else private. NULL: no memory. */
static struct mfs_host *host_find(void)
{
    const char *given = mfs_config_get()->segment;
    char path[sizeof(((struct mfs_host *)0)->path)], elsewhere[300], reason[400];
    struct mfs_host *host;
    int error;

    (void)mfs_place_find(given, true, path, sizeof(path), elsewhere, sizeof(elsewhere));
    error = mfs_host_open(given, &host);
    if (!error && *elsewhere)
        mfs_log(MFS_LOG_WARN, "segment %s is used, since %s", path, elsewhere);
    if (!error)
        return host;
    reason_of(error, elsewhere, reason, sizeof(reason));
    mfs_log(MFS_LOG_WARN, "segment %s: %s; this process is scheduled on its own", path, reason);
    if (mfs_host_open_private(&host) != 0)
        return NULL;
    memcpy(host->reason, reason, sizeof(host->reason));
    return host;
}

struct mfs_host *mfs_host_known(void)
{
    return mfs_see(&hosts.shared);
}

struct mfs_host *mfs_host_get(void)
{
    struct mfs_host *host = mfs_see(&hosts.shared), *found;

    if (host)
        return host;
    found = host_find();
    if (!found)
        return NULL;
    mfs_fork_begin();
    host = mfs_get(&hosts.shared);
    if (!host)
        mfs_publish(&hosts.shared, found);
    mfs_fork_end();
    if (host) { /* another thread was faster */
        mfs_host_close(found);
        return host;
    }
    policy_note(found);
    return found;
}

const char *mfs_host_path(const struct mfs_host *host)
{
    return host->path;
}

const char *mfs_host_reason(const struct mfs_host *host)
{
    return host->reason;
}

int mfs_host_place(const char *given, char *place, size_t size)
{
    return mfs_place_find(given, false, place, size, NULL, 0);
}
