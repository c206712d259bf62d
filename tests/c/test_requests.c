/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "host.h"

static struct mfs_facts facts_of(int64_t number)
{
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.arrival_ns = facts.deadline_ns = facts.next_start_ns = facts.red_ns = number;
    facts.start_ns = facts.layer_ns = facts.p2d_layer_ns = number;
    facts.p2d_left_bytes = (uint64_t)number;
    return facts;
}

static void put__get_and_drop(void)
{
    struct mfs_host *host = host_private();
    struct mfs_facts facts = facts_of(5), seen = facts_of(99);
    uint64_t version = mfs_request_version(host);

    CHECK_EQ(mfs_request_get(host, 1, &seen), -ENOENT);
    CHECK_EQ(seen.deadline_ns, 99); /* set on success only */
    CHECK_EQ(mfs_request_put(host, MFS_REQUEST_NONE, "none", &facts), -EINVAL);
    CHECK_EQ(mfs_request_version(host), version);
    CHECK_EQ(mfs_request_put(host, 1, "one", &facts), 0);
    CHECK_EQ(mfs_request_version(host), version + 1);
    facts.deadline_ns = 6;
    CHECK_EQ(mfs_request_put(host, 1, NULL, &facts), 0);
    CHECK_EQ(mfs_request_count(host), 1);
    CHECK_EQ(mfs_request_get(host, 1, &seen), 0);
    CHECK(memcmp(&seen, &facts, sizeof(facts)) == 0);
    CHECK_EQ(mfs_request_drop(host, 1), 0);
    CHECK_EQ(mfs_request_drop(host, 1), -ENOENT);
    CHECK_EQ(mfs_request_get(host, 1, &seen), -ENOENT);
    CHECK_EQ(mfs_request_count(host), 0);
    mfs_host_close(host);
}

static void put_all__one_version(void)
{
    struct mfs_host *host = host_private();
    uint64_t keys[100], version = mfs_request_version(host);
    const char *names[100];
    struct mfs_facts facts[100], seen;

    for (int i = 0; i < 100; i++) {
        keys[i] = (uint64_t)i + 1;
        names[i] = i % 2 ? "odd" : NULL;
        facts[i] = facts_of(i);
    }
    CHECK_EQ(mfs_request_put_all(host, keys, names, facts, 100), 0);
    CHECK_EQ(mfs_request_version(host), version + 1);
    CHECK_EQ(mfs_request_count(host), 100);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ_AT(mfs_request_get(host, keys[i], &seen), 0, i);
        CHECK_EQ_AT(seen.red_ns, i, i);
    }
    CHECK_EQ(mfs_request_put_all(host, keys, NULL, facts, 0), 0);
    CHECK_EQ(mfs_request_version(host), version + 1); /* nothing, so no change */
    keys[99] = MFS_REQUEST_NONE;
    keys[0] = 1000;
    CHECK_EQ(mfs_request_put_all(host, keys, NULL, facts, 100), -EINVAL);
    CHECK_EQ(mfs_request_count(host), 100);
    mfs_host_close(host);
}

static uint64_t key_of(uint64_t number)
{
    char name[32];

    snprintf(name, sizeof(name), "request-%" PRIu64, number);
    return mfs_request_key(name);
}

/* As many as there should be, whatever the names. */
static void put__table_is_full(void)
{
    struct mfs_host *host = host_private();
    struct mfs_facts facts = facts_of(1);
    uint64_t keys[2] = {key_of(MFS_REQUESTS_MAX), key_of(7)};

    for (uint64_t i = 0; i < MFS_REQUESTS_MAX; i++)
        CHECK_EQ_AT(mfs_request_put(host, key_of(i), NULL, &facts), 0, i);
    CHECK_EQ(mfs_request_count(host), MFS_REQUESTS_MAX);
    /* of several, those that fit are written */
    facts = facts_of(2);
    CHECK_EQ(mfs_request_put_all(host, keys, NULL, (struct mfs_facts[2]){facts, facts}, 2),
             -ENOSPC);
    CHECK_EQ(mfs_request_get(host, keys[0], &facts), -ENOENT);
    CHECK_EQ(mfs_request_get(host, keys[1], &facts), 0);
    CHECK_EQ(facts.deadline_ns, 2);
    CHECK_EQ(mfs_request_drop(host, key_of(5)), 0);
    CHECK_EQ(mfs_request_put(host, keys[0], NULL, &facts), 0);
    for (uint64_t i = 0; i <= MFS_REQUESTS_MAX; i++)
        CHECK_EQ_AT(mfs_request_get(host, key_of(i), &facts), i == 5 ? -ENOENT : 0, i);
    mfs_host_close(host);
}

