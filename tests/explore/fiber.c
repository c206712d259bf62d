/* SPDX-License-Identifier: Apache-2.0 */
#include "fiber.h"

#include <stdint.h>
#include <string.h>

#include "asan.h"

#ifdef FIBER_CONTEXT

static void first_make(struct fiber *fiber, char *stack, size_t bytes, void (*run)(void))
{
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = bytes;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, run, 0);
}

static void swap(struct fiber *from, struct fiber *to)
{
    swapcontext(&from->context, &to->context);
}

#else

/* Puts the registers that a function must keep on its stack, and takes the other's from there. */
void fiber_swap(void **from, void *to);

#define FRAME_WORDS 8 /* six registers, where to return, and none to return to from there */
#define FRAME_RETURN 6
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".type fiber_swap, @function\n"
        "fiber_swap:\n"
        "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
        "ret\n"
        ".size fiber_swap, . - fiber_swap\n");

static void first_make(struct fiber *fiber, char *stack, size_t bytes, void (*run)(void))
{
    uintptr_t *frame = (uintptr_t *)(void *)(stack + bytes) - FRAME_WORDS;

    memset(frame, 0, FRAME_WORDS * sizeof(*frame));
    frame[FRAME_RETURN] = (uintptr_t)run;
    fiber->top = frame;
}

static inline void swap(struct fiber *from, struct fiber *to)
{
    fiber_swap(&from->top, to->top);
}

#endif

/* --- what all do --- */

static struct fiber *leaving, *entering;

static void begin(void)
{
    asan_stack_enter(NULL, &leaving->stack, &leaving->bytes);
    entering->run();
}

void fiber_make(struct fiber *fiber, char *stack, size_t bytes, void (*run)(void))
{
    asan_allow(stack, bytes); /* one that was killed may have left it in the middle */
    first_make(fiber, stack, bytes, begin);
    fiber->run = run;
    fiber->stack = stack;
    fiber->bytes = bytes;
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
    void *kept = NULL;

    asan_stack_leave(&kept, to->stack, to->bytes);
    leaving = from;
    entering = to;
    swap(from, to);
    asan_stack_enter(kept, &leaving->stack, &leaving->bytes);
}
