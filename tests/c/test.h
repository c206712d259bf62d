/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test program is a table of cases named function__case, each run in a process of its
 * own (so it may set MFS_ variables, die, or leave anything behind). Exit status: 0 all
 * passed, 1 one failed, 77 one could not run here (and none failed). An argument picks
 * the cases whose names contain it.
 */
#ifndef MFS_TESTS_TEST_H
#define MFS_TESTS_TEST_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77

struct test {
    const char *name;
    void (*run)(void);
};

#define TEST(name) {#name, name}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        exit(1);                                                                                   \
    } while (0)
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            FAIL("%s", #condition);                                                                \
    } while (0)
/* Two numbers, printed when they differ; `at` says which row of a table. */
#define CHECK_EQ_AT(a, b, at)                                                                      \
    do {                                                                                           \
        int64_t a_ = (int64_t)(a), b_ = (int64_t)(b);                                              \
        if (a_ != b_)                                                                              \
            FAIL("row %" PRId64 ": %s is %" PRId64 ", not %" PRId64, (int64_t)(at), #a, a_, b_);   \
    } while (0)
#define CHECK_EQ(a, b) CHECK_EQ_AT(a, b, 0)
#define SKIP(reason)                                                                               \
    do {                                                                                           \
        fprintf(stderr, "skipped: %s\n", reason);                                                  \
        exit(SKIPPED);                                                                             \
    } while (0)

/* xorshift64*: the same numbers in every run. */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static inline int test_main(const struct test *tests, size_t count, int argc, char **argv)
{
    bool failed = false, skipped = false;

    for (size_t i = 0; i < count; i++) {
        int status;
        pid_t child;

        if (argc > 1 && !strstr(tests[i].name, argv[1]))
            continue;
        fflush(NULL);
        child = fork();
        if (child == 0) {
            tests[i].run();
            exit(0);
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
            skipped = true;
        } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "FAILED %s (status 0x%x)\n", tests[i].name, (unsigned)status);
            failed = true;
        }
    }
    return failed ? 1 : skipped ? SKIPPED : 0;
}

#define TEST_MAIN(tests)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return test_main(tests, COUNT(tests), argc, argv);                                         \
    }

#endif
