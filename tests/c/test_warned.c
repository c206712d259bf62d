/* SPDX-License-Identifier: Apache-2.0 */
/* What was warned of, each kind once: how often, by whom, in which words last. */
#include <pthread.h>

#include "host.h"
#include "host/log.h"
#include "host/warned.h"

static struct mfs_warned found[MFS_WARNED_MAX];

static unsigned read_all(struct mfs_host *host)
{
    unsigned count = 0;

    for (uint32_t i = 0; i < MFS_WARNED_MAX; i++)
        count += mfs_warned_read(host->segment, i, &found[count]);
    return count;
}

static const struct mfs_warned *that_begins(unsigned count, const char *words)
{
    for (unsigned i = 0; i < count; i++) {
        if (strncmp(found[i].text, words, strlen(words)) == 0)
            return &found[i];
    }
    return NULL;
}

static void note__each_kind_once(void)
{
    struct mfs_host *host = host_private();
    const int64_t before_ns = mfs_now_ns();
    const struct mfs_warned *one;
    unsigned count;

    CHECK_EQ(read_all(host), 0);
    mfs_warned_note(host, "%s is late", "a is late");
    mfs_warned_note(host, "%s is late", "b is late");
    mfs_warned_note(host, "no room", "no\nroom\x1b[31m");
    mfs_warned_note(NULL, "nobody", "nobody");
    count = read_all(host);
    CHECK_EQ(count, 2);
    one = that_begins(count, "b is late");
    CHECK(one && one->count == 2 && one->pid == getpid());
    CHECK(one->first_ns >= before_ns && one->last_ns >= one->first_ns);
    one = that_begins(count, "no?room?[31m");
    CHECK(one && one->count == 1 && one->first_ns == one->last_ns);
    mfs_host_close(host);
}

/* Kinds without a place of their own are counted together, and long words are cut. */
static void note__more_than_there_is_room_for(void)
{
    struct mfs_host *host = host_private();
    char text[400];
    uint64_t sum = 0;
    unsigned count;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < 100; i++) {
        char kind[24];

        snprintf(kind, sizeof(kind), "kind %d", i);
        mfs_warned_note(host, kind, text);
    }
    count = read_all(host);
    CHECK_EQ(count, MFS_WARNED_MAX);
    for (unsigned i = 0; i < count; i++) {
        sum += found[i].count;
        CHECK_EQ(strlen(found[i].text), MFS_WARNED_TEXT_MAX);
    }
    CHECK_EQ(sum, 100);
    CHECK_EQ(found[MFS_WARNED_MAX - 1].count, 100 - (MFS_WARNED_MAX - 1));
    mfs_host_close(host);
}

/* One that died while it wrote: the words stay, and the count goes on. */
static void note__beside_one_that_died(void)
{
    struct mfs_host *host = host_private();
    unsigned count;

    mfs_warned_note(host, "kind", "words");
    for (uint32_t i = 0; i < MFS_WARNED_MAX; i++)
        mfs_add(&host->segment->warned[i].sequence, 1);
    mfs_warned_note(host, "kind", "others");
    count = read_all(host);
    CHECK(count == 1 && found[0].count == 2 && strcmp(found[0].text, "words") == 0);
    mfs_host_close(host);
}

#define EACH 5000

static struct mfs_host *shared;

static void *note_many(void *text)
{
    for (int i = 0; i < EACH; i++)
        mfs_warned_note(shared, "kind", text);
    return NULL;
}

static void note__by_several_at_once(void)
{
    pthread_t threads[2];
    unsigned count;

    shared = host_private();
    CHECK_EQ(pthread_create(&threads[0], NULL, note_many, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, note_many, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    count = read_all(shared);
    CHECK(count == 1 && found[0].count == 2 * EACH && strlen(found[0].text) == 32);
    CHECK(strspn(found[0].text, "a") == 32 || strspn(found[0].text, "b") == 32);
    mfs_host_close(shared);
}

/* The log: whatever MFS_LOG is, and of the segment of the process. */
static void log__keeps_its_warnings(void)
{
    static _Atomic bool said;
    struct mfs_host *host;
    unsigned count;

    setenv("MFS_LOG", "0", 1);
    setenv("MFS_SEGMENT", "/nowhere/at/all", 1);
    mfs_log(MFS_LOG_WARN, "too early: %d", 1);
    host = mfs_host_get();
    CHECK(host != NULL);
    mfs_log(MFS_LOG_WARN, "number %d", 1);
    mfs_log(MFS_LOG_WARN, "number %d", 2);
    mfs_log(MFS_LOG_INFO, "not a warning");
    for (int i = 0; i < 3; i++)
        mfs_warn_once(&said, "once");
    count = read_all(host);
    CHECK_EQ(count, 2);
    CHECK(that_begins(count, "number 2") && that_begins(count, "number 2")->count == 2);
    CHECK(that_begins(count, "once") && that_begins(count, "once")->count == 3);
}

static const struct test tests[] = {
    TEST(note__each_kind_once),       TEST(note__more_than_there_is_room_for),
    TEST(note__beside_one_that_died), TEST(note__by_several_at_once),
    TEST(log__keeps_its_warnings),
};

TEST_MAIN(tests)
