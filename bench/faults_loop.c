/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of bench/faults.py: processes that share a port are hit, one fault after another.
 *
 *   faults_loop FOLDER FAULTS SEED STOP_MS WIRE_BPS
 *
 *   none         nothing: what the same measurement shows without a fault
 *   kill, stop   SIGKILL; SIGSTOP, and SIGCONT after 5 to STOP_MS ms
 *   kill_locked, stop_locked   the same with the lock of the segment in the victim's hand
 *   kill_idle    one that has nothing queued and nothing in flight
 *   kill_young   a process that is killed while it opens the segment or just after
 *   both         one is stopped with the lock, then another is killed
 *
 * A line of JSON for each fault, and one for the end. After each fault everybody holds
 * still for a moment, and what the segment says is compared with what the living have.
 */
#include "faults.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define LIMIT_NS (20000 * MS)     /* for what must happen soon */
#define SEND_NS (3000 * MS)       /* for somebody to send while one is stopped */
#define GIVE_BACK_NS (10000 * MS) /* for the dead; the port looks for them once a second */
#define WATCH_NS (50 * MS)        /* a fault is watched for at least that */
#define SPARE FAULTS_PROCESSES

enum kind { NONE, KILL, STOP, KILL_LOCKED, STOP_LOCKED, KILL_IDLE, KILL_YOUNG, BOTH };

static const char *const kind_names[] = {
    [NONE] = "none",
    [KILL] = "kill",
    [STOP] = "stop",
    [KILL_LOCKED] = "kill_locked",
    [STOP_LOCKED] = "stop_locked",
    [KILL_IDLE] = "kill_idle",
    [KILL_YOUNG] = "kill_young",
    [BOTH] = "both",
};

static char segment_path[4000], board_path[4000], self_path[4000];
static struct faults_view view;
static struct faults_board *board; /* view.board */
static pid_t pids[FAULTS_SEATS];
static uint32_t ledgers_max;
static uint64_t seed;

static void die(const char *what)
{
    fprintf(stderr, "faults: %s\n", what);
    exit(1); /* the processes die with us */
}

/* --- looking --- */

/* Let a moment pass. */
static void look(void)
{
    const struct timespec moment = {0, 200000};

    nanosleep(&moment, NULL);
    (void)faults_inflight(&view);
}

static void look_until(int64_t until_ns)
{
    while (mfs_now_ns() < until_ns)
        look();
}

/* --- processes --- */

static void spawn(uint32_t seat)
{
    struct faults_seat *at = &board->seats[seat];
    char words[2][24];

    if (view.ledgers == ledgers_max)
        die("too many processes");
    memset(at, 0, sizeof(*at));
    atomic_store(&at->rank, MFS_RANK_NONE);
    atomic_store(&at->ledger, view.ledgers++);
    snprintf(words[0], sizeof(words[0]), "%u", seat);
    snprintf(words[1], sizeof(words[1]), "%llu",
             (unsigned long long)faults_random(&seed, 0, UINT64_MAX - 1));
    pids[seat] = fork();
    if (pids[seat] < 0)
        die("fork");
    if (pids[seat] == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(self_path, self_path, "--process", board_path, segment_path, words[0], words[1],
              (char *)NULL);
        _exit(3);
    }
}

/* Nobody ends by itself before the end. */
static void all_run(void)
{
    siginfo_t info = {0};

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
        die("a process has failed");
}

/* Wait until *word is (not) the value, with a limit. */
static void await(_Atomic uint32_t *word, uint32_t value, bool same, const char *what)
{
    const int64_t until_ns = mfs_now_ns() + LIMIT_NS;

    while ((atomic_load(word) == value) != same) {
        if (mfs_now_ns() > until_ns)
            die(what);
        all_run();
        look();
    }
}

static void await_up(uint32_t seat)
{
    await(&board->seats[seat].up, 1, true, "a process does not start");
}

/* Wait for the process's next change (options: WUNTRACED): it must be `signal`. */
static void await_change(uint32_t seat, int signal)
{
    const int64_t until_ns = mfs_now_ns() + LIMIT_NS;
    pid_t pid;
    int status;

    while ((pid = waitpid(pids[seat], &status, WUNTRACED | WNOHANG)) == 0) {
        if (mfs_now_ns() > until_ns)
            die("a process does not die or stop");
        look();
    }
    if (pid < 0 || !(WIFSIGNALED(status) ? WTERMSIG(status) == signal
                                         : WIFSTOPPED(status) && WSTOPSIG(status) == signal))
        die("a process has ended by itself");
}

