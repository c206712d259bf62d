/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts that processes are connected to: who tells what, who has gone, and what rubbish does. */
#include "host/contact_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/atomic.h"
#include "host/contact_set.h"

#include "host.h"

static struct mfs_contact at(uint32_t number)
{
    struct mfs_contact contact = {{0}, 0};

    contact.ip[10] = contact.ip[11] = 0xff;
    contact.ip[12] = 10;
    memcpy(contact.ip + 13, &number, 3);
    return contact;
}

/* Of `count` addresses from `first` on. */
static int tell(struct mfs_host *host, uint32_t teller, uint32_t first, uint32_t count)
{
    struct mfs_contact contacts[MFS_CONTACTS_OF_ONE + 1];

    for (uint32_t i = 0; i < count; i++)
        contacts[i] = at(first + i);
    return mfs_contacts_tell(host, teller, contacts, count);
}

static uint32_t all(struct mfs_host *host)
{
    static struct mfs_contact contacts[MFS_CONTACTS_MAX];

    return mfs_contacts(host, contacts, MFS_CONTACTS_MAX);
}

/* --- telling --- */

static void tell__comes_stays_and_goes(void)
{
    struct mfs_host *host = host_private();
    struct mfs_contact found[4], one = at(2);
    uint64_t version;

    CHECK_EQ(all(host), 0);
    CHECK_EQ(tell(host, MFS_CONTACT_UCX, 1, 3), 0);
    CHECK_EQ(all(host), 3);
    version = mfs_contacts_version(host);
    CHECK_EQ(tell(host, MFS_CONTACT_UCX, 1, 3), 0);
    CHECK_EQ(mfs_contacts_version(host), version); /* nothing has changed */
    CHECK_EQ(tell(host, MFS_CONTACT_UCX, 2, 1), 0);
    CHECK(mfs_contacts_version(host) != version);
    CHECK_EQ(mfs_contacts(host, found, 4), 1);
    CHECK(memcmp(found[0].ip, one.ip, sizeof(one.ip)) == 0);
    CHECK_EQ(found[0].teller, MFS_CONTACT_UCX);
    CHECK_EQ(tell(host, MFS_CONTACT_UCX, 0, 0), 0);
    CHECK_EQ(all(host), 0);
    mfs_host_close(host);
}

static void tell__the_same_address_counts_once(void)
{
    struct mfs_host *host = host_private();
    const struct mfs_contact contacts[] = {at(1), at(2), at(1), at(1)};

    CHECK_EQ(mfs_contacts_tell(host, MFS_CONTACT_UCX, contacts, 4), 0);
    CHECK_EQ(all(host), 2);
    CHECK_EQ(mfs_contacts_tell(host, MFS_CONTACT_UCX, contacts, 4), 0);
    CHECK_EQ(all(host), 2);
    mfs_host_close(host);
}

static void tell__each_teller_for_itself(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);

    CHECK_EQ(tell(one, MFS_CONTACT_UCX, 1, 3), 0);
    CHECK_EQ(tell(one, MFS_CONTACT_NCCL, 1, 2), 0);
    CHECK_EQ(tell(two, MFS_CONTACT_UCX, 1, 1), 0);
    CHECK_EQ(all(one), 6);
    CHECK_EQ(tell(one, MFS_CONTACT_UCX, 0, 0), 0);
    CHECK_EQ(all(one), 3);
    mfs_host_close(one);
    CHECK_EQ(all(two), 1);
    mfs_host_close(two);
}

static void tell__more_than_there_is_room_for(void)
{
    const char *path = segment_path();
    struct mfs_host *hosts[1 + MFS_CONTACTS_MAX / MFS_CONTACTS_OF_ONE];
    uint32_t full = 0;

    for (uint32_t i = 0; i < COUNT(hosts); i++) {
        hosts[i] = host_open(path);
        full += tell(hosts[i], MFS_CONTACT_UCX, 1000 * i, MFS_CONTACTS_OF_ONE) == -ENOSPC;
    }
    CHECK_EQ(full, 1);
    CHECK_EQ(all(hosts[0]), MFS_CONTACTS_MAX);
    CHECK_EQ(tell(hosts[0], MFS_CONTACT_UCX, 0, MFS_CONTACTS_OF_ONE + 1), -EINVAL);
    /* who goes makes room for those that could not come */
    mfs_host_close(hosts[0]);
    CHECK_EQ(tell(hosts[COUNT(hosts) - 1], MFS_CONTACT_UCX, 0, MFS_CONTACTS_OF_ONE), 0);
    for (uint32_t i = 1; i < COUNT(hosts); i++)
        mfs_host_close(hosts[i]);
}

