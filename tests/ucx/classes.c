/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two connected workers of one process over TCP, and the DSCP of its sockets while puts are under
 * way. Each put is a word: its name, the largest DSCP that a socket had meanwhile, and the
 * largest when it was over.
 *
 *     classes [refused] urgent|bulk|mixed...
 *
 *   urgent   a collective: level 0
 *   bulk     of stage p2d without a deadline: one of the last levels
 *   small    8 bytes, urgent, behind each other
 *   mixed    bulk, and an urgent one behind it: the word is what the sockets had as that was over
 *   refused  the system refuses to set a DSCP from now on
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "host/host.h"
#include "pair.h"

#define FDS 256

static int dscp_of(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    int value = 0, protocol = 0;

    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0)
        return 0;
    size = sizeof(protocol);
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != IPPROTO_TCP)
        return 0;
    size = sizeof(value);
    return getsockopt(fd, IPPROTO_IP, IP_TOS, &value, &size) == 0 ? value >> 2 : 0;
}

static int largest_dscp(void)
{
    int largest = 0;

    for (int fd = 3; fd < FDS; fd++)
        largest = dscp_of(fd) > largest ? dscp_of(fd) : largest;
    return largest;
}

/* Every setsockopt of IP_TOS fails with EPERM. */
static void refuse(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_IP, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IP_TOS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static ucs_status_ptr_t post(uint32_t stage, size_t at, size_t bytes)
{
    const struct mfs_tag tag = {0, 0, stage};
    const ucp_request_param_t plain = {0};
    ucs_status_ptr_t request;

    mfs_tag_set(&tag);
    request =
        ucp_put_nbx(sides[0].ep, sides[0].memory + at, bytes, remote(at), sides[0].rkey, &plain);
    mfs_tag_set(NULL);
    CHECK(!UCS_PTR_IS_ERR(request));
    return request;
}

/* Until it is over: the largest DSCP of a socket. */
static int wait_and_look(ucs_status_ptr_t request)
{
    int largest = 0;

    if (!request)
        return 0;
    while (ucp_request_check_status(request) == UCS_INPROGRESS) {
        const int now = largest_dscp();

        largest = now > largest ? now : largest;
        pair_progress();
    }
    CHECK_OK(ucp_request_check_status(request));
    ucp_request_free(request);
    return largest;
}

static void whole(const char *name, uint32_t stage)
{
    const int largest = wait_and_look(post(stage, 0, MEMORY_BYTES));

    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, MEMORY_BYTES));
    printf("%s:%d:%d ", name, largest, largest_dscp());
}

static void small(void)
{
    int largest = 0;

    for (size_t at = 0; at < 4096; at += 8) {
        const int now = wait_and_look(post(MFS_STAGE_COLLECTIVE, at, 8));

        largest = now > largest ? now : largest;
    }
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, 4096));
    printf("small:%d:%d ", largest, largest_dscp());
}

static void mixed(void)
{
    const size_t half = MEMORY_BYTES / 2;
    ucs_status_ptr_t bulk = post(MFS_STAGE_P2D, 0, half);
    ucs_status_ptr_t urgent = post(MFS_STAGE_COLLECTIVE, half, half);
    const int largest = wait_and_look(urgent);
    const int behind = largest_dscp(); /* the rest of the bulk is under way */

    CHECK(ucp_request_check_status(bulk) == UCS_INPROGRESS);
    (void)wait_and_look(bulk);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, MEMORY_BYTES));
    printf("mixed:%d:%d ", largest, behind);
}

int main(int argc, char **argv)
{
    const struct pair_options options = {.mode = UCS_THREAD_MODE_SINGLE};

    pair_open(&options);
    for (int i = 1; i < argc; i++) {
        pair_fill((unsigned)i);
        if (strcmp(argv[i], "refused") == 0)
            refuse();
        else if (strcmp(argv[i], "urgent") == 0)
            whole("urgent", MFS_STAGE_COLLECTIVE);
        else if (strcmp(argv[i], "bulk") == 0)
            whole("bulk", MFS_STAGE_P2D);
        else if (strcmp(argv[i], "small") == 0)
            small();
        else
            mixed();
    }
    pair_close();
    return 0;
}