static void hit(uint32_t seat, int signal, bool locked)
{
    struct faults_seat *at = &board->seats[seat];

    if (locked) {
        atomic_store(&at->at_unlock, (uint32_t)signal); /* it says itself when it is hit */
    } else {
        atomic_store(&at->state, FAULTS_HIT);
        if (kill(pids[seat], signal) != 0)
            die("kill");
    }
    await_change(seat, signal);
    if (signal == SIGKILL)
        atomic_store(&at->up, 0);
}

/* The others send while one is stopped, whatever it has waiting or in flight. */
static void await_sent(int64_t since_ns)
{
    while (atomic_load(&board->last_sent_ns) < since_ns) {
        if (mfs_now_ns() > since_ns + SEND_NS)
            die("nobody sends while one process is stopped");
        look();
    }
}

static void go_on(uint32_t seat)
{
    atomic_store(&board->seats[seat].state, FAULTS_GOES_ON);
    kill(pids[seat], SIGCONT);
    await(&board->seats[seat].state, FAULTS_GOES_ON, false, "a process does not go on");
}

/* Until it has nothing queued and nothing in flight. */
static void await_idle(uint32_t seat)
{
    const int64_t until_ns = mfs_now_ns() + LIMIT_NS;
    struct faults_seat *at = &board->seats[seat];

    atomic_store(&at->rest, 1);
    while (atomic_load(&at->rank) != MFS_RANK_NONE || atomic_load(&at->inflight_bytes) > 0) {
        if (mfs_now_ns() > until_ns)
            die("a process does not become idle");
        look();
    }
}

/* --- a fault --- */

static void watch_begin(void)
{
    static uint32_t epochs;

    atomic_store(&board->epoch_ns, mfs_now_ns());
    atomic_store(&board->epoch, ++epochs);
}

static void await_given_back(struct faults_outcome *outcome)
{
    const int64_t begun_ns = mfs_now_ns();

    while (faults_dead_senders(&view) + faults_dead_processes(&view) > 0 &&
           mfs_now_ns() < begun_ns + GIVE_BACK_NS)
        look();
    outcome->given_back_ns = mfs_now_ns() - begun_ns;
}

static void hold_and_reconcile(struct faults_outcome *outcome)
{
    const uint32_t hold = atomic_fetch_add(&board->hold, 1) + 1;

    for (uint32_t i = 0; i < FAULTS_PROCESSES; i++) {
        if (!atomic_load(&board->seats[i].up))
            continue;
        await(&board->seats[i].held_data, hold, true, "a process does not hold still");
        await(&board->seats[i].held_control, hold, true, "a process does not hold still");
    }
    faults_reconcile(&view, outcome);
    atomic_fetch_add(&board->hold, 1);
}

static void strike(enum kind kind, uint32_t victim, uint32_t other, int64_t stop_ns)
{
    const bool locked = kind == KILL_LOCKED || kind == STOP_LOCKED || kind == BOTH;

    switch (kind) {
    case NONE:
        break;
    case KILL_IDLE:
        await_idle(victim);
        hit(victim, SIGKILL, false);
        break;
    case KILL:
    case KILL_LOCKED:
        hit(victim, SIGKILL, locked);
        break;
    case STOP:
    case STOP_LOCKED:
    case BOTH:
        hit(victim, SIGSTOP, locked);
        if (kind == BOTH)
            hit(other, SIGKILL, false);
        look_until(mfs_now_ns() + stop_ns);
        await_sent(mfs_now_ns());
        go_on(victim);
        break;
    case KILL_YOUNG:
        spawn(SPARE);
        look_until(mfs_now_ns() + (int64_t)faults_random(&seed, 0, 2000) * 1000);
        hit(SPARE, SIGKILL, false);
        break;
    }
}

static void fault(enum kind kind, int64_t stop_max_ms)
{
    const uint32_t victim = (uint32_t)faults_random(&seed, 0, FAULTS_PROCESSES - 1);
    const uint32_t next = (victim + 1) % FAULTS_PROCESSES;
    const uint32_t hit_seats = kind == NONE || kind == KILL_YOUNG ? 0
                               : kind == BOTH                     ? 1u << victim | 1u << next
                                                                  : 1u << victim;
    const int64_t stop_ns = (int64_t)faults_random(&seed, 5, (uint64_t)stop_max_ms) * MS;
    struct faults_outcome outcome = {0};
    int64_t begun_ns;

    look_until(mfs_now_ns() + (int64_t)faults_random(&seed, 1, 20) * MS);
    watch_begin();
    begun_ns = mfs_now_ns();
    strike(kind, victim, next, stop_ns);
    await_given_back(&outcome);
    look_until(begun_ns + WATCH_NS);
    faults_times(&view, hit_seats, &outcome);
    atomic_store(&board->epoch, 0);
    hold_and_reconcile(&outcome);
    for (uint32_t i = 0; i < FAULTS_PROCESSES; i++) {
        if (!atomic_load(&board->seats[i].up)) {
            spawn(i);
            await_up(i);
        }
    }
    faults_print(kind_names[kind], &outcome);
}

