/* SPDX-License-Identifier: Apache-2.0 */
/* Two communicators of one process that send to each other over loop_ucp; on a clock that stands
 * still between two looks at it. */
#ifndef MFS_TESTS_NCCL_WIRE_H
#define MFS_TESTS_NCCL_WIRE_H

#include "loop_ucp.h"
#include "nccl/inner.h"
#include "nccl/wire.h"

#define BUFFER_BYTES ((size_t)1 << 20)
#define GUARD_BYTES ((size_t)4096)

struct side {
    void *ctx, *listener, *send, *recv, *send_mr, *recv_mr;
    char handle[MFS_NCCL_HANDLE_BYTES]; /* of the other side's listener, as connect() is given it */
    char *out, *in; /* BUFFER_BYTES each, with guards around `in` */
};

extern const struct mfs_nccl_table_v12 *net;
extern struct loop_hooks *hooks;
extern char warnings[65536]; /* what the plug-in has said */
extern char infos[65536];
extern char now_doing[128]; /* told when the program ends badly */

#define DIE(...)                                                                                   \
    do {                                                                                           \
        fprintf(stderr, "%s: %s:%d: ", now_doing, __func__, __LINE__);                             \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        abort();                                                                                   \
    } while (0)
#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            DIE("%s", #condition);                                                                 \
    } while (0)

/* What is done now; it ends the program when it hangs. */
__attribute__((format(printf, 1, 2))) void begin(const char *format, ...);
/* Init both, and let both listen. */
void sides_open(struct side sides[2]);
/* Connect them both ways; false when one could not. */
bool sides_connect(struct side sides[2]);
/* Close what is open, finalize, and look at the guards. */
void sides_close(struct side sides[2]);
/* Until it is done or has failed, `rounds` at most, while the other side's request (may be NULL)
 * is tested as well: the result, or -1 for neither. *size: as test() says. */
int wait_for(void *request, void *other, unsigned rounds, int *size);

void forged(const char *only);
void strangers(void);
void endings(void);
void fuzz(uint64_t from, uint64_t count);

#endif
