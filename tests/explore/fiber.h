/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines, switched in a few instructions: a run of the explorer switches some ten thousand
 * times. Other processors than x86-64 have swapcontext, which asks the kernel each time.
 */
#ifndef MFS_TESTS_EXPLORE_FIBER_H
#define MFS_TESTS_EXPLORE_FIBER_H

#include <stddef.h>

#ifndef __x86_64__
#define FIBER_CONTEXT
#include <ucontext.h>
#endif

struct fiber {
#ifdef FIBER_CONTEXT
    ucontext_t context;
#else
    void *top; /* of its stack, where its registers lie while it does not run */
#endif
    void (*run)(void);
    const void *stack; /* of the thread's own fiber, ASan finds it out */
    size_t bytes;
};

/* It begins with run(), which does not return, when it is switched to first. */
void fiber_make(struct fiber *fiber, char *stack, size_t bytes, void (*run)(void));
/* By `from`, which goes on here when it is switched to. */
void fiber_switch(struct fiber *from, struct fiber *to);

#endif
