/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: the member of a port (core/weigh.h) that a process belongs to. That is its
 * pod or container, or on the host itself its cgroup: a service, or a session of a user.
 *
 *   an IPC namespace of its own   the pod: its containers have one together
 *   that of the host              the cgroup, by its path
 *
 * Its weight is MFS_WEIGHT, or else the io.weight of its cgroup, or else 100.
 */
#ifndef MFS_HOST_MEMBER_H
#define MFS_HOST_MEMBER_H

#include <stdint.h>

struct mfs_member {
    uint64_t key; /* not 0 */
    uint32_t weight; /* 1..MFS_WEIGHT_MAX */
};

/* process: "/proc/self"; cgroups: "/sys/fs/cgroup". Reads files. */
void mfs_member_read(const char *process, const char *cgroups, uint32_t configured,
                     struct mfs_member *member);

#endif
