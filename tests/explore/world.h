/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes do and what they share besides the segment: each has a sender with some
 * destinations and operations (process.c), all send over one wire (wire.c). What must always hold
 * (checks.c) is checked where a chunk is posted and where a process has looked at its queue.
 */
#ifndef MFS_TESTS_EXPLORE_WORLD_H
#define MFS_TESTS_EXPLORE_WORLD_H

#include <stdio.h>
#include <stdlib.h>

#include "core/sender.h"
#include "machine.h"

/* The run is over: say which it was. */
#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fflush(stdout);                                                                            \
        fprintf(stderr, "seed %llu, %lld ns: ", (unsigned long long)world.seed,                    \
                (long long)(machine.now_ns - world.start_ns));                                     \
        if (world.order[0])                                                                        \
            fprintf(stderr, "order %s: ", world.order);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, " (%s:%d)\n", __FILE__, __LINE__);                                         \
        exit(1);                                                                                   \
    } while (0)
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            FAIL("%s", #condition);                                                                \
    } while (0)

#define DESTINATIONS 3
#define OPERATIONS 12 /* of a process at a time */
#define FLIGHTS 256   /* on the wire */
#define UID_OF(destination) (1000 + 7 * (uint64_t)(destination)) /* all processes have the same */

enum fault {
    FAULT_STOPPED = 1,      /* a process does not run for a while */
    FAULT_SLOW = 2,         /* one runs seldom */
    FAULT_LATE = 4,         /* one looks at its queue later than the lease */
    FAULT_KILLED = 8,       /* between any two accesses; perhaps another comes in its place */
    FAULT_FULL = 16,        /* the port has no cell left for another sender */
    FAULT_STALLED = 32,     /* a destination takes no bytes for a while */
    FAULT_DRIBBLES = 64,    /* one takes a tenth */
    FAULT_GARBAGE = 128,    /* a word of the segment is changed */
    FAULT_REVIVED = 256,    /* one that is stopped is taken for dead, and then goes on */
    FAULT_KINDS = 9,
};

/* Two may write into one cell, or anything may stand there: what is sent is right all the same, but
 * nothing is said of its order. */
#define FAULTS_OF_WORDS (FAULT_GARBAGE | FAULT_REVIVED)

struct process;

struct to {
    struct mfs_destination at;
    struct process *of;
    int64_t free_ns;  /* it takes the next chunk then */
    int64_t until_ns; /* it takes none before: stalled */
    int64_t moved_ns; /* when its process was told last that bytes have left, or sent the first */
    uint64_t under_way;
    bool dribbles;
};

struct operation {
    struct mfs_op op; /* first: a chunk says which it is */
    struct to *to;
    mfs_rank_t rank;
    bool untagged;
    bool express;     /* went without the queue */
    uint64_t covered; /* bytes that were posted */
    uint64_t done;    /* bytes that have left */
};

struct flight {
    struct to *to;
    struct operation *operation;
    uint64_t bytes;
    bool gone; /* its process is dead */
};

struct process {
    unsigned index;
    bool joined;
    struct mfs_sender *sender;
    struct mfs_sender_cell *cell;
    struct mfs_port_ops others; /* of host/sender.c, behind ours */
    struct to to[DESTINATIONS];
    struct operation operations[OPERATIONS];
    struct flight left[FLIGHTS]; /* that it was not told of yet: a ring */
    unsigned left_first, left_end;
    unsigned first;      /* operations that it posts when it begins */
    unsigned busy;       /* of the hundred looks, after which it posts something new */
    int64_t every_ns;    /* it looks so often */
    bool slow, late;
    /* what the others of it, and it of the others, must know */
    mfs_rank_t told;     /* its rank for the others; the worse one while it is being told */
    int64_t looked_ns;   /* the time by which it chooses */
    bool looking;        /* it has not told its rank yet in this choice */
    bool looked;         /* it has looked at the others in this choice */
    mfs_rank_t seen[PROCESSES]; /* since then none of them was better than this */
    uint64_t unasked;    /* bytes that went at once since it looked */
    uint64_t heard_open; /* in flight to open destinations when it began to hear; else UINT64_MAX */
};

struct world {
    uint64_t seed;
    int64_t start_ns, calm_ns; /* calm: since when no fault has come */
    unsigned count; /* of processes */
    char order[16]; /* of the processes' steps; "": by the seed */
    unsigned faults; /* that this run has */
    uint64_t rate_Bps; /* of the wire */
    bool express; /* some operations go without the queue */
    bool leaves; /* processes leave the port and come back */
    bool limits; /* destinations are ports of other hosts, which tell limits */
    bool calm; /* no more faults, and no more operations */
    struct process processes[PROCESSES];
    struct flight flights[FLIGHTS];
    unsigned flights_count;
    struct flight served; /* that the wire carries; bytes 0: none */
    int64_t served_ns; /* until then */
    uint64_t window_base; /* bytes that were in flight without a choice of ours */
    uint64_t sent, untagged; /* since untagged traffic waits */
    uint64_t paced; /* bytes that were sent faster than the pace, as of ... */
    int64_t paced_ns;
    uint64_t chunks, bytes; /* in all */
};

extern struct world world;

/* --- explore.c --- */

/* A new one, with no process in it. */
void world_make(uint64_t seed);

/* --- orders.c --- */

/* How many there were. */
uint64_t orders_explore(uint64_t seed);

/* --- wire.c --- */

void wire_post(struct to *to, struct operation *operation, uint64_t bytes);
/* What has left by now is told to its process. */
void wire_move_all(void);
static inline void wire_move(void)
{
    if (world.served.bytes > 0 ? world.served_ns <= machine.now_ns : world.flights_count > 0)
        wire_move_all();
}
/* When something will have left; MFS_TIME_NEVER. */
int64_t wire_next_ns(void);
/* A process is dead: its bytes go to nobody. */
void wire_forget(const struct process *process);

/* --- checks.c --- */

/* Hears what the process tells and sees from here on. */
void checks_join(struct process *process);
/* It is about to choose a chunk, or to send an operation at once. */
void checks_choose(struct process *process);
void checks_express(struct process *process);
/* It sends one: of its queue; or an operation at once. */
void check_post(const struct process *process, const struct operation *operation,
                const struct mfs_chunk *chunk);
void check_express(struct process *process, const struct operation *operation);
/* It is told of bytes that have left; it has been. */
void checks_hear(struct process *process);
void check_heard(struct process *process);
/* It has looked at its queue: do the others know what waits? */
void check_told(const struct process *process);
/* It has left. */
void check_left(const struct process *process);

/* --- process.c --- */

/* A machine_start() at this: ctx is the process. */
void process_run(void *ctx);
void process_kill(struct process *process);
/* Nothing that it posted is remembered. */
void process_forget(struct process *process);
/* Bytes that have not left, to destinations that take some. */
uint64_t process_waits(const struct process *process);

#endif