static void tell__waits_for_nobody(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);

    CHECK_EQ(mfs_segment_lock(one), 0);
    CHECK_EQ(tell(two, MFS_CONTACT_UCX, 1, 3), -EAGAIN);
    mfs_segment_unlock(one);
    CHECK_EQ(tell(two, MFS_CONTACT_UCX, 1, 3), 0);
    CHECK_EQ(all(one), 3);
    mfs_host_close(one);
    mfs_host_close(two);
}

/* --- the dead, and rubbish --- */

static void a_process(const char *path)
{
    child_host = host_open(path);
    CHECK_EQ(tell(child_host, MFS_CONTACT_UCX, 1, 3), 0);
}

static void reap__what_a_killed_process_has_told(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const pid_t child = child_start(a_process, path);
    const uint64_t version = mfs_contacts_version(host);

    CHECK_EQ(all(host), 3);
    mfs_contacts_want(host, true);
    CHECK_EQ(all(host), 3);
    child_kill(child);
    mfs_contacts_want(host, true);
    CHECK_EQ(all(host), 0);
    CHECK(mfs_contacts_version(host) != version);
    mfs_host_close(host);
}

static void rubbish__is_read_as_addresses_and_goes_with_the_next_look(void)
{
    struct mfs_host *host = host_private();
    struct mfs_contact_table *table = &host->segment->contacts;
    uint64_t random = 7;

    CHECK_EQ(tell(host, MFS_CONTACT_UCX, 1, 3), 0);
    CHECK_EQ(tell(host, MFS_CONTACT_NCCL, 1, 3), 0);
    for (int rounds = 0; rounds < 200; rounds++) {
        for (int i = 0; i < 2000; i++) {
            struct mfs_contact_cell *cell = &table->cells[test_random(&random) % MFS_CONTACTS_MAX];

            mfs_set(&cell->owner, (uint32_t)(test_random(&random) % 3 ? 1 : test_random(&random)));
            mfs_set(&cell->teller, (uint32_t)(test_random(&random) % 4));
            mfs_set(&cell->ip[i % 2], test_random(&random));
        }
        CHECK(all(host) <= MFS_CONTACTS_MAX);
        mfs_process_reap(host);
        CHECK_EQ(tell(host, MFS_CONTACT_UCX, 1, 3), 0);
        CHECK_EQ(tell(host, MFS_CONTACT_NCCL, 1, 3), 0);
        CHECK_EQ(all(host), 6);
    }
    mfs_host_close(host);
}

/* --- who wants it --- */