/* --- all of them --- */

static void end(int64_t span_ns)
{
    struct faults_outcome outcome = {0};
    uint64_t unfinished = 0, refused = 0;
    struct faults_sum sum;
    int status;

    atomic_store(&board->ending, 1);
    for (uint32_t i = 0; i < FAULTS_PROCESSES; i++) {
        const struct faults_ledger *ledger = &board->ledgers[atomic_load(&board->seats[i].ledger)];
        const int64_t until_ns = mfs_now_ns() + LIMIT_NS;

        while (waitpid(pids[i], &status, WNOHANG) == 0) {
            if (mfs_now_ns() > until_ns)
                die("a process does not finish what it has queued");
            look();
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            die("a process has failed");
        unfinished += ledger->pushed - ledger->finished;
        refused += atomic_load(&board->seats[i].refused);
        atomic_store(&board->seats[i].up, 0);
    }
    faults_reconcile(&view, &outcome);
    faults_print("end", &outcome);
    sum = faults_sum(&view);
    printf("{\"seconds\": %.3f, \"processes\": %u, \"operations\": %llu, \"bytes\": %llu, "
           "\"unfinished\": %llu, \"refused\": %llu, \"rate_Bps\": %llu}\n",
           (double)span_ns * 1e-9, view.ledgers, (unsigned long long)sum.operations,
           (unsigned long long)sum.bytes, (unsigned long long)unfinished,
           (unsigned long long)refused, (unsigned long long)mfs_port_rate_Bps(view.port));
}

static void board_map(const char *path, size_t bytes)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const off_t have = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

    if (fd < 0 || (bytes && ftruncate(fd, (off_t)bytes) != 0))
        die("the board");
    board = mmap(NULL, bytes ? bytes : (size_t)have, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED)
        die("the board");
    close(fd);
}

static enum kind kind_draw(void)
{
    static const enum kind often[] = {KILL, STOP};
    static const enum kind seldom[] = {KILL_LOCKED, STOP_LOCKED, KILL_IDLE, KILL_YOUNG, BOTH};
    const uint64_t drawn = faults_random(&seed, 0, 9);

    return drawn < 5 ? seldom[drawn] : often[drawn % 2];
}

int main(int argc, char **argv)
{
    unsigned faults;
    int64_t begun_ns;

    if (argc == 6 && strcmp(argv[1], "--process") == 0) {
        board_map(argv[2], 0);
        return faults_process(board, (uint32_t)atoi(argv[4]), argv[3], strtoull(argv[5], NULL, 10));
    }
    if (argc != 6)
        return 2;
    snprintf(segment_path, sizeof(segment_path), "%s/segment", argv[1]);
    snprintf(board_path, sizeof(board_path), "%s/board", argv[1]);
    if (readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) < 0)
        die("/proc/self/exe");
    faults = (unsigned)atoi(argv[2]);
    seed = strtoull(argv[3], NULL, 10);
    ledgers_max = FAULTS_SEATS + 2 * faults;
    board_map(board_path, sizeof(*board) + ledgers_max * sizeof(struct faults_ledger));
    view.board = board;
    board->wire_Bps = strtoull(argv[5], NULL, 10);
    if (mfs_host_open(segment_path, &view.host) != 0 ||
        mfs_port_open(view.host, FAULTS_PORT, MFS_EGRESS, &view.port) != 0)
        die("the segment");
    begun_ns = mfs_now_ns();
    for (uint32_t i = 0; i < FAULTS_PROCESSES; i++)
        spawn(i);
    for (uint32_t i = 0; i < FAULTS_PROCESSES; i++)
        await_up(i);
    for (unsigned i = 0; i < faults; i++) {
        if (i % 4 == 0)
            fault(NONE, 5);
        fault(kind_draw(), atoll(argv[4]));
    }
    end(mfs_now_ns() - begun_ns);
    mfs_port_close(view.port);
    mfs_host_close(view.host);
    return 0;
}
