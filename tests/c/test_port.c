/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>

#include "host.h"
#include "host/link.h"

static struct mfs_port *port_open(struct mfs_host *host, const char *name)
{
    struct mfs_port *port;

    CHECK_EQ(mfs_port_open(host, name, MFS_EGRESS, &port), 0);
    return port;
}

static struct mfs_port *port_number(struct mfs_host *host, uint32_t number)
{
    char name[16];

    snprintf(name, sizeof(name), "nic%u", number);
    return port_open(host, name);
}

static void open__by_name_and_direction(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host, "nic"), *same, *other, *last = NULL;
    char name[MFS_PORT_NAME_MAX + 2];

    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &same), 0);
    CHECK_EQ(mfs_port_open(host, "nic", MFS_INGRESS, &other), 0);
    CHECK(same->cell == port->cell && other->cell != port->cell);
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK_EQ(mfs_port_open(host, name, MFS_EGRESS, &last), -EINVAL);
    CHECK_EQ(mfs_port_open(host, "", MFS_EGRESS, &last), -EINVAL);
    CHECK_EQ(mfs_port_open(host, NULL, MFS_EGRESS, &last), -EINVAL);
    mfs_port_close(NULL);
    mfs_port_close(port);
    mfs_port_close(same);
    mfs_port_close(other);
    mfs_host_close(host);
}

/* What a port has learned stays until another name needs its place. */
static void open__a_port_that_nobody_has_open_gives_way(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *ports[MFS_PORTS_MAX], *twice, *last = NULL;
    char name[MFS_PORT_NAME_MAX + 1];

    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++)
        ports[i] = port_number(host, i);
    CHECK_EQ(mfs_port_open(host, "one more", MFS_EGRESS, &last), -ENOSPC);
    CHECK(last == NULL);
    twice = port_number(host, 5);
    mfs_port_close(ports[5]);
    CHECK_EQ(mfs_port_open(host, "one more", MFS_EGRESS, &last), -ENOSPC);
    mfs_port_close(twice);
    CHECK_EQ(mfs_port_name_at(host, 5, name), 0);
    CHECK(strcmp(name, "nic5") == 0);
    host->segment->ports[5].senders_high = 77;
    host->segment->ports[5].reap_next_ns = INT64_MAX / 2;
    host->segment->ports[5].state =
        (struct mfs_port_state){1000, 2000, 3000, 4000, 5000, MFS_SAMPLE_SLOW, 6000};
    last = port_open(host, "one more");
    CHECK(last->cell == &host->segment->ports[5]);
    CHECK_EQ(last->cell->senders_high, 0);
    CHECK_EQ(last->cell->reap_next_ns, 0);
    CHECK_EQ(last->cell->state.rate_Bps, 0); /* nothing that the other had learned or was owed */
    CHECK_EQ(last->cell->state.untagged_credit, 0);
    CHECK_EQ(last->cell->state.pace_next_ns, 0);
    CHECK_EQ(last->cell->state.sample_since_ns, 0);
    CHECK_EQ(last->cell->state.sample_base, 0);
    CHECK_EQ(last->cell->state.sample_full, MFS_SAMPLE_ASKED);
    CHECK_EQ(last->cell->state.best_Bps, 0);
    CHECK_EQ(mfs_port_name_at(host, 5, name), 0);
    CHECK(strcmp(name, "one more") == 0);
    CHECK_EQ(mfs_port_find(host, "nic5", MFS_EGRESS, &twice), -ENOENT);
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++)
        mfs_port_close(i == 5 ? last : ports[i]);
    for (uint32_t i = 0; i < 1000; i++) /* any number of names, one after the other */
        mfs_port_close(port_number(host, i));
    mfs_host_close(host);
}

static void take_all(const char *path)
{
    struct mfs_host *host = host_open(path);

    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++)
        (void)port_number(host, i);
}

static void open__those_of_the_dead_give_way(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t child = child_start(take_all, path);
    struct mfs_port *port = port_number(host, 3), *last;

    CHECK_EQ(mfs_port_open(host, "one more", MFS_EGRESS, &last), -ENOSPC);
    child_kill(child);
    for (int i = 0; i < 100; i++) {
        char name[16];

        snprintf(name, sizeof(name), "more%d", i);
        last = port_open(host, name);
        CHECK(last->cell != port->cell);
        mfs_port_close(last);
    }
    mfs_port_close(port);
    mfs_host_close(host);
    unlink(path);
}

static void find__only_what_is_there(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host, "nic"), *found;

    CHECK_EQ(mfs_port_find(host, "nic", MFS_EGRESS, &found), 0);
    CHECK(found->cell == port->cell);
    mfs_port_close(found);
    CHECK_EQ(mfs_port_find(host, "nic", MFS_INGRESS, &found), -ENOENT);
    CHECK_EQ(mfs_port_find(host, "eth", MFS_EGRESS, &found), -ENOENT);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* Something has written over its name and its users. */
