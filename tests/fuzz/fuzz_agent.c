/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of agents, whose seal is none here: bodies that somebody with the key has made. They
 * come to an agent of two ports in any order, with ticks and with what its caller does in between.
 * What it says is a message, no claim or limit is out of bounds, and only far ports that are known
 * are limited.
 */
#include "host/agent.h"

#include "input.h"

#define BOOT 77
#define FARS 8u

static struct mfs_agent *agent;
static bool known[FARS];

/* The byte in front of a text says whether it is ours. */
static int close_fake(unsigned char *sealed, unsigned long long *sealed_bytes,
                      const unsigned char *text, unsigned long long text_bytes,
                      const unsigned char *clear, unsigned long long clear_bytes,
                      const unsigned char *nothing, const unsigned char *nonce,
                      const unsigned char *key)
{
    (void)clear, (void)clear_bytes, (void)nothing, (void)nonce, (void)key;
    memcpy(sealed, text, text_bytes);
    memset(sealed + text_bytes, 0, MFS_MESSAGE_SEAL_BYTES);
    *sealed_bytes = text_bytes + MFS_MESSAGE_SEAL_BYTES;
    return 0;
}

static int open_fake(unsigned char *text, unsigned long long *text_bytes, unsigned char *nothing,
                     const unsigned char *sealed, unsigned long long sealed_bytes,
                     const unsigned char *clear, unsigned long long clear_bytes,
                     const unsigned char *nonce, const unsigned char *key)
{
    (void)clear, (void)clear_bytes, (void)nothing, (void)nonce, (void)key;
    NEED(sealed_bytes >= MFS_MESSAGE_SEAL_BYTES);
    *text_bytes = sealed_bytes - MFS_MESSAGE_SEAL_BYTES;
    memcpy(text, sealed, *text_bytes);
    return 0;
}

static void attend(void *context, int64_t now_ns)
{
    (void)context, (void)now_ns;
}

static struct input *claimed; /* what is wanted of far ports is part of the input */

/* As the segment tells it: a day at most. */
static int64_t span(void)
{
    return (int64_t)input_limit(claimed) % INT64_C(86400000000000);
}

static uint32_t claims(void *context, int64_t now_ns, struct mfs_claim *rows, uint32_t room)
{
    const uint32_t count = (uint32_t)input_below(claimed, 4);

    (void)context, (void)now_ns;
    NEED(room >= 4);
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct mfs_claim){.far = (uint32_t)input_below(claimed, 12),
                                     .level = (uint32_t)input_below(claimed, 33),
                                     .span_ns = span(),
                                     .waiting_bytes = input_limit(claimed),
                                     .inflight_bytes = input_limit(claimed),
                                     .done_bytes = input_limit(claimed),
                                     .under_way = (uint32_t)input_below(claimed, 33)};
    return count;
}

static bool own_claim(void *context, const struct mfs_agent_port *port, int64_t now_ns,
                      struct mfs_claim *claim)
{
    struct mfs_claim rows[4];

    NEED(port->number == 1 || port->number == 2);
    if (claims(context, now_ns, rows, 4) == 0)
        return false;
    *claim = rows[0];
    return true;
}

static void limit(void *context, uint32_t far, uint32_t level, int64_t span_ns, int64_t for_ns)
{
    (void)context, (void)span_ns;
    NEED(far < FARS && known[far]);
    NEED(level <= MFS_LEVELS_MAX || level == MFS_FAR_NO_LEVEL);
    NEED(for_ns >= 0 && for_ns <= 50000000);
}

static void share(void *context, uint32_t far, uint32_t sharers, int64_t for_ns)
{
    (void)context, (void)sharers;
    NEED(far < FARS && known[far]);
    NEED(for_ns >= 0 && for_ns <= 50000000);
}

static void answers(void *context, uint32_t far, uint32_t level, int64_t for_ns)
{
    (void)context;
    NEED(far < FARS && known[far]);
    NEED(level <= MFS_LEVELS_MAX || level == MFS_FAR_NO_LEVEL);
    NEED(for_ns >= 0 && for_ns <= 50000000);
}

static void guest(void *context, const struct mfs_agent_port *port, uint32_t level, int64_t span_ns,
                  uint64_t inflight_bytes, uint64_t done_bytes, int64_t now_ns)
{
    (void)context, (void)span_ns, (void)inflight_bytes, (void)done_bytes, (void)now_ns;
    NEED(port->number == 1 || port->number == 2);
    NEED(level <= MFS_LEVELS_MAX || level == MFS_FAR_NO_LEVEL);
}

static double seed_Bps(void *context, const struct mfs_agent_port *port)
{
    (void)context, (void)port;
    return 125e6;
}

static uint32_t follows(void *context, struct mfs_follow *rows, uint32_t room)
{
    const uint32_t count = (uint32_t)input_below(claimed, 4);

    (void)context;
    NEED(room >= 4);
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (struct mfs_follow){(uint32_t)input_below(claimed, MFS_FOLLOWS_MAX + 2),
                                      99 + input_below(claimed, 4), 1 + input_below(claimed, 4)};
    return count;
}

static uint64_t version(void *context)
{
    (void)context;
    return input_below(claimed, 2);
}

static uint32_t own_verdict(void *context, uint64_t key)
{
    (void)context, (void)key;
    return (uint32_t)input_below(claimed, MFS_VERDICT_ALL + 1);
}

