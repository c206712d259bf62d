/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The senders and owners that ship, for bench/ns3_scene.cpp: csrc/core's headers are C. A rule is
 * the sender of one port of a host; an owner is who of several hosts may send through a port.
 */
#ifndef MFS_BENCH_NS3_RULE_H
#define MFS_BENCH_NS3_RULE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rule;
struct owner;

#define RULE_NO_LEVEL 255u /* nothing waits; no limit */

struct rule_chunk {
    uint64_t transfer, bytes;
    uint32_t to;
};

/* What a host says of another one's port, or its own rule of the host's. */
struct rule_claim {
    uint32_t who; /* for owner_judge(): 0 the owner itself, else another host + 1 */
    uint32_t level;
    int64_t span_ns, at_ns; /* as of at_ns, of the owner's clock */
    uint64_t inflight_bytes, done_bytes;
};

/* gets: their bytes come by the port. rate_Bps 0: it is learned. */
struct rule *rule_new(uint32_t hosts, bool gets, uint64_t rate_Bps);
/* deadline_ns: of the transfer; collective: or the bytes of a request for a decode host. */
void rule_push(struct rule *rule, uint32_t to, uint64_t transfer, uint64_t bytes, bool collective,
               int64_t deadline_ns, int64_t now_ns);
bool rule_next(struct rule *rule, int64_t now_ns, struct rule_chunk *chunk);
void rule_done(struct rule *rule, uint32_t to, uint64_t bytes, int64_t now_ns);
bool rule_restless(const struct rule *rule);
/* Of what it has for that host. */
void rule_claim_to(const struct rule *rule, uint32_t to, int64_t now_ns, struct rule_claim *claim);
/* Of what it has for all. */
void rule_claim_all(const struct rule *rule, int64_t now_ns, struct rule_claim *claim);
/* That host has told a limit of its port, or none, and how many hosts have something for it; both
 * end by themselves. */
void rule_told(struct rule *rule, uint32_t to, uint32_t level, int64_t span_ns, uint32_t sharers,
               int64_t now_ns);
/* What was told is looked at, as csrc/host/claims.c does it every half millisecond. */
void rule_look(struct rule *rule, int64_t now_ns);
/* What other hosts want of the rule's port, as csrc/host/guest.c has it. */
void rule_guest(struct rule *rule, const struct rule_claim *claims, uint32_t count, int64_t now_ns);

struct owner *owner_new(void);
/* The limit for the others; false: all may send. way_ns: there and back; wait_ns: what a claim and
 * a limit spend beside their way. */
bool owner_judge(struct owner *owner, const struct rule_claim *claims, uint32_t count,
                 uint64_t rate_Bps, int64_t way_ns, int64_t wait_ns, int64_t now_ns,
                 uint32_t *level, int64_t *span_ns);

#ifdef __cplusplus
}
#endif
#endif
