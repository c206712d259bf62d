/* SPDX-License-Identifier: Apache-2.0 */
/* Real TCP sockets to ourselves, and an agent's words about who is there: the class that each has.
 */
#include "host/answers.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "host/far_tables.h"
#include "host/marks.h"

#include "host.h"

#define MS INT64_C(1000000)

static struct mfs_host *host;
static uint32_t port; /* of the host at 127.0.0.1 */
static int64_t now_ns;
static struct mfs_socket ours; /* noted; connected with that host */
static int theirs;

static struct mfs_socket connect_to(const char *ip)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    const int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    struct mfs_socket found = {0};

    CHECK_EQ(inet_pton(AF_INET, ip, &address.sin_addr), 1);
    CHECK_EQ(bind(listener, (const void *)&address, size), 0);
    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (void *)&address, &size), 0);
    CHECK_EQ(mfs_socket_note(fd, &found), 0); /* before it is connected, as UCX sets it up */
    CHECK_EQ(connect(fd, (const void *)&address, size), 0);
    theirs = accept(listener, NULL, NULL);
    CHECK(theirs >= 0);
    close(listener);
    return found;
}

static void set_up(const char *classes)
{
    setenv("MFS_CLASSES", classes, 1);
    setenv("MFS_LEASE", "1000s", 0);
    host = host_private();
    CHECK_EQ(mfs_far_attend(host, 10000 * MS), 0);
    CHECK_EQ(mfs_far_port(host, 1, "b/eth0 in", &port), 0);
    CHECK_EQ(mfs_far_worker(host, mfs_far_address("127.0.0.1"), port, MFS_FAR_NONE), 0);
    now_ns = mfs_now_ns();
    ours = connect_to("127.0.0.1");
}

static int dscp_of(const struct mfs_socket *socket)
{
    int byte = -1;
    socklen_t size = sizeof(byte);

    CHECK_EQ(getsockopt(socket->fd, IPPROTO_IP, IP_TOS, &byte, &size), 0);
    return byte >> MFS_DSCP_SHIFT;
}

/* A millisecond later: what the agent says then, and what the socket has. */
static int answers_at(uint32_t level)
{
    mfs_far_answers(host, port, level, 1000000 * MS);
    now_ns += MS;
    mfs_answers_look(host, now_ns);
    return dscp_of(&ours);
}

static void look__a_reader_is_answered_as_its_host_is_urgent(void)
{
    set_up("46,26,8");
    now_ns += MS;
    mfs_answers_look(host, now_ns);
    CHECK_EQ(dscp_of(&ours), 0); /* nobody says anything: as UCX has made it */
    CHECK_EQ(answers_at(1), 26);
    CHECK_EQ(answers_at(0), 46);
    CHECK_EQ(answers_at(5), 8);
    CHECK_EQ(answers_at(0), 46);
    CHECK_EQ(answers_at(MFS_FAR_NO_LEVEL), 8);
    CHECK_EQ(answers_at(0), 46);
    mfs_far_depart(host); /* the agent ends */
    now_ns += MS;
    mfs_answers_look(host, now_ns);
    CHECK_EQ(dscp_of(&ours), 8);
}

static void look__others_are_left_alone(void)
{
    struct mfs_socket stranger;

    set_up("46,26,0");
    stranger = connect_to("127.0.0.2");
    CHECK_EQ(answers_at(0), 46);
    CHECK_EQ(dscp_of(&stranger), 0);
    CHECK_EQ(mfs_far_worker(host, mfs_far_address("127.0.0.2"), port, MFS_FAR_NONE), 0);
    CHECK_EQ(answers_at(0), 46);
    CHECK_EQ(dscp_of(&stranger), 46); /* its host has come since */
    mfs_far_forget(host, port);
    now_ns += MS;
    mfs_answers_look(host, now_ns);
    CHECK_EQ(dscp_of(&stranger), 0);
}

static void look__not_more_often_than_is_of_use(void)
{
    set_up("46,0");
    CHECK_EQ(answers_at(0), 46);
    mfs_far_answers(host, port, 1, 1000000 * MS);
    mfs_answers_look(host, now_ns + MS / 10);
    CHECK_EQ(dscp_of(&ours), 46);
    mfs_answers_look(host, now_ns + MS);
    CHECK_EQ(dscp_of(&ours), 0);
}

