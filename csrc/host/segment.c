/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STARTING AFRESH: Whoever opens takes the lock of byte 0 first. If no slot is locked, nobody is
 * attached and the file is made anew; else the layout must match.
 */
#include "host/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/past.h"
#include "host/place.h"

#define OPEN_TIMEOUT_NS INT64_C(2000000000)

static const char segment_magic[8] = MFS_SEGMENT_MAGIC;

int64_t mfs_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- making one --- */

uint32_t mfs_policy_index(const struct mfs_policy *policy)
{
    uint32_t index = 0;

    while (mfs_policy_at(index) && mfs_policy_at(index) != policy)
        index++;
    return index;
}

static uint32_t policy_configured(void)
{
    return mfs_policy_index(mfs_policy_find(mfs_config_get()->policy));
}

void mfs_segment_init(struct mfs_segment *segment, uint32_t policy)
{
    segment->version = MFS_LAYOUT_VERSION;
    segment->size = sizeof(*segment);
    mfs_set(&segment->policy, policy + 1);
    mfs_set(&segment->tracing, mfs_config_get()->trace);
    memcpy(segment->magic, segment_magic, sizeof(segment_magic));
}

void mfs_segment_mend(struct mfs_host *host)
{
    struct mfs_segment *segment = host->segment;

    if (memcmp(segment->magic, segment_magic, sizeof(segment_magic)) != 0)
        memcpy(segment->magic, segment_magic, sizeof(segment_magic));
    if (segment->version != MFS_LAYOUT_VERSION)
        segment->version = MFS_LAYOUT_VERSION;
    if (segment->size != sizeof(*segment))
        segment->size = sizeof(*segment);
    if (!mfs_policy_at(mfs_get(&segment->policy) - 1))
        mfs_set(&segment->policy, mfs_get(&host->policy_known) + 1);
    mfs_ports_mend(host);
}

