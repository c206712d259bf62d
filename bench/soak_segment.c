/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in use of a segment, for bench/soak.py: for each line that comes in, a line with the
 * numbers of processes (those that are alive, and the places in use: that of a dead one is kept
 * until another one needs it), ports, senders and requests, then the counters by name.
 *
 *   soak_segment PATH
 *
 * A line that begins with "e" is the end of a run: what the dead have left is given back first.
 */
#include <stdio.h>
#include <string.h>

#include "host/attach.h"
#include "host/host.h"

int main(int argc, char **argv)
{
    struct mfs_host *host;
    char line[16];

    if (argc != 2 || mfs_host_open(argv[1], &host) != 0) {
        fputs("soak_segment: cannot open the segment\n", stderr);
        return 1;
    }
    while (fgets(line, sizeof(line), stdin)) {
        const struct mfs_segment *segment = host->segment;
        unsigned alive = 0, processes = 0, ports = 0, senders = 0;

        if (line[0] == 'e' && mfs_segment_lock(host) == 0) {
            mfs_process_reap_locked(host);
            mfs_segment_unlock(host);
        }
        for (unsigned i = 0; i < MFS_PROCESSES_MAX; i++) {
            alive += mfs_process_alive(host, i);
            processes += atomic_load(&segment->processes[i].used) != 0;
        }
        for (unsigned i = 0; i < MFS_PORTS_MAX; i++) {
            ports += atomic_load(&segment->ports[i].used) != 0;
            for (unsigned j = 0; j < MFS_SENDERS_MAX; j++)
                senders += atomic_load(&segment->ports[i].senders[j].owner) != 0;
        }
        printf("alive %u processes %u ports %u senders %u requests %u", alive, processes, ports,
               senders, mfs_request_count(host));
        for (int i = 0; i < MFS_COUNT_LAST; i++)
            printf(" %s %llu", mfs_counter_name((enum mfs_counter)i),
                   (unsigned long long)mfs_count_total(host, (enum mfs_counter)i));
        puts("");
        fflush(stdout);
    }
    mfs_host_close(host);
    return 0;
}
