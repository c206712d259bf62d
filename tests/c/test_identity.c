/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of containers: their numbers are their own, and who lives is known all the same. */
#include "host/identity.h"

#include "mounts.h"

/* Process 1 of a process namespace, on a host that it calls decode-0. */
static void take_part_in_a_pod(const char *path)
{
    pid_t inside;
    int ends[2];
    char byte;

    if (unshare(CLONE_NEWPID | CLONE_NEWUTS) != 0 &&
        unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS) != 0)
        SKIP("no process namespaces here");
    CHECK_EQ(sethostname("decode-\033[0", 11), 0);
    CHECK_EQ(pipe(ends), 0);
    inside = fork();
    CHECK(inside >= 0);
    if (inside == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        take_part(path);
        CHECK_EQ(write(ends[1], "", 1), 1);
        for (;;)
            pause();
    }
    CHECK_EQ(read(ends[0], &byte, 1), 1);
}

static void read__of_another_namespace(void)
{
    static struct mfs_look found;
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts;
    const struct mfs_look_process *other;
    char text[128];
    pid_t child = child_start(take_part_in_a_pod, path);

    CHECK_EQ(mfs_look_take(path, &found), 0);
    CHECK_EQ(found.process_count, 2);
    other = &found.processes[1];
    CHECK_EQ(other->pid, 1);
    CHECK(strcmp(other->host, "decode-?[0") == 0);
    CHECK(other->pid_namespace != found.pid_namespace && found.pid_namespace != 0);
    CHECK_EQ(found.processes[0].pid, getpid());
    CHECK_EQ(found.processes[0].pid_namespace, found.pid_namespace);
    mfs_identity_text(&host->segment->processes[1], text, sizeof(text));
    CHECK(strcmp(text, "process 1 of decode-?[0") == 0);
    mfs_identity_text(&host->segment->processes[0], text, sizeof(text));
    CHECK(strchr(text, 'o') && !strstr(text, " of "));

    /* it lives, whatever our process 1 does, and when it dies it is missed */
    mfs_process_reap(host);
    CHECK(mfs_process_alive(host, 1));
    CHECK_EQ(mfs_request_get(host, 1, &facts), 0);
    child_kill(child);
    while (mfs_process_alive(host, 1)) /* killed by its parent's death */
        CHECK(waitpid(-1, NULL, WNOHANG) <= 0);
    mfs_process_reap(host);
    CHECK_EQ(mfs_request_get(host, 1, &facts), -ENOENT);
    mfs_host_close(host);
    unlink(path);
}

static const struct test tests[] = {
    TEST(read__of_another_namespace),
};

TEST_MAIN(tests)
