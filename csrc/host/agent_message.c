/* SPDX-License-Identifier: Apache-2.0 */
#include "host/agent_message.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "host/far.h"
#include "host/verdict.h"

#define MAGIC "MFX"
#define ROOM (MFS_MESSAGE_BYTES_MAX - MFS_MESSAGE_HEADER_BYTES - MFS_MESSAGE_SEAL_BYTES)
#define SECTION_BYTES 4u

/* Kinds of sections, and the size of an entry as we know it. */
enum kind { PAGE = 1, PORT, WORKER, CLAIM, LIMIT, ASK, VERDICT, KINDS };
static const uint16_t entry_bytes[KINDS] = {[PAGE] = 4,   [PORT] = 36, [WORKER] = 16, [CLAIM] = 40,
                                            [LIMIT] = 24, [ASK] = 12,  [VERDICT] = 12};

static const char cut[] = "a section that is cut";

/* --- numbers --- */

static uint8_t *put16(uint8_t *at, uint16_t value)
{
    value = htole16(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

static uint8_t *put64(uint8_t *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
    return at + sizeof(value);
}

/* One byte, and zeros up to four. */
static uint8_t *put8(uint8_t *at, uint8_t value)
{
    return put32(at, value);
}

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return le16toh(value);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

/* --- the header --- */

void mfs_message_header_pack(const struct mfs_message_header *header, uint8_t *data)
{
    memcpy(data, MAGIC, 3);
    data[3] = MFS_MESSAGE_VERSION;
    put64(put64(put64(data + 4, header->sender), header->boot), header->sequence);
}

int mfs_message_header_parse(const uint8_t *data, size_t size, struct mfs_message_header *header)
{
    if (size < MFS_MESSAGE_HEADER_BYTES + MFS_MESSAGE_SEAL_BYTES || size > MFS_MESSAGE_BYTES_MAX)
        return -EMSGSIZE;
    if (memcmp(data, MAGIC, 3) != 0)
        return -EBADMSG;
    if (data[3] != MFS_MESSAGE_VERSION)
        return -EPROTONOSUPPORT;
    *header = (struct mfs_message_header){get64(data + 4), get64(data + 12), get64(data + 20)};
    return 0;
}

/* --- packing --- */

static uint8_t *section(uint8_t *at, enum kind kind, uint32_t count)
{
    *at++ = (uint8_t)kind;
    *at++ = (uint8_t)entry_bytes[kind];
    return put16(at, (uint16_t)count);
}

static size_t size_of(const struct mfs_message *message)
{
    const uint32_t counts[KINDS] = {[PAGE] = message->pages > 0,
                                    [PORT] = message->pages > 0 ? message->port_count : 0,
                                    [WORKER] = message->pages > 0 ? message->worker_count : 0,
                                    [CLAIM] = message->claim_count,
                                    [LIMIT] = message->limit_count,
                                    [ASK] = message->ask_count,
                                    [VERDICT] = message->verdict_count};
    size_t size = MFS_MESSAGE_BODY_BYTES;

    for (int kind = PAGE; kind < KINDS; kind++)
        size += counts[kind] > 0 ? SECTION_BYTES + (size_t)counts[kind] * entry_bytes[kind] : 0;
    return size;
}

static uint8_t *claims_pack(const struct mfs_message *message, uint8_t *at)
{
    if (message->claim_count > 0)
        at = section(at, CLAIM, message->claim_count);
    for (uint32_t i = 0; i < message->claim_count; i++) {
        const struct mfs_message_claim *claim = &message->claims[i];

        at = put8(put32(at, claim->port), (uint8_t)claim->level);
        at = put64(put64(at, (uint64_t)claim->span_ns), claim->waiting_bytes);
        at = put64(put64(at, claim->inflight_bytes), claim->done_bytes);
    }
    return at;
}

static uint8_t *limits_pack(const struct mfs_message *message, uint8_t *at)
{
    if (message->limit_count > 0)
        at = section(at, LIMIT, message->limit_count);
    for (uint32_t i = 0; i < message->limit_count; i++) {
        const struct mfs_message_limit *limit = &message->limits[i];

        at = put8(put32(at, limit->port), (uint8_t)limit->level);
        at = put32(put64(at, (uint64_t)limit->span_ns), (uint32_t)(limit->for_ns / 1000));
        at = put32(at, limit->sharers);
    }
    return at;
}

static uint8_t *verdicts_pack(enum kind kind, const struct mfs_message_verdict *verdicts,
                              uint32_t count, uint8_t *at)
{
    if (count > 0)
        at = section(at, kind, count);
    for (uint32_t i = 0; i < count; i++)
        at = put8(put64(at, verdicts[i].key), (uint8_t)verdicts[i].verdict);
    return at;
}

static uint8_t *page_pack(const struct mfs_message *message, uint8_t *at)
{
    if (message->pages == 0)
        return at;
    at = put16(put16(section(at, PAGE, 1), message->page), message->pages);
    if (message->port_count > 0)
        at = section(at, PORT, message->port_count);
    for (uint32_t i = 0; i < message->port_count; i++) {
        const struct mfs_message_port *port = &message->ports[i];

        at = put8(at, port->direction);
        memset(at, 0, MFS_MESSAGE_NAME_MAX);
        memcpy(at, port->name, strnlen(port->name, MFS_MESSAGE_NAME_MAX));
        at += MFS_MESSAGE_NAME_MAX;
    }
    if (message->worker_count > 0)
        at = section(at, WORKER, message->worker_count);
    for (uint32_t i = 0; i < message->worker_count; i++) {
        const struct mfs_message_worker *worker = &message->workers[i];

        at = put32(put32(put64(at, worker->uid), worker->egress), worker->ingress);
    }
    return at;
}

uint32_t mfs_message_room(const struct mfs_message *message)
{
    const size_t size = size_of(message) + SECTION_BYTES;
    const size_t room = size < ROOM ? (ROOM - size) / entry_bytes[VERDICT] : 0;

    return room < MFS_MESSAGE_VERDICTS_MAX ? (uint32_t)room : MFS_MESSAGE_VERDICTS_MAX;
}

int mfs_message_pack(const struct mfs_message *message, uint8_t *data, size_t room)
{
    const size_t size = size_of(message);
    uint8_t *at = data;

    if (size > room || size > ROOM)
        return -EMSGSIZE;
    at = put64(put64(at, message->to_boot), message->heard);
    at = put32(put32(at, message->held_us), message->policy);
    at = put32(put32(at, message->inventory), message->have);
    at = put8(at, message->leaves);
    at = claims_pack(message, at);
    at = limits_pack(message, at);
    at = verdicts_pack(ASK, message->asks, message->ask_count, at);
    at = verdicts_pack(VERDICT, message->verdicts, message->verdict_count, at);
    at = page_pack(message, at);
    return (int)(at - data);
}

/* --- parsing --- */

static uint32_t level_cut(uint8_t level)
{
    return level > MFS_LEVELS_MAX ? MFS_FAR_NO_LEVEL : level;
}

static int64_t span_cut(int64_t span_ns)
{
    if (span_ns > MFS_MESSAGE_SPAN_MAX_NS)
        return MFS_MESSAGE_SPAN_MAX_NS;
    return span_ns < -MFS_MESSAGE_SPAN_MAX_NS ? -MFS_MESSAGE_SPAN_MAX_NS : span_ns;
}

static uint64_t count_cut(uint64_t bytes)
{
    return bytes < MFS_MESSAGE_COUNT_MAX ? bytes : MFS_MESSAGE_COUNT_MAX;
}

static void claim_parse(const uint8_t *at, struct mfs_message_claim *claim)
{
    claim->port = get32(at);
    claim->level = level_cut(at[4]);
    claim->span_ns = span_cut((int64_t)get64(at + 8));
    claim->waiting_bytes = count_cut(get64(at + 16));
    claim->inflight_bytes = count_cut(get64(at + 24));
    claim->done_bytes = count_cut(get64(at + 32));
}

static void limit_parse(const uint8_t *at, struct mfs_message_limit *limit)
{
    const int64_t for_ns = (int64_t)get32(at + 16) * 1000;
    const uint32_t sharers = get32(at + 20);

    limit->port = get32(at);
    limit->level = level_cut(at[4]);
    limit->span_ns = span_cut((int64_t)get64(at + 8));
    limit->for_ns = for_ns < MFS_MESSAGE_FOR_MAX_NS ? for_ns : MFS_MESSAGE_FOR_MAX_NS;
    limit->sharers = sharers < MFS_MESSAGE_SHARERS_MAX ? sharers : MFS_MESSAGE_SHARERS_MAX;
}

/* false: it has no name or no direction. */
static bool port_parse(const uint8_t *at, struct mfs_message_port *port)
{
    port->direction = at[0];
    memcpy(port->name, at + 4, MFS_MESSAGE_NAME_MAX);
    port->name[MFS_MESSAGE_NAME_MAX] = '\0';
    for (const char *letter = port->name; *letter; letter++) {
        if ((unsigned char)*letter < ' ' || *letter == 127)
            return false;
    }
    return port->direction <= 1 && *port->name;
}

/* false: they are more than a datagram names. */
static bool verdict_parse(const uint8_t *at, struct mfs_message_verdict *verdicts, uint32_t *count)
{
    if (*count == MFS_MESSAGE_VERDICTS_MAX)
        return false;
    verdicts[(*count)++] = (struct mfs_message_verdict){get64(at), at[8] & MFS_VERDICT_ALL};
    return true;
}

/* NULL, or what is wrong. */
static const char *entry_parse(enum kind kind, const uint8_t *at, struct mfs_message *message)
{
    static const char many[] = "more ports than a host has";

    switch (kind) {
    case CLAIM:
        if (message->claim_count == MFS_MESSAGE_PORTS_MAX)
            return many;
        claim_parse(at, &message->claims[message->claim_count++]);
        break;
    case LIMIT:
        if (message->limit_count == MFS_MESSAGE_PORTS_MAX)
            return many;
        limit_parse(at, &message->limits[message->limit_count++]);
        break;
    case ASK:
        if (!verdict_parse(at, message->asks, &message->ask_count))
            return "more requests than a datagram names";
        break;
    case VERDICT:
        if (!verdict_parse(at, message->verdicts, &message->verdict_count))
            return "more requests than a datagram names";
        break;
    case PORT:
        if (message->port_count == MFS_MESSAGE_PORTS_MAX)
            return many;
        if (!port_parse(at, &message->ports[message->port_count++]))
            return "a port without a name or a direction";
        break;
    case WORKER:
        if (message->worker_count == MFS_MESSAGE_WORKERS_MAX)
            return "more workers than a datagram holds";
        message->workers[message->worker_count++] =
            (struct mfs_message_worker){get64(at), get32(at + 8), get32(at + 12)};
        break;
    default:
        message->page = get16(at);
        message->pages = get16(at + 2);
        if (message->page >= message->pages)
            return "a page behind the last";
    }
    return NULL;
}

/* The section at `at`, of which `left` bytes are there; NULL, or what is wrong. */
static const char *section_parse(const uint8_t *at, size_t left, struct mfs_message *message,
                                 size_t *whole)
{
    const char *why = NULL;
    uint8_t kind, size;
    uint32_t count;

    if (left < SECTION_BYTES)
        return cut;
    kind = at[0];
    size = at[1];
    count = get16(at + 2);
    if ((size_t)size * count > left - SECTION_BYTES)
        return cut;
    *whole = SECTION_BYTES + (size_t)size * count;
    if (kind < PAGE || kind >= KINDS)
        return NULL;
    if (size < entry_bytes[kind])
        return "an entry that is too short";
    for (uint32_t i = 0; i < count && !why; i++)
        why = entry_parse(kind, at + SECTION_BYTES + (size_t)i * size, message);
    return why;
}

static const char *body_parse(const uint8_t *data, size_t size, struct mfs_message *message)
{
    if (size < MFS_MESSAGE_BODY_BYTES || size > MFS_MESSAGE_BYTES_MAX)
        return "a body of no possible size";
    message->to_boot = get64(data);
    message->heard = get64(data + 8);
    message->held_us = get32(data + 16);
    message->policy = get32(data + 20);
    message->inventory = get32(data + 24);
    message->have = get32(data + 28);
    message->leaves = data[32] != 0;
    message->page = message->pages = 0;
    message->port_count = message->worker_count = 0;
    message->claim_count = message->limit_count = 0;
    message->ask_count = message->verdict_count = 0;
    for (size_t at = MFS_MESSAGE_BODY_BYTES, whole = 0; at < size; at += whole) {
        const char *why = section_parse(data + at, size - at, message, &whole);

        if (why)
            return why;
    }
    if (message->pages == 0 && message->port_count + message->worker_count > 0)
        return "ports of no page";
    return NULL;
}

int mfs_message_parse(const uint8_t *data, size_t size, struct mfs_message *message,
                      const char **why)
{
    *why = body_parse(data, size, message);
    return *why ? -EBADMSG : 0;
}
