/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COPYING: The tables are read from the file and not mapped: a file that is made anew while we look
 * shrinks for a moment, and a mapping of it would kill the process that touches it.
 *
 * COUNTERS: A process that leaves takes what it has counted out of its cell and adds it to what the
 * past has counted. A copy from in between would lack it, and whoever compares two looks would see
 * a counter go back. So the copy is made again while somebody changes the tables, a few times:
 * one that is stopped in the middle of it must not stop us.
 */
#include "host/look.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/event.h"
#include "host/identity.h"
#include "host/place.h"
#include "host/rights.h"

#define COPIES_MAX 5
#define COPY_PAUSE_NS 200000

_Static_assert(MFS_LOOK_PROCESSES_MAX == MFS_PROCESSES_MAX, "all of them");
_Static_assert(MFS_LOOK_SENDERS_MAX == MFS_SENDERS_MAX, "all of them");
_Static_assert(MFS_RANK_NONE >> MFS_KEY_BITS < MFS_LOOK_NOTHING, "no rank has this level");

/* --- copying --- */

/* -ENODATA: the file has no such bytes, as while it is made. */
static int bytes_read(int fd, void *to, size_t from, size_t length)
{
    for (size_t at = 0; at < length;) {
        const ssize_t got = pread(fd, (char *)to + at, length - at, (off_t)(from + at));

        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        at += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int file_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && mfs_rights_suffice(path, &status))
        return fd;
    close(fd);
    return S_ISDIR(status.st_mode) ? -EISDIR : -EACCES;
}

/* Is it a segment that we can read, and in use? */
static int file_check(int fd)
{
    static const char made[8] = MFS_SEGMENT_MAGIC, unmade[8];
    char head[offsetof(struct mfs_segment, writer)] = {0};
    struct stat status;
    int error;

    if (fstat(fd, &status) != 0)
        return -errno;
    error = bytes_read(fd, head, 0, sizeof(head));
    if (error && error != -ENODATA)
        return error;
    if (memcmp(head, made, sizeof(made)) != 0 && memcmp(head, unmade, sizeof(unmade)) != 0)
        return -EBADMSG;
    error = mfs_process_any(fd);
    if (error <= 0)
        return error < 0 ? error : -ENODATA;
    if (memcmp(head + offsetof(struct mfs_segment, version), &(uint32_t){MFS_LAYOUT_VERSION},
               sizeof(uint32_t)) != 0 ||
        status.st_size != (off_t)sizeof(struct mfs_segment))
        return -EPROTO;
    return 0;
}

/* All but the requests and the events, as they were at one time; see above. */
static int tables_copy(int fd, struct mfs_segment *copy)
{
    const struct timespec pause = {0, COPY_PAUSE_NS};
    uint64_t past[MFS_COUNT_LAST];
    uint32_t writer = 0;
    int error = 0;

    for (int i = 0; i < COPIES_MAX; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        error = bytes_read(fd, copy, 0, offsetof(struct mfs_segment, requests));
        if (!error)
            error = bytes_read(fd, past, offsetof(struct mfs_segment, past), sizeof(past));
        if (!error)
            error = bytes_read(fd, &writer, offsetof(struct mfs_segment, writer), sizeof(writer));
        if (error || (!writer && !mfs_get(&copy->writer) &&
                      memcmp(past, (const void *)copy->past, sizeof(past)) == 0))
            break;
    }
    return error;
}

/* --- what it says --- */

static void counters_tell(struct mfs_host *copy, struct mfs_look *look)
{
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        look->counters[i] = mfs_count_total(copy, (enum mfs_counter)i);
}

/* index: of each slot in the look's processes. */
static void processes_tell(struct mfs_host *copy, const struct mfs_living *living,
                           struct mfs_look *look, uint32_t *index)
{
    for (uint32_t slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        struct mfs_look_process *process = &look->processes[look->process_count];

        if (!mfs_living_owner(living, slot + 1))
            continue;
        index[slot] = look->process_count++;
        copy->process = slot;
        mfs_identity_read(&copy->segment->processes[slot], process);
        for (int i = 0; i < MFS_COUNT_LAST; i++)
            process->counters[i] = mfs_count_process(copy, (enum mfs_counter)i);
    }
}

static void sender_tell(const struct mfs_sender_cell *cell, int64_t now_ns,
                        struct mfs_look_sender *sender)
{
    const mfs_rank_t rank = mfs_get(&cell->rank);
    const int64_t stamp_ns = mfs_get(&cell->stamp_ns);

