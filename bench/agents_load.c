/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the senders of several hosts want of each other's ports, without senders: for
 * bench/agents.py.
 *
 *   agents_load incast|all SECONDS CHANGES SEGMENT...
 *
 * Host i is 127.0.0.(i+1). In incast all others want the port of the first, in all each wants that
 * of each. Once all know each other "ready" is said. Then the most urgent level of one of a host's
 * claims changes CHANGES times a second, for so long, and how often it did is said.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/far_tables.h"

#define HOSTS_MAX 64u
#define STEP_NS INT64_C(1000000)
#define WAIT_NS INT64_C(60000000000)
#define MS INT64_C(1000000)

struct load {
    struct mfs_host *host;
    uint32_t count;
    struct mfs_claim_cell *rows[HOSTS_MAX];
    double owed; /* changes */
};

static struct load loads[HOSTS_MAX];
static uint32_t hosts;

static void die(const char *what)
{
    fprintf(stderr, "agents_load: %s\n", what);
    exit(1);
}

static void nap(int64_t until_ns)
{
    const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* The far port of host `from` that is the ingress of host `to`; MFS_FAR_NONE. */
static uint32_t far_of(const struct load *load, uint32_t to)
{
    char wanted[64], name[MFS_FAR_NAME_MAX + 1];

    snprintf(wanted, sizeof(wanted), "127.0.0.%u eth0 in", to + 1);
    for (uint32_t i = 0; i < MFS_FAR_PORTS_MAX; i++) {
        if (mfs_far_name(&load->host->segment->far, i, name) && strcmp(name, wanted) == 0)
            return i;
    }
    return MFS_FAR_NONE;
}

static void claim_begin(struct load *load, uint32_t to, int64_t ends_ns)
{
    struct mfs_claim_cell *row = &load->host->segment->far.claims[load->count];
    uint32_t far;

    while ((far = far_of(load, to)) == MFS_FAR_NONE) {
        if (mfs_now_ns() > ends_ns)
            die("hosts do not know each other");
        nap(mfs_now_ns() + 10 * MS);
    }
    mfs_set(&row->sender, UINT32_MAX);
    mfs_set(&row->far, far);
    mfs_set(&row->rank, mfs_rank_make(2, mfs_now_ns()));
    mfs_set(&row->waiting_bytes, 1 << 20);
    mfs_set(&row->inflight_bytes, 256 << 10);
    mfs_publish(&row->owner, load->host->process + 1);
    mfs_far_row_used(&load->host->segment->far, row);
    load->rows[load->count++] = row;
}

static void change(struct load *load)
{
    struct mfs_claim_cell *row = load->rows[rand() % (int)load->count];
    const unsigned level = (mfs_rank_level(mfs_get(&row->rank)) + 1 + (unsigned)rand() % 2) % 3;

    mfs_set(&row->rank, mfs_rank_make(level, mfs_now_ns() + rand() % 500 * MS));
    mfs_set(&row->inflight_bytes, (uint64_t)(rand() % 512) << 10);
    mfs_add(&load->host->segment->far.ports[mfs_get(&row->far)].done_bytes, 64 << 10);
}

static uint32_t step(struct load *load, double changes, int64_t now_ns)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < load->count; i++)
        mfs_publish(&load->rows[i]->stamp_ns, now_ns);
    for (load->owed += load->count > 0 ? changes : 0; load->owed >= 1; load->owed--) {
        change(load);
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    const double changes = argc > 3 ? atof(argv[3]) * (double)STEP_NS / 1e9 : 0;
    int64_t now_ns, ends_ns = mfs_now_ns() + WAIT_NS;
    unsigned long done = 0;
    uint32_t place;

    if (argc < 6 || argc - 4 > (int)HOSTS_MAX)
        die("incast|all SECONDS CHANGES SEGMENT...");
    hosts = (uint32_t)argc - 4;
    for (uint32_t i = 0; i < hosts; i++) {
        if (mfs_host_open(argv[i + 4], &loads[i].host) != 0 ||
            mfs_far_own_enter(loads[i].host, 1000 + i, "eth0", &place) != 0)
            die("no segment");
    }
    for (uint32_t i = 0; i < hosts; i++) {
        for (uint32_t to = 0; to < (strcmp(argv[1], "all") == 0 ? hosts : 1); to++) {
            if (to != i)
                claim_begin(&loads[i], to, ends_ns);
        }
    }
    puts("ready");
    fflush(stdout);
    now_ns = mfs_now_ns();
    for (ends_ns = now_ns + (int64_t)(atof(argv[2]) * 1e9); now_ns < ends_ns; now_ns += STEP_NS) {
        nap(now_ns);
        for (uint32_t i = 0; i < hosts; i++)
            done += step(&loads[i], changes, mfs_now_ns());
    }
    printf("%lu\n", done);
    return 0;
}