/* The count is a word of the memory, too. */
static void put__whatever_the_count_says(void)
{
    static const uint32_t counts[] = {0, 3, MFS_REQUESTS_MAX, UINT32_MAX};
    struct mfs_host *host = host_private();
    struct mfs_facts facts = facts_of(1);

    for (size_t i = 0; i < COUNT(counts); i++) {
        host->segment->request_count = counts[i];
        CHECK(mfs_request_count(host) <= MFS_REQUESTS_MAX);
        CHECK_EQ_AT(mfs_request_put(host, key_of(i), NULL, &facts), 0, i);
    }
    mfs_host_close(host);
}

/* Spans and sizes that no sum of times leaves, and a name that ends. */
static void get__what_nobody_has_put(void)
{
    static const int64_t extremes[] = {INT64_MIN, -1, INT64_MAX};
    struct mfs_host *host = host_private();
    struct mfs_facts facts = facts_of(1);
    struct mfs_request_cell *cell = NULL;
    char name[MFS_REQUEST_NAME_MAX + 1];

    CHECK_EQ(mfs_request_put(host, 1, "a\x1b[2J\xff", &facts), 0);
    mfs_request_name(host, 1, name);
    CHECK(strcmp(name, "a?[2J?") == 0);
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        if (host->segment->requests[i].key == 1)
            cell = &host->segment->requests[i];
    }
    for (size_t i = 0; i < MFS_NAME_WORDS; i++)
        cell->name[i] = UINT64_C(0x0a0a0a0a0a0a0a0a);
    for (size_t i = 0; i < COUNT(extremes); i++) {
        facts = facts_of(extremes[i]);
        facts.collective_ns = extremes[i];
        facts.p2d_left_bytes = UINT64_MAX;
        memcpy((void *)cell->words, &facts, sizeof(facts));
        CHECK_EQ(mfs_request_get(host, 1, &facts), 0);
        CHECK(facts.layer_ns >= 0 && facts.layer_ns <= INT64_C(1) << 60);
        CHECK(facts.collective_ns >= 0 && facts.p2d_layer_ns >= 0);
        CHECK(facts.p2d_left_bytes <= INT64_MAX);
    }
    mfs_request_name(host, 1, name);
    CHECK_EQ(strlen(name), MFS_REQUEST_NAME_MAX);
    CHECK(strspn(name, "?") == MFS_REQUEST_NAME_MAX);
    mfs_host_close(host);
}

/* Many requests come and go: the live ones are found, and no graves are left behind. */
static void drop__leaves_no_graves(void)
{
    struct mfs_host *host = host_private();
    struct mfs_facts facts, seen;
    uint64_t state = 3, live[9000] = {0};

    for (int step = 0; step < 50000; step++) {
        uint64_t *slot = &live[test_random(&state) % COUNT(live)];

        if (*slot) {
            CHECK_EQ(mfs_request_get(host, *slot, &seen), 0);
            CHECK_EQ((uint64_t)seen.deadline_ns, *slot);
            CHECK_EQ(mfs_request_drop(host, *slot), 0);
            CHECK_EQ(mfs_request_get(host, *slot, &seen), -ENOENT);
            *slot = 0;
        } else { /* so many that they get in each other's way */
            *slot = test_random(&state) >> 1;
            facts = facts_of((int64_t)*slot);
            CHECK_EQ(mfs_request_put(host, *slot, NULL, &facts), 0);
        }
    }
    for (size_t i = 0; i < COUNT(live); i++) {
        if (live[i]) {
            CHECK_EQ_AT(mfs_request_get(host, live[i], &seen), 0, i);
            CHECK_EQ_AT(mfs_request_drop(host, live[i]), 0, i);
        }
    }
    CHECK_EQ(mfs_request_count(host), 0);
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++)
        CHECK_EQ_AT(host->segment->requests[i].key, MFS_REQUEST_NONE, i);
    mfs_host_close(host);
}

/* --- readers and writers at once --- */

static _Atomic bool over;

static void *write_many(void *host)
{
    for (int64_t i = 1; i <= 3000; i++) {
        struct mfs_facts facts = facts_of(i);

        if (mfs_request_put(host, 1 + (uint64_t)i % 3, "name", &facts) != 0)
            return host;
        if (i % 7 == 0)
            (void)mfs_request_drop(host, 1 + (uint64_t)(i / 7) % 3);
    }
    return NULL;
}

static void *read_many(void *host)
{
    while (!over) {
        struct mfs_facts facts;

        if (mfs_request_get(host, 2, &facts) == 0 &&
            (facts.arrival_ns != facts.deadline_ns || facts.red_ns != facts.start_ns ||
             facts.deadline_ns != facts.layer_ns ||
             facts.p2d_left_bytes != (uint64_t)facts.arrival_ns))
            return host; /* half of one and half of another */
    }
    return NULL;
}

static void get__never_half_written(void)
{
    struct mfs_host *host = host_private();
    pthread_t writers[2], readers[2];
    void *failed;

    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&readers[i], NULL, read_many, host), 0);
        CHECK_EQ(pthread_create(&writers[i], NULL, write_many, host), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], &failed);
        CHECK(failed == NULL);
    }
    over = true;
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i], &failed);
        CHECK(failed == NULL);
    }
    mfs_host_close(host);
}