static struct mfs_segment *segment_private(uint32_t policy)
{
    struct mfs_segment *segment = mmap(NULL, sizeof(*segment), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (segment == MAP_FAILED)
        return NULL;
    mfs_segment_init(segment, policy);
    return segment;
}

/* With byte 0 locked: map the file, made anew when nobody is attached. */
static int segment_map(int fd, const char *path, struct mfs_segment **out)
{
    const int any = mfs_process_any(fd);
    struct mfs_segment *segment;
    int error;

    if (any < 0)
        return any;
    if (!any && !mfs_file_ours(fd))
        return -EPROTO;
    if (!any)
        mfs_past_keep(fd, path);
    error = any ? mfs_file_whole(fd) : mfs_file_make(fd);
    if (error)
        return error;
    segment = mmap(NULL, sizeof(*segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (segment == MAP_FAILED)
        return -errno;
    if (!any)
        mfs_segment_init(segment, policy_configured());
    if (memcmp(segment->magic, segment_magic, sizeof(segment_magic)) != 0 ||
        segment->version != MFS_LAYOUT_VERSION || segment->size != sizeof(*segment)) {
        munmap(segment, sizeof(*segment));
        return -EPROTO;
    }
    *out = segment;
    return 0;
}

/* --- attaching and leaving --- */

static void close_ours(struct mfs_host *host, int *fd)
{
    if (*fd >= 0 && mfs_host_file_is(host, *fd))
        close(*fd);
    *fd = -1;
}

static int host_attach(struct mfs_host *host)
{
    const int64_t until_ns = mfs_now_ns() + OPEN_TIMEOUT_NS;
    const struct timespec pause = {0, 1000000};
    int error;

    while ((error = mfs_byte_lock(host->fd, MFS_BYTE_OPEN, F_WRLCK)) != 0) {
        if (error != -EAGAIN && error != -EACCES)
            return error;
        if (mfs_now_ns() > until_ns)
            return -ETIMEDOUT; /* somebody is stopped in the middle of opening */
        nanosleep(&pause, NULL);
    }
    error = segment_map(host->slot_fd, host->path, &host->segment);
    if (!error)
        error = mfs_process_claim(host);
    mfs_byte_lock(host->fd, MFS_BYTE_OPEN, F_UNLCK);
    /* the mapping holds what it has locked */
    close_ours(host, &host->slot_fd);
    return error;
}

static struct mfs_host *host_make(void)
{
    struct mfs_host *host = calloc(1, sizeof(*host));

    if (!host)
        return NULL;
    pthread_mutex_init(&host->mutex, NULL);
    host->fd = host->slot_fd = -1;
    mfs_set(&host->policy_known, policy_configured());
    return host;
}

/* Open the file, twice: see attach.h; a forked child lets go of it from the beginning. */
static int host_open_file(struct mfs_host *host)
{
    struct stat status;
    int fd;

    mfs_fork_begin();
    fd = mfs_file_open(host->path, O_CREAT, &status);
    if (fd >= 0) {
        host->fd = fd;
        host->device = status.st_dev;
        host->inode = status.st_ino;
        fd = host->slot_fd = mfs_file_open(host->path, 0, &status);
    }
    if (fd >= 0 && !mfs_host_file_is(host, fd))
        fd = -ESTALE;
    mfs_fork_end();
    return fd < 0 ? fd : 0;
}

static void host_free(struct mfs_host *host)
{
    mfs_fork_unlist(host);
    close_ours(host, &host->fd);
    close_ours(host, &host->slot_fd);
    if (host->segment)
        munmap(host->segment, sizeof(*host->segment));
    pthread_mutex_destroy(&host->mutex);
    free(host);
}

int mfs_host_open(const char *path, struct mfs_host **out)
{
    struct mfs_host *host = host_make();
    int error;

    if (!host)
        return -ENOMEM;
    host->process = UINT32_MAX;
    (void)mfs_config_get(); /* parsed before any fork can come in between */
    mfs_fork_list(host);
    error = mfs_place_find(path, true, host->path, sizeof(host->path), NULL, 0);
    if (!error)
        error = host_open_file(host);
    if (!error)
        error = host_attach(host);
    if (error) {
        host_free(host);
        return error;
    }
    *out = host;
    return 0;
}

int mfs_host_open_private(struct mfs_host **out)
{
    struct mfs_host *host = host_make();

    if (!host)
        return -ENOMEM;
    mfs_fork_list(host);
    host->segment = segment_private(policy_configured());
    if (!host->segment) {
        host_free(host);
        return -ENOMEM;
    }
    mfs_set(&host->segment->processes[0].used, 1);
    *out = host;
    return 0;
}

void mfs_host_close(struct mfs_host *host)
{
    if (!host)
        return;
    mfs_process_leave(host);
    host_free(host);
}

/* Names, directions and bandwidths, so that a port stays the one it was. */
static void ports_copy(struct mfs_segment *to, const struct mfs_segment *from)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        mfs_set(&to->ports[i].direction, mfs_get(&from->ports[i].direction));
        for (size_t k = 0; k < MFS_PORT_NAME_WORDS; k++)
            mfs_set(&to->ports[i].name[k], mfs_get(&from->ports[i].name[k]));
        mfs_set(&to->ports[i].state.rate_Bps, mfs_get(&from->ports[i].state.rate_Bps));
        mfs_set(&to->ports[i].beside, mfs_get(&from->ports[i].beside));
        mfs_publish(&to->ports[i].used, mfs_get(&from->ports[i].used));
    }
}

/* Only what is this process's own stays. */
static void segment_keep_own(struct mfs_host *host, struct mfs_segment *segment)
{
    struct mfs_living own = {{0}};

    memcpy(segment, host->segment, sizeof(*segment));
    for (uint32_t i = 0; i < MFS_PROCESSES_MAX; i++) {
        if (i != host->process)
            memset(&segment->processes[i], 0, sizeof(segment->processes[i]));
    }
    own.slots[host->process / 64] |= UINT64_C(1) << host->process % 64;
    mfs_set(&segment->writer, 0);
    mfs_senders_reap(segment, &own);
    mfs_ports_reap(segment, &own);
    mfs_request_reap(segment, &own);
}

void mfs_host_become_private(struct mfs_host *host, bool keep, const char *reason)
{
    struct mfs_segment *segment = NULL;

    close_ours(host, &host->fd);
    close_ours(host, &host->slot_fd);
    host->path[0] = '\0';
    snprintf(host->reason, sizeof(host->reason), "%s", reason);
    if (host->segment)
        segment = segment_private(mfs_policy_index(mfs_host_policy(host)));
    if (!segment)
        return;
    if (keep)
        segment_keep_own(host, segment);
    else
        ports_copy(segment, host->segment);
    if (host->process < MFS_PROCESSES_MAX)
        mfs_set(&segment->processes[host->process].used, 1);
    /* in one step: other threads see the old one or the new one */
    if (mremap(segment, sizeof(*segment), sizeof(*segment), MREMAP_MAYMOVE | MREMAP_FIXED,
               host->segment) == MAP_FAILED)
        munmap(segment, sizeof(*segment));
}