/* By one connection: what is urgent waits for all of it. */
static void look__beside_puts(void)
{
    struct mfs_marks marks = {.socket = {0}};
    uint8_t bulk, urgent;

    set_up("46,26,0");
    marks.socket = ours;
    bulk = mfs_marks_begin(&marks, 6);
    CHECK_EQ(answers_at(0), 46);
    CHECK_EQ(answers_at(1), 26);
    urgent = mfs_marks_begin(&marks, 0);
    CHECK_EQ(dscp_of(&ours), 46);
    CHECK_EQ(answers_at(6), 46);
    mfs_marks_over(&marks, urgent);
    CHECK_EQ(dscp_of(&ours), 0);
    mfs_marks_over(&marks, bulk);
    CHECK_EQ(answers_at(0), 46);
}

/* The NCCL plug-in's: nobody reads by them. */
static void look__sockets_that_have_their_own_class(void)
{
    struct mfs_marks marks = {.keeps = true};
    uint8_t bulk, urgent;

    set_up("46,26,0");
    marks.socket = ours;
    bulk = mfs_marks_begin(&marks, 6);
    CHECK_EQ(answers_at(0), 0);
    urgent = mfs_marks_begin(&marks, 1);
    mfs_marks_over(&marks, urgent);
    CHECK_EQ(dscp_of(&ours), 0); /* the worse one is still under way */
    mfs_marks_over(&marks, bulk);
    mfs_marks_over(&marks, mfs_marks_begin(&marks, 0));
    CHECK_EQ(dscp_of(&ours), 46); /* it stays */
    mfs_marks_rest(&marks);
    CHECK_EQ(dscp_of(&ours), 0);
    mfs_marks_say(&marks);
    CHECK_EQ(dscp_of(&ours), 46);
    bulk = mfs_marks_begin(&marks, 6);
    mfs_marks_say(&marks); /* there is one */
    CHECK_EQ(dscp_of(&ours), 0);
}

static void look__without_an_agent_they_have_the_class_that_was_chosen(void)
{
    setenv("MFS_CLASSES_ANSWERS", "26", 1);
    set_up("46,26,0");
    mfs_marks_expect();
    mfs_marks_of_new_socket(ours.fd);
    CHECK_EQ(dscp_of(&ours), 26);
    CHECK_EQ(answers_at(6), 0); /* who knows better says so */
    CHECK_EQ(answers_at(MFS_FAR_NO_LEVEL), 26);
}

/* The place of a socket that was closed is another one's; who still has the old one marks
 * nothing. */
static void look__a_connection_that_has_ended(void)
{
    struct mfs_marks marks = {.socket = {0}};
    struct mfs_socket before;
    int fd;

    set_up("46,0");
    CHECK_EQ(answers_at(0), 46);
    before = marks.socket = ours;
    close(ours.fd);
    mfs_far_answers(host, port, MFS_FAR_NO_LEVEL, 0);
    now_ns += MS;
    mfs_answers_look(host, now_ns);
    ours = connect_to("127.0.0.1");
    CHECK_EQ(ours.place, before.place);
    CHECK(ours.cookie != before.cookie);
    (void)mfs_marks_begin(&marks, 0);
    CHECK_EQ(dscp_of(&ours), 0);
    CHECK(marks.given_up);
    CHECK_EQ(answers_at(0), 46);
    fd = ours.fd; /* closed by its peer, and then by us */
    close(theirs);
    CHECK_EQ(answers_at(1), 0);
    close(fd);
    mfs_far_answers(host, port, 0, 1000000 * MS);
    mfs_answers_look(host, now_ns + MS);
}

static const struct test tests[] = {
    TEST(look__a_reader_is_answered_as_its_host_is_urgent),
    TEST(look__others_are_left_alone),
    TEST(look__not_more_often_than_is_of_use),
    TEST(look__beside_puts),
    TEST(look__sockets_that_have_their_own_class),
    TEST(look__without_an_agent_they_have_the_class_that_was_chosen),
    TEST(look__a_connection_that_has_ended),
};

TEST_MAIN(tests)