static void verdict(void *context, const struct mfs_follow *follow, uint32_t says, int64_t for_ns)
{
    (void)context;
    NEED(follow->place < MFS_FOLLOWS_MAX && follow->owner != 0);
    NEED(says <= MFS_VERDICT_ALL);
    NEED(for_ns >= 0 && for_ns <= MFS_VERDICT_HOLD_NS);
}

static void frames_check(void)
{
    static struct mfs_message body;
    struct mfs_message_header header;
    uint32_t count;
    const struct mfs_agent_frame *frames = mfs_agent_frames(agent, &count);
    const char *why;

    for (uint32_t i = 0; i < count; i++) {
        const uint32_t clear = MFS_MESSAGE_HEADER_BYTES + MFS_MESSAGE_SEAL_BYTES;

        NEED(mfs_message_header_parse(frames[i].bytes, frames[i].size, &header) == 0);
        NEED(mfs_message_parse(frames[i].bytes + MFS_MESSAGE_HEADER_BYTES, frames[i].size - clear,
                               &body, &why) == 0);
    }
    mfs_agent_frames_sent(agent);
}

/* A datagram whose first sections are admitted: the rest is the input's. */
static int datagram(struct input *input, int64_t now_ns)
{
    const struct mfs_agent_address from = {.port = (uint16_t)input_number(input, 1)};
    const struct mfs_message_header header = {1 + input_below(input, 4), input_below(input, 3),
                                              input_number(input, 1)};
    const size_t more = input_below(input, 200);
    uint8_t *data = calloc(1, MFS_MESSAGE_HEADER_BYTES + MFS_MESSAGE_BODY_BYTES + 216);
    struct mfs_message body = {.to_boot = BOOT,
                               .heard = input_number(input, 1),
                               .have = (uint32_t)input_below(input, 3),
                               .inventory = (uint32_t)input_below(input, 3),
                               .leaves = input_below(input, 16) == 1};
    size_t size = MFS_MESSAGE_HEADER_BYTES;
    int left;

    NEED(data);
    mfs_message_header_pack(&header, data);
    NEED(mfs_message_pack(&body, data + size, MFS_MESSAGE_BODY_BYTES) == MFS_MESSAGE_BODY_BYTES);
    size += MFS_MESSAGE_BODY_BYTES;
    for (size_t i = 0; i < more; i++)
        data[size++] = (uint8_t)input_number(input, 1);
    left = mfs_agent_take(agent, data, size + MFS_MESSAGE_SEAL_BYTES, &from, now_ns, 0);
    free(data);
    return left;
}

static void look_after(int left)
{
    const struct mfs_agent_heard *heard = mfs_agent_heard(agent);

    if (left & (MFS_AGENT_CAME | MFS_AGENT_AGAIN)) {
        NEED(mfs_agent_peer(agent, heard->peer));
        mfs_agent_far(agent, heard->peer, 5, heard->peer % FARS);
        known[heard->peer % FARS] = true;
    }
    if (left & MFS_AGENT_LEAVES)
        mfs_agent_drop(agent, heard->peer);
    if (left & MFS_AGENT_PAGE)
        mfs_agent_whole(agent, heard->peer, heard->body.inventory, true);
    if (left & MFS_AGENT_MALFORMED)
        NEED(heard->why || heard->error < 0);
    if (left & MFS_AGENT_STRANGER)
        mfs_agent_greet(agent, &heard->source, heard->header.boot, heard->header.sequence, false,
                        fuzz_clock_ns);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mfs_agent_port ports[] = {{1, 0, "eth0"}, {2, 1, "eth0"}};
    static const struct mfs_message_worker workers[] = {{1000, 1, 2}, {1001, 1, 2}};
    const struct mfs_agent_setup setup = {
        .identity = 100,
        .boot = BOOT,
        .close = close_fake,
        .open = open_fake,
        .ops = {.attend = attend,
                .claims = claims,
                .own_claim = own_claim,
                .limit = limit,
                .share = share,
                .guest = guest,
                .answers = answers,
                .seed_Bps = seed_Bps,
                .follows = follows,
                .follows_version = version,
                .requests_version = version,
                .own_verdict = own_verdict,
                .verdict = verdict},
    };
    struct input input = {data, size};
    struct mfs_message raw;
    const struct mfs_agent_address nobody = {0};
    const char *why;
    int64_t now_ns = 1000000000;

    claimed = &input;
    memset(known, 0, sizeof(known));
    mfs_message_parse(data, size, &raw, &why);
    NEED(mfs_agent_new(&setup, &agent) == 0);
    mfs_agent_policy(agent, 0, input_below(&input, 4) > 0);
    NEED(mfs_agent_own(agent, 1, ports, 2, workers, 2) == 0);
    for (int i = 0; i < 3; i++)
        mfs_agent_greet(agent, &nobody, 0, 0, false, now_ns);
    while (input.left > 0) {
        now_ns += (int64_t)input_below(&input, 8) * 1000000;
        if (input_below(&input, 3) > 0)
            look_after(datagram(&input, now_ns));
        else
            mfs_agent_tick(agent, now_ns);
        frames_check();
    }
    mfs_agent_leave(agent, now_ns);
    mfs_agent_free(agent);
    return 0;
}