static void mend__who_has_it_open_knows_it(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);
    struct mfs_port *port, *same, *other;

    CHECK_EQ(mfs_port_open(one, "nic", MFS_INGRESS, &port), 0);
    memset(one->segment->port_users, 0xff, sizeof(one->segment->port_users));
    memset(one->segment->ports, 0xff, sizeof(one->segment->ports));
    CHECK_EQ(mfs_port_open(two, "other", MFS_EGRESS, &other), -ENOSPC);
    mfs_process_reap(one);
    mfs_process_reap(two);
    CHECK_EQ(mfs_port_open(two, "nic", MFS_INGRESS, &same), 0);
    CHECK_EQ(same->cell - two->segment->ports, port->cell - one->segment->ports);
    CHECK_EQ(mfs_port_open(two, "other", MFS_EGRESS, &other), 0);
    CHECK(other->cell != same->cell);
    memset(one->segment->port_users, 0, sizeof(one->segment->port_users));
    mfs_process_reap(one);
    CHECK(one->segment->port_users[port->cell - one->segment->ports].bits[0] & 1);
    mfs_port_close(other);
    mfs_port_close(same);
    mfs_port_close(port);
    mfs_host_close(two);
    mfs_host_close(one);
    unlink(path);
}

/* Other processes print the names. */
static void name__is_text_whatever_it_was(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host, "\x1b]0;\xff"), *same = port_open(host, "\x1b]0;\xff");
    char name[MFS_PORT_NAME_MAX + 1];

    CHECK_EQ(mfs_port_name_at(host, 0, name), 0);
    CHECK(strcmp(name, "?]0;?") == 0 && same->cell == port->cell);
    CHECK_EQ(mfs_port_name_at(host, 1, name), -ENOENT);
    CHECK_EQ(mfs_port_name_at(host, MFS_PORTS_MAX, name), -ENOENT);
    CHECK_EQ(mfs_port_name_at(host, UINT32_MAX, name), -ENOENT);
    for (size_t i = 0; i < MFS_PORT_NAME_WORDS; i++) /* no NUL is left of it */
        port->cell->name[i] = UINT64_C(0x0909090909090909);
    CHECK_EQ(mfs_port_name_at(host, 0, name), 0);
    CHECK(strcmp(name, "???????????????????????????????") == 0);
    mfs_port_close(same);
    CHECK_EQ(mfs_port_find(host, name, MFS_EGRESS, &same), 0);
    mfs_port_close(same);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* --- the first estimate of the rate --- */

static void rate__is_seeded_by_the_link(void)
{
    char name[MFS_PORT_NAME_MAX + 1] = "";
    DIR *devices = opendir("/sys/class/net");
    struct dirent *entry;
    uint64_t link_Bps = 0;
    struct mfs_host *host;
    struct mfs_port *port;

    while (devices && link_Bps == 0 && (entry = readdir(devices)) != NULL) {
        if (strlen(entry->d_name) < sizeof(name)) {
            strcpy(name, entry->d_name);
            link_Bps = mfs_link_rate_Bps("/sys", name);
        }
    }
    if (devices)
        closedir(devices);
    if (link_Bps == 0) /* none that knows here: test_link.c has the rest */
        return;
    host = host_private();
    port = port_open(host, name);
    CHECK_EQ(mfs_port_rate_Bps(port), link_Bps);
    mfs_port_close(port);
    mfs_host_close(host);
}

static void rate__is_configured(void)
{
    struct mfs_host *host;
    struct mfs_port *port;

    setenv("MFS_PORT_RATE", "8gbit", 1);
    setenv("MFS_PACE", "4gbit", 1);
    host = host_private();
    port = port_open(host, "nic");
    CHECK_EQ(mfs_port_rate_Bps(port), 1000000000);
    CHECK_EQ(mfs_port_chunk(port), 196608); /* 200 us in whole pages */
    CHECK_EQ(mfs_port_window(port), 2000000); /* 2 ms */
    mfs_port_close(port);
    mfs_host_close(host);
}

static void rate__no_faster_than_its_pace(void)
{
    struct mfs_host *host;
    struct mfs_port *port;

    setenv("MFS_PACE", "100000000", 1);
    host = host_private();
    port = port_open(host, "nic");
    CHECK_EQ(mfs_port_rate_Bps(port), 100000000);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* Both directions have the same time; gets have a higher floor while their rate is learned. */
static void window__of_puts_and_gets(void)
{
    const uint64_t known[] = {UINT64_C(1000000000), UINT64_C(10000000000)};
    struct mfs_host *host = host_private();
    struct mfs_port *ports[2];

    for (unsigned way = MFS_EGRESS; way <= MFS_INGRESS; way++)
        CHECK_EQ(mfs_port_open(host, "nic", (enum mfs_direction)way, &ports[way]), 0);
    for (size_t i = 0; i < COUNT(known); i++) {
        for (unsigned way = MFS_EGRESS; way <= MFS_INGRESS; way++) {
            ports[way]->cell->state.rate_Bps = known[i];
            CHECK_EQ(mfs_port_window(ports[way]), known[i] / 500); /* 2 ms */
        }
    }
    ports[MFS_EGRESS]->cell->state.rate_Bps = ports[MFS_INGRESS]->cell->state.rate_Bps = 1000;
    CHECK_EQ(mfs_port_window(ports[MFS_EGRESS]), 131072);
    CHECK_EQ(mfs_port_window(ports[MFS_INGRESS]), 524288);
    mfs_port_close(ports[MFS_EGRESS]);
    mfs_port_close(ports[MFS_INGRESS]);
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(open__by_name_and_direction),      TEST(open__a_port_that_nobody_has_open_gives_way),
    TEST(open__those_of_the_dead_give_way), TEST(find__only_what_is_there),
    TEST(mend__who_has_it_open_knows_it),   TEST(name__is_text_whatever_it_was),
    TEST(rate__is_seeded_by_the_link),      TEST(rate__is_configured),
    TEST(rate__no_faster_than_its_pace),    TEST(window__of_puts_and_gets),
};

TEST_MAIN(tests)