static void wanted__by_the_word(void)
{
    static const struct {
        const char *peers;
        bool wanted;
    } rows[] = {
        {"connections", true},
        {"a, connections", true},
        {"a,connections:10.0.0.0/8,b", true},
        {"connections ,a", true},
        {"", false},
        {"a,b", false},
        {"connections.example", false},
        {"my-connections", false},
        {"file:/etc/connections", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        const pid_t child = fork();
        int status;

        if (child == 0) {
            setenv("MFS_PEERS", rows[i].peers, 1);
            _exit(mfs_contacts_wanted(host_private()) ? 1 : 0);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        CHECK_EQ_AT(WEXITSTATUS(status), rows[i].wanted, i);
    }
}

static void wanted__by_an_agent_that_is_there(void)
{
    struct mfs_host *host = host_private();

    CHECK(!mfs_contacts_wanted(host));
    mfs_contacts_want(host, true);
    CHECK(!mfs_contacts_wanted(host)); /* it was some other time */
    CHECK_EQ(mfs_far_attend(host, INT64_C(10000000000)), 0);
    CHECK(mfs_contacts_wanted(host));
    mfs_contacts_want(host, false);
    CHECK(!mfs_contacts_wanted(host));
    mfs_host_close(host);
}

/* --- a process's own --- */

static const struct sockaddr *sockaddr_of(const char *ip)
{
    static union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address;

    memset(&address, 0, sizeof(address));
    address.four.sin_family = AF_INET;
    if (inet_pton(AF_INET, ip, &address.four.sin_addr) == 1)
        return &address.any;
    address.six.sin6_family = AF_INET6;
    CHECK_EQ(inet_pton(AF_INET6, ip, &address.six.sin6_addr), 1);
    return &address.any;
}

static void set__each_address_as_long_as_it_has_a_connection(void)
{
    static struct mfs_contact_set set = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    static const struct sockaddr none = {.sa_family = AF_UNIX};
    struct mfs_contact contacts[MFS_CONTACTS_OF_ONE];
    const uint32_t first = mfs_contact_set_add(&set, sockaddr_of("10.0.0.1"));
    const uint32_t same = mfs_contact_set_add(&set, sockaddr_of("::ffff:10.0.0.1"));
    const uint32_t other = mfs_contact_set_add(&set, sockaddr_of("fd00::1"));

    CHECK(first != 0 && first == same && other != first);
    CHECK_EQ(mfs_contact_set_add(&set, &none), 0);
    CHECK_EQ(mfs_contact_set_all(&set, contacts), 2);
    mfs_contact_set_drop(&set, first);
    mfs_contact_set_drop(&set, 0);
    CHECK_EQ(mfs_contact_set_all(&set, contacts), 2);
    mfs_contact_set_drop(&set, same);
    CHECK_EQ(mfs_contact_set_all(&set, contacts), 1);
    CHECK_EQ(contacts[0].ip[0], 0xfd);
    CHECK_EQ(mfs_contact_set_add(&set, sockaddr_of("10.0.0.2")), first); /* the place is free */
}

static void set__full(void)
{
    static struct mfs_contact_set set = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct mfs_contact contacts[MFS_CONTACTS_OF_ONE];
    char ip[32];

    for (unsigned i = 0; i < MFS_CONTACTS_OF_ONE; i++) {
        snprintf(ip, sizeof(ip), "10.0.%u.%u", i / 100, i % 100);
        CHECK(mfs_contact_set_add(&set, sockaddr_of(ip)) != 0);
    }
    CHECK_EQ(mfs_contact_set_add(&set, sockaddr_of("10.9.0.0")), 0);
    CHECK_EQ(mfs_contact_set_all(&set, contacts), MFS_CONTACTS_OF_ONE);
}

static void other__ends_of_one_host(void)
{
    struct sockaddr_storage own;

    memcpy(&own, sockaddr_of("10.0.0.1"), sizeof(struct sockaddr_in));
    CHECK(!mfs_contact_is_other((void *)&own, sockaddr_of("10.0.0.1")));
    CHECK(!mfs_contact_is_other((void *)&own, sockaddr_of("::ffff:10.0.0.1")));
    CHECK(mfs_contact_is_other((void *)&own, sockaddr_of("10.0.0.2")));
    CHECK(mfs_contact_is_other((void *)&own, sockaddr_of("fd00::1")));
}

static const struct test tests[] = {
    TEST(tell__comes_stays_and_goes),
    TEST(tell__the_same_address_counts_once),
    TEST(tell__each_teller_for_itself),
    TEST(tell__more_than_there_is_room_for),
    TEST(tell__waits_for_nobody),
    TEST(reap__what_a_killed_process_has_told),
    TEST(rubbish__is_read_as_addresses_and_goes_with_the_next_look),
    TEST(wanted__by_the_word),
    TEST(wanted__by_an_agent_that_is_there),
    TEST(set__each_address_as_long_as_it_has_a_connection),
    TEST(set__full),
    TEST(other__ends_of_one_host),
};

TEST_MAIN(tests)