/* --- writers that die --- */

static void die_in_the_middle(const char *path)
{
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts = facts_of(7);
    struct mfs_request_cell *cell = NULL;

    if (mfs_request_put(host, 1, "kept", &facts) != 0 ||
        mfs_request_put(host, 2, "torn", &facts) != 0 || mfs_segment_lock(host) != 0)
        _exit(1);
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        if (host->segment->requests[i].key == 2)
            cell = &host->segment->requests[i];
    }
    atomic_fetch_add(&cell->sequence, 1); /* as half-way through a write */
}

static void put__after_a_writer_died_in_the_middle(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t child = child_start(die_in_the_middle, path);
    struct mfs_facts facts;

    CHECK_EQ(mfs_request_get(host, 2, &facts), -ENOENT);
    child_kill(child);
    facts = facts_of(8);
    CHECK_EQ(mfs_request_put(host, 3, "mine", &facts), 0); /* takes the mutex of the dead */
    CHECK_EQ(mfs_request_count(host), 2);
    CHECK_EQ(mfs_request_get(host, 1, &facts), 0);
    CHECK_EQ(mfs_request_get(host, 2, &facts), -ENOENT);
    CHECK_EQ(mfs_request_put(host, 2, "new", &facts), 0);
    CHECK_EQ(mfs_request_get(host, 2, &facts), 0);
    CHECK_EQ(mfs_request_count(host), 3);
    mfs_host_close(host);
    unlink(path);
}

static void fill_all_places(const char *path)
{
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts = facts_of(7);

    for (uint64_t i = 0; i < MFS_REQUESTS_MAX; i++) {
        if (mfs_request_put(host, key_of(i), "dead", &facts) != 0)
            _exit(1);
    }
}

static void put__takes_the_place_of_the_dead(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t child = child_start(fill_all_places, path);
    struct mfs_facts facts = facts_of(8);

    CHECK_EQ(mfs_request_put(host, key_of(MFS_REQUESTS_MAX), "mine", &facts), -ENOSPC);
    child_kill(child);
    CHECK_EQ(mfs_request_put(host, key_of(MFS_REQUESTS_MAX), "mine", &facts), 0);
    CHECK_EQ(mfs_request_count(host), 1);
    mfs_host_close(host);
    unlink(path);
}

static void progress__moves_layers_and_nothing_else(void)
{
    struct mfs_host *host = host_private();
    const uint64_t keys[] = {1, 2, 3}; /* 2 is not registered */
    struct mfs_facts facts = facts_of(7), seen;
    uint64_t version;

    CHECK_EQ(mfs_request_put(host, 1, "one", &facts), 0);
    CHECK_EQ(mfs_request_put(host, 3, "three", &facts), 0);
    version = mfs_request_version(host);
    CHECK_EQ(mfs_request_progress(host, keys, 3, 5, 100, 0, 0), 2);
    CHECK_EQ(mfs_request_version(host), version + 1);
    facts.layer_now = 5;
    facts.layer_since_ns = 100;
    CHECK_EQ(mfs_request_get(host, 3, &seen), 0);
    CHECK(memcmp(&seen, &facts, sizeof(facts)) == 0);
    CHECK_EQ(mfs_request_progress(host, keys, 1, 6, 110, 9, 2), 1);
    facts.layer_now = 6;
    facts.layer_since_ns = 110;
    facts.layer_ns = 9;
    facts.collective_ns = 2;
    CHECK_EQ(mfs_request_get(host, 1, &seen), 0);
    CHECK(memcmp(&seen, &facts, sizeof(facts)) == 0);
    CHECK_EQ(mfs_request_progress(host, keys + 1, 1, 6, 110, 9, 2), 0);
    CHECK_EQ(mfs_request_get(host, 2, &seen), -ENOENT);
    CHECK_EQ(mfs_request_count(host), 2);
    mfs_host_close(host);
}

static void key__is_never_none(void)
{
    CHECK(mfs_request_key("") != MFS_REQUEST_NONE);
    CHECK(mfs_request_key("a") != mfs_request_key("b"));
    CHECK(mfs_request_key("a") == UINT64_C(0xaf63dc4c8601ec8c)); /* FNV-1a, as others compute it */
}

static const struct test tests[] = {
    TEST(put__get_and_drop),
    TEST(put_all__one_version),
    TEST(put__table_is_full),
    TEST(put__whatever_the_count_says),
    TEST(get__what_nobody_has_put),
    TEST(drop__leaves_no_graves),
    TEST(get__never_half_written),
    TEST(put__after_a_writer_died_in_the_middle),
    TEST(put__takes_the_place_of_the_dead),
    TEST(progress__moves_layers_and_nothing_else),
    TEST(key__is_never_none),
};

TEST_MAIN(tests)
