/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who gets which rate: slots (a claim on the links of a route) on links.
 *
 *   ordered tier   rate = min over the slot's links of what those before it in
 *                  (rank, tie) leave there, and its cap          [greedy.c]
 *   shared tiers   1, 2, ...: max-min fair by weight, each tier from what the tiers
 *                  before it leave                               [maxmin.c]
 *   sender         only the first link of a route (egress) keeps that order; the others
 *                  share what comes, max-min in strict classes   [sender.c]
 *
 * Whoever changes a slot marks it; mfs_net_rates_anew() works out the rates anew, of what the
 * change reaches only, and lists the slots whose rate is another than before. All are
 * work conserving: a slot's rate is below its cap only if one of its links is full.
 */
#ifndef MFS_SIM_NET_H
#define MFS_SIM_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/memory.h"

#define MFS_ROUTE_MAX 6 /* egress, pod and zone uplink, zone and pod downlink, ingress */
#define MFS_TIERS_MAX 36
#define MFS_TIE_BITS 24 /* of a tie are the slot's number; the others a sequence number */
#define MFS_CLASSES_MAX 36
#define MFS_NET_EPSILON 1e-9 /* of a link's capacity: rates that differ less are equal */

struct mfs_route {
    uint32_t count;
    uint32_t link[MFS_ROUTE_MAX]; /* egress first */
};

/* Where a slot stands on a link; sorted by (rank, tie). */
struct mfs_entry {
    uint64_t rank;
    uint64_t tie; /* sequence << MFS_TIE_BITS | slot */
};

struct mfs_entries {
    struct mfs_entry *list;
    uint32_t count, capacity;
};

struct mfs_members { /* slots in no order */
    uint32_t *list;
    uint32_t count, capacity;
};

struct mfs_share { /* of a link, in the heap of the sweep */
    double level;
    uint32_t link;
    uint32_t role; /* as what it stands there */
};

enum mfs_slot_state {
    MFS_SLOT_FREE,
    MFS_SLOT_IDLE,    /* claims nothing */
    MFS_SLOT_ORDERED, /* in `ordered` of its links */
    MFS_SLOT_SHARED,
    MFS_SLOT_LEAVING, /* ordered, to be gone after the next settling */
};

struct mfs_slot { /* what filling reads comes first */
    struct mfs_route route;
    uint32_t mark;     /* == net->mark: seen by the running search */
    double rate;       /* as of the last settling */
    double fill;       /* maxmin, sender: rate in the making */
    double weight;     /* shared: so many equal flows */
    uint32_t owner;    /* the caller's */
    uint8_t state;     /* enum mfs_slot_state */
    uint8_t tier;      /* 0 ordered */
    bool reported;     /* in `changed` */
    bool waiting;      /* greedy: in `visits` */
    uint64_t rank, tie;
    double cap;        /* ordered: at most so much */
    double offer;      /* sender: what its egress would let it have */
    uint32_t at[MFS_ROUTE_MAX]; /* shared: position in the link's members */
    uint32_t class;    /* sender: strict class on all links but the first */
};

struct mfs_link { /* what filling reads comes first */
    double capacity;
    double room, weight, share;  /* maxmin, sender: scratch */
    double was;                  /* maxmin: scratch */
    uint32_t mark;
    uint8_t role;                /* maxmin, sender: scratch */
    bool dirty;                  /* in dirty[] of the net */
    bool egress;                 /* sender: keeps the order */
    bool filled_anew;            /* maxmin: slots have come, or the room is another */
    struct mfs_members *shared;  /* [tiers] */
    double *used;                /* [1 + tiers]: by the ordered tier, by each shared one */
    double *level;               /* [tiers]: where it is full; INFINITY: it is not */
    double floor;                /* maxmin: least rate of a flow that has left since settling */
    double change;               /* greedy: new less old use by those visited */
    struct mfs_entries ordered;  /* all ordered slots here */
    struct mfs_entries carrying; /* those with a rate > 0, before or after this settling */
};

struct mfs_net {
    struct mfs_memory *memory;
    struct mfs_link *links;
    uint32_t link_count;
    uint32_t tiers;          /* shared ones, numbered from 1 */
    bool sender;             /* sender.c instead of greedy.c and maxmin.c */
    uint32_t classes;        /* sender: 1.. */
    struct mfs_slot *slots;
    uint32_t slot_count, slot_capacity;
    uint32_t *free;          /* slot numbers */
    uint32_t free_count, free_capacity;
    uint32_t mark;
    struct mfs_entries visits; /* greedy: heap of slots to look at */
    struct mfs_members leaving; /* slots to free when `changed` has been read */
    struct mfs_members dirty; /* links */
    struct mfs_members changed; /* slots, in the order of the search; owner UINT32_MAX: skip */
    struct mfs_members work, found, todo; /* scratch */
    struct mfs_entries queue; /* scratch */
    struct mfs_share *shares; /* maxmin: heap, the least level first */
    uint32_t share_count, share_capacity;
    uint64_t visited;        /* slots looked at, for the cost per event */
};

void mfs_net_init(struct mfs_net *net, struct mfs_memory *memory, const double *capacity,
                  uint32_t links, uint32_t tiers);

uint32_t mfs_slot_new(struct mfs_net *net, const struct mfs_route *route, uint32_t owner);
void mfs_slot_free(struct mfs_net *net, uint32_t slot); /* leaves first */
/* Into the ordered tier, or to another place in it; of equal ranks the least sequence first. */
void mfs_slot_order(struct mfs_net *net, uint32_t slot, uint64_t rank, uint64_t sequence,
                    double cap);
/* Into a shared tier (1..), or with another weight. */
void mfs_slot_share(struct mfs_net *net, uint32_t slot, uint32_t tier, double weight);
void mfs_slot_leave(struct mfs_net *net, uint32_t slot);
void mfs_slot_class(struct mfs_net *net, uint32_t slot, uint32_t class);

/* Rates as they now are; then net->changed has the slots whose rate may differ. */
void mfs_net_rates_anew(struct mfs_net *net);
/* The caller has read net->changed. */
void mfs_net_settled(struct mfs_net *net);

/* --- between the files of the net --- */
void mfs_net_mark_link(struct mfs_net *net, uint32_t link);
void mfs_net_rate(struct mfs_net *net, uint32_t slot, double rate); /* and report it */
uint32_t mfs_net_next_mark(struct mfs_net *net);
void mfs_greedy_visit(struct mfs_net *net, uint32_t slot);
void mfs_greedy_rates(struct mfs_net *net);
void mfs_maxmin_rates(struct mfs_net *net);
void mfs_sender_order_rates(struct mfs_net *net);

static inline bool mfs_entry_before(const struct mfs_entry *a, const struct mfs_entry *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->tie < b->tie);
}

static inline uint32_t mfs_entry_slot(const struct mfs_entry *entry)
{
    return (uint32_t)(entry->tie & ((1u << MFS_TIE_BITS) - 1));
}

/* First position not before the entry. */
uint32_t mfs_entries_find(const struct mfs_entries *entries, const struct mfs_entry *entry);
void mfs_entries_insert(struct mfs_memory *memory, struct mfs_entries *entries,
                        const struct mfs_entry *entry);
void mfs_entries_erase(struct mfs_entries *entries, const struct mfs_entry *entry);

static inline void mfs_members_add(struct mfs_memory *memory, struct mfs_members *members,
                                   uint32_t one)
{
    MFS_ROOM(memory, members->list, members->capacity, members->count + 1);
    members->list[members->count++] = one;
}

#endif
