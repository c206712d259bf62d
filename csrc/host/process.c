/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIVENESS: A process owns its slot as long as it holds a lock on one byte of the segment's file.
 * It is an open-file-description lock: the kernel drops it when the process dies, however it dies;
 * it belongs to the description, so two users of the library in one process have a slot each. A
 * forked child lets go of its share at once, else it would keep a dead parent alive.
 *
 * Nobody is taken for dead because of an error: who cannot ask gives nothing back.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/identity.h"

/* Asks for one lock of others in `length` bytes from `byte` on. */
static int byte_asked(int fd, off_t byte, off_t length, struct flock *lock)
{
    *lock =
        (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = length};
    return fcntl(fd, F_OFD_GETLK, lock) == 0 ? 0 : -errno;
}

int mfs_process_any(int fd)
{
    struct flock lock;
    const int error = byte_asked(fd, MFS_BYTE_SLOTS, MFS_PROCESSES_MAX, &lock);

    return error ? error : lock.l_type != F_UNLCK;
}

bool mfs_process_alive(struct mfs_host *host, uint32_t process)
{
    struct flock lock;

    if (process == host->process || host->fd < 0 || !mfs_host_file_is(host, host->fd))
        return true;
    return byte_asked(host->fd, MFS_BYTE_SLOTS + process, 1, &lock) != 0 || lock.l_type != F_UNLCK;
}

static bool any_between(int fd, off_t first, off_t end)
{
    struct flock lock;

    return first < end && (byte_asked(fd, MFS_BYTE_SLOTS + first, end - first, &lock) != 0 ||
                           lock.l_type != F_UNLCK);
}

bool mfs_host_others(struct mfs_host *host)
{
    if (host->fd < 0)
        return false; /* private */
    return !mfs_host_file_is(host, host->fd) || any_between(host->fd, 0, host->process) ||
           any_between(host->fd, host->process + 1, MFS_PROCESSES_MAX);
}

/* Mark the slots from `first` on, before `end`, that others hold. The kernel tells of one lock in
 * a range, not of the first. */
static int living_between(int fd, off_t first, off_t end, struct mfs_living *living)
{
    struct flock lock;
    off_t from, to;
    int error = 0;

    if (first >= end)
        return 0;
    error = byte_asked(fd, MFS_BYTE_SLOTS + first, end - first, &lock);
    if (error || lock.l_type == F_UNLCK)
        return error;
    from = lock.l_start - MFS_BYTE_SLOTS;
    to = lock.l_len > 0 ? from + lock.l_len : end;
    from = from > first ? from : first;
    to = to < end ? to : end;
    for (off_t slot = from; slot < to; slot++)
        living->slots[slot / 64] |= UINT64_C(1) << slot % 64;
    error = living_between(fd, first, from, living);
    return error ? error : living_between(fd, to, end, living);
}

int mfs_process_living(int fd, struct mfs_living *living)
{
    *living = (struct mfs_living){{0}};
    return living_between(fd, 0, MFS_PROCESSES_MAX, living);
}

/*
 * Who holds a slot. -errno: nobody can say. Who attaches from now on holds nothing yet: that takes
 * the lock, which the caller has.
 */
static int living_now(struct mfs_host *host, struct mfs_living *living)
{
    *living = (struct mfs_living){{0}};
    if (host->process < MFS_PROCESSES_MAX)
        living->slots[host->process / 64] |= UINT64_C(1) << host->process % 64;
    return host->fd < 0 ? 0 : living_between(host->fd, 0, MFS_PROCESSES_MAX, living);
}

static void keep_counts(struct mfs_segment *segment, _Atomic uint64_t *counters)
{
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        mfs_add(&segment->past[i], mfs_swap(&counters[i], 0));
}

/* A slot that is nobody's any more; what it counted is kept. */
static void slot_give_back(struct mfs_segment *segment, uint32_t process)
{
    struct mfs_process_cell *cell = &segment->processes[process];

    keep_counts(segment, cell->counters);
    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++) {
        keep_counts(segment, cell->rows[i].counters);
        mfs_count_row_put(&cell->rows[i]);
    }
    mfs_publish(&cell->used, 0);
}

/*
 * Give back what nobody alive owns, and what the process `leaving` does (MFS_PROCESSES_MAX: none).
 * Requests are looked through, all of them, if a process has gone or `thorough` says so.
 */
static void reap(struct mfs_host *host, uint32_t leaving, bool thorough)
{
    struct mfs_living living, gone = {{0}};

    if (living_now(host, &living) != 0)
        return;
    if (leaving < MFS_PROCESSES_MAX)
        living.slots[leaving / 64] &= ~(UINT64_C(1) << leaving % 64);
    for (uint32_t process = 0; process < MFS_PROCESSES_MAX; process++) {
        if (mfs_see(&host->segment->processes[process].used) &&
            !mfs_living_owner(&living, process + 1) &&
            (process == leaving || !mfs_process_alive(host, process))) {
            gone.slots[process / 64] |= UINT64_C(1) << process % 64;
            thorough = true;
        }
    }
    mfs_senders_reap(host->segment, &living);
    mfs_ports_reap(host->segment, &living);
    if (thorough)
        mfs_request_reap(host->segment, &living);
    mfs_verdict_reap(host->segment);
    /* last: if we die before it, the next to look finds the same slots, and begins anew */
    for (uint32_t process = 0; process < MFS_PROCESSES_MAX; process++) {
        if (mfs_living_owner(&gone, process + 1))
            slot_give_back(host->segment, process);
    }
}

void mfs_process_reap_locked(struct mfs_host *host)
{
    reap(host, MFS_PROCESSES_MAX, true);
}

void mfs_process_reap(struct mfs_host *host)
{
    if (mfs_segment_trylock(host) != 0)
        return;
    mfs_segment_mend(host);
    reap(host, MFS_PROCESSES_MAX, false);
    mfs_segment_unlock(host);
}

int mfs_process_claim(struct mfs_host *host)
{
    for (uint32_t slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        struct mfs_process_cell *cell = &host->segment->processes[slot];

        if (mfs_byte_lock(host->slot_fd, MFS_BYTE_SLOTS + slot, F_WRLCK) != 0)
            continue;
        if (mfs_see(&cell->used)) {
            /* its owner died: give back what it held before the slot is ours */
            if (mfs_segment_lock(host) != 0) {
                mfs_byte_lock(host->slot_fd, MFS_BYTE_SLOTS + slot, F_UNLCK);
                continue;
            }
            reap(host, slot, true);
            mfs_segment_unlock(host);
        }
        host->process = slot;
        mfs_identity_write(cell);
        mfs_publish(&cell->used, 1);
        return 0;
    }
    return -EUSERS;
}

bool mfs_process_overwritten(struct mfs_host *host)
{
    struct mfs_process_cell *cell = &host->segment->processes[host->process];

    if (mfs_see(&cell->used) != 1) {
        mfs_set(&host->overwritten, 1);
        mfs_identity_write(cell);
        mfs_publish(&cell->used, 1);
    }
    return mfs_get(&host->overwritten) != 0;
}

void mfs_process_leave(struct mfs_host *host)
{
    if (mfs_segment_lock(host) != 0)
        return; /* whoever reaps finds it */
    if (host->fd >= 0)
        reap(host, host->process, true);
    mfs_segment_unlock(host);
}