    sender->level = rank == MFS_RANK_NONE ? MFS_LOOK_NOTHING : mfs_rank_level(rank);
    sender->stalled = mfs_get(&cell->stalled);
    sender->inflight_bytes = mfs_get(&cell->inflight_bytes);
    sender->age_ns = mfs_moment_age(stamp_ns, now_ns);
    sender->still = (rank != MFS_RANK_NONE || sender->inflight_bytes > 0) &&
                    !mfs_stamp_fresh(stamp_ns, now_ns, mfs_config_get()->lease);
}

static void port_tell(struct mfs_port_cell *cell, const struct mfs_living *living,
                      const uint32_t *index, int64_t now_ns, struct mfs_look_port *port)
{
    const struct mfs_port there = {.cell = cell};

    port->direction = mfs_get(&cell->direction);
    port->rate_Bps = mfs_port_rate_Bps(&there);
    port->window_bytes = mfs_port_window(&there);
    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        const uint32_t owner = mfs_get(&cell->senders[i].owner);

        port->done_bytes += mfs_get(&cell->senders[i].done_bytes);
        if (!mfs_living_owner(living, owner))
            continue;
        sender_tell(&cell->senders[i], now_ns, &port->senders[port->sender_count]);
        port->senders[port->sender_count++].process = index[owner - 1];
    }
}

static void ports_tell(struct mfs_host *copy, const struct mfs_living *living,
                       const uint32_t *index, struct mfs_look *look)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        struct mfs_port_cell *cell = &copy->segment->ports[i];
        struct mfs_look_port *port = &look->ports[look->port_count];

        if (mfs_get(&cell->direction) > MFS_INGRESS || mfs_port_name_at(copy, i, port->name) != 0)
            continue;
        look->port_count++;
        port_tell(cell, living, index, look->now_ns, port);
    }
}

static enum mfs_look_request request_state(const struct mfs_facts *facts, int64_t now_ns)
{
    if (facts->flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED))
        return MFS_LOOK_GIVEN_UP;
    if (facts->deadline_ns < now_ns)
        return MFS_LOOK_LATE;
    if (facts->flags & MFS_REQUEST_COMPUTED)
        return MFS_LOOK_COMPUTED;
    return facts->start_ns <= now_ns ? MFS_LOOK_COMPUTING : MFS_LOOK_WAITING;
}

static void requests_tell(const struct mfs_segment *segment, const struct mfs_living *living,
                          struct mfs_look *look)
{
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        const struct mfs_request_cell *cell = &segment->requests[i];
        struct mfs_facts facts;

        if (!mfs_get(&cell->live) || !mfs_living_owner(living, mfs_get(&cell->owner)))
            continue;
        memcpy(&facts, (const void *)cell->words, sizeof(facts));
        look->requests[request_state(&facts, look->now_ns)]++;
    }
}

static void tell(struct mfs_segment *segment, const struct mfs_living *living,
                 struct mfs_look *look)
{
    struct mfs_host copy = {.segment = segment, .fd = -1, .slot_fd = -1};
    uint32_t index[MFS_PROCESSES_MAX] = {0};

    memset(look, 0, sizeof(*look));
    look->now_ns = mfs_now_ns();
    look->pid_namespace = mfs_identity_namespace();
    look->policy = mfs_policy_name(mfs_host_policy(&copy));
    look->tracing = mfs_event_tracing(&copy);
    counters_tell(&copy, look);
    processes_tell(&copy, living, look, index);
    ports_tell(&copy, living, index, look);
    requests_tell(segment, living, look);
}

static int take(int fd, struct mfs_segment *copy, struct mfs_look *look)
{
    struct mfs_living living;
    int error = file_check(fd);

    if (!error)
        error = mfs_process_living(fd, &living);
    if (!error)
        error = tables_copy(fd, copy);
    if (!error)
        error = bytes_read(fd, copy->requests, offsetof(struct mfs_segment, requests),
                           sizeof(copy->requests));
    if (!error)
        error = bytes_read(fd, &copy->tracing, offsetof(struct mfs_segment, tracing),
                           sizeof(copy->tracing));
    if (!error)
        tell(copy, &living, look);
    return error;
}

int mfs_look_take(const char *path, struct mfs_look *look)
{
    char place[sizeof(((struct mfs_host *)0)->path)];
    struct mfs_segment *copy;
    int error = mfs_place_find(path, false, place, sizeof(place), NULL, 0);
    int fd;

    if (error)
        return error;
    fd = file_open(place);
    if (fd < 0)
        return fd;
    copy = malloc(sizeof(*copy));
    error = copy ? take(fd, copy, look) : -ENOMEM;
    free(copy);
    close(fd);
    return error;
}
