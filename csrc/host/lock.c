/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THE LOCK: one byte of the file, locked by the kernel, and a mutex in front of it for the threads
 * of one process. Its state is in no memory that others write to: it can be neither corrupted nor
 * left behind by the dead (docs/decisions/0030).
 *
 * A WRITER THAT DIED: It leaves its number in `writer`. Who takes the lock next drops the cells
 * that were being written: their sequence is odd, so readers take them for unknown meanwhile.
 *
 * A WRITER THAT IS STOPPED holds everybody up for 100 ms once. Who has waited in vain tries again
 * without waiting; it waits anew only when 100 ms, then 200 ms and so on up to 10 s have passed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/identity.h"
#include "host/log.h"

#define WAIT_NS INT64_C(100000000)
#define PATIENCE_MAX_NS (100 * WAIT_NS)

int mfs_byte_lock(int fd, off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

static void pause_shortly(void)
{
    const struct timespec pause = {0, 50000};

    nanosleep(&pause, NULL);
}

/* For a message: who says that it writes. */
static void holder_name(const struct mfs_segment *segment, char *name, size_t size)
{
    const uint32_t writer = mfs_get(&segment->writer);
    const uint32_t slot = writer - 1;

    if (writer > 0 && slot < MFS_PROCESSES_MAX)
        mfs_identity_text(&segment->processes[slot], name, size);
    else
        snprintf(name, size, "another process");
}

/* Nobody has given the lock up in time. */
static void waited_in_vain(struct mfs_host *host)
{
    char holder[128];

    host->patience_ns = host->patience_ns > 0 ? 2 * host->patience_ns : WAIT_NS;
    if (host->patience_ns > PATIENCE_MAX_NS)
        host->patience_ns = PATIENCE_MAX_NS;
    host->patient_at_ns = mfs_now_ns() + host->patience_ns;
    if (host->told)
        return;
    host->told = true;
    holder_name(host->segment, holder, sizeof(holder));
    mfs_log(MFS_LOG_WARN,
            "segment %s: %s holds its lock and does not move (is it stopped?); until it does, no "
            "request can be registered and no port opened",
            host->path, holder);
}

/* The byte of the file; the mutex is held. */
static int byte_take(struct mfs_host *host, int64_t wait_ns)
{
    const bool waits = wait_ns > 0 && mfs_now_ns() >= host->patient_at_ns;
    const int64_t until_ns = waits ? mfs_now_ns() + wait_ns : 0;
    int error;

    while ((error = mfs_byte_lock(host->fd, MFS_BYTE_WRITER, F_WRLCK)) == -EAGAIN ||
           error == -EACCES) {
        if (!waits)
            return -EAGAIN;
        if (mfs_now_ns() >= until_ns) {
            waited_in_vain(host);
            return -EAGAIN;
        }
        pause_shortly();
    }
    if (error) /* the file system has no locks any more */
        return -EAGAIN;
    host->patience_ns = host->patient_at_ns = 0;
    return 0;
}

/* The program has closed our descriptor, or made it another file's. */
static void file_again(struct mfs_host *host)
{
    static const char reason[] =
        "the program has closed our descriptor of it, and it cannot be opened again";

    if (mfs_host_reopen(host) == 0)
        return;
    mfs_log(MFS_LOG_WARN, "segment %s: %s; this process is scheduled on its own from now on",
            host->path, reason);
    mfs_host_become_private(host, true, reason);
}

static int lock_within(struct mfs_host *host, int64_t wait_ns)
{
    const int64_t until_ns = wait_ns > 0 ? mfs_now_ns() + wait_ns : 0;
    int error = 0;

    /* pthread_mutex_clocklock would do, but thread checkers do not know it */
    while (pthread_mutex_trylock(&host->mutex) != 0) {
        if (wait_ns == 0 || mfs_now_ns() >= until_ns)
            return -EAGAIN;
        pause_shortly();
    }
    if (host->fd >= 0 && !mfs_host_file_is(host, host->fd))
        file_again(host);
    if (host->fd >= 0)
        error = byte_take(host, wait_ns);
    if (error) {
        pthread_mutex_unlock(&host->mutex);
        return error;
    }
    /* in the middle of attaching we have no slot: any number but 0 will do */
    if (mfs_swap(&host->segment->writer, mfs_at_most(host->process, UINT32_MAX - 1) + 1) != 0)
        mfs_request_repair(host->segment);
    return 0;
}

int mfs_segment_lock(struct mfs_host *host)
{
    return lock_within(host, WAIT_NS);
}

int mfs_segment_trylock(struct mfs_host *host)
{
    return lock_within(host, 0);
}

void mfs_segment_unlock(struct mfs_host *host)
{
    mfs_publish(&host->segment->writer, 0);
    if (host->fd >= 0 && mfs_host_file_is(host, host->fd))
        (void)mfs_byte_lock(host->fd, MFS_BYTE_WRITER, F_UNLCK);
    pthread_mutex_unlock(&host->mutex);
}
