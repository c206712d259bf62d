/* SPDX-License-Identifier: Apache-2.0 */
#include "host/identity.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/name.h"

_Static_assert(MFS_HOST_NAME_MAX + 1 == MFS_HOST_NAME_WORDS * sizeof(uint64_t), "it fits");

uint64_t mfs_identity_namespace(void)
{
    struct stat status;

    return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t)status.st_ino : 0;
}

void mfs_identity_write(struct mfs_process_cell *cell)
{
    uint64_t words[MFS_HOST_NAME_WORDS] = {0};
    struct utsname system;

    if (uname(&system) == 0)
        mfs_name_clean((char *)words, sizeof(words), system.nodename, sizeof(system.nodename));
    for (size_t i = 0; i < MFS_HOST_NAME_WORDS; i++)
        mfs_set(&cell->host[i], words[i]);
    mfs_set(&cell->pid_namespace, mfs_identity_namespace());
    mfs_set(&cell->pid, getpid());
}

void mfs_identity_read(const struct mfs_process_cell *cell, struct mfs_look_process *process)
{
    uint64_t words[MFS_HOST_NAME_WORDS];

    for (size_t i = 0; i < MFS_HOST_NAME_WORDS; i++)
        words[i] = mfs_get(&cell->host[i]);
    mfs_name_clean(process->host, sizeof(process->host), (const char *)words, sizeof(words));
    process->pid = mfs_get(&cell->pid);
    process->pid_namespace = mfs_get(&cell->pid_namespace);
}

void mfs_identity_text(const struct mfs_process_cell *cell, char *text, size_t size)
{
    struct mfs_look_process process;

    mfs_identity_read(cell, &process);
    if (process.pid_namespace == mfs_identity_namespace() || !*process.host)
        snprintf(text, size, "process %d", (int)process.pid);
    else
        snprintf(text, size, "process %d of %s", (int)process.pid, process.host);
}
