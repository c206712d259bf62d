/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/net.h"

#include <math.h>

#include "test.h"

#define SLOTS 40
#define HOSTS 4

static struct mfs_memory memory;

static void net_of(struct mfs_net *net, const double *capacity, uint32_t links, uint32_t tiers)
{
    if (setjmp(memory.failed))
        FAIL("no memory");
    mfs_net_init(net, &memory, capacity, links, tiers);
}

static void settle(struct mfs_net *net)
{
    mfs_net_rates_anew(net);
    mfs_net_settled(net);
}

static struct mfs_route route(uint32_t from, uint32_t to)
{
    return (struct mfs_route){2, {from, HOSTS + to}};
}

#define CHECK_RATE(net, slot, wanted)                                                              \
    do {                                                                                           \
        double rate_ = (net)->slots[slot].rate;                                                    \
        if (fabs(rate_ - (wanted)) > 1e-6)                                                         \
            FAIL("rate of %s is %g, not %g", #slot, rate_, (double)(wanted));                      \
    } while (0)

static void order__first_takes_all_and_leaves_it(void)
{
    const double capacity[2 * HOSTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct mfs_route same = route(0, 0);
    struct mfs_net net;
    uint32_t a, b;

    net_of(&net, capacity, 2 * HOSTS, 0);
    a = mfs_slot_new(&net, &same, 0);
    b = mfs_slot_new(&net, &same, 1);
    mfs_slot_order(&net, a, 5, 0, INFINITY);
    mfs_slot_order(&net, b, 5, 1, INFINITY);
    settle(&net);
    CHECK_RATE(&net, a, 1);
    CHECK_RATE(&net, b, 0);
    mfs_slot_order(&net, b, 4, 1, INFINITY); /* promoted */
    settle(&net);
    CHECK_RATE(&net, a, 0);
    CHECK_RATE(&net, b, 1);
    mfs_slot_order(&net, b, 4, 1, 0.25); /* capped: the other has what it leaves */
    settle(&net);
    CHECK_RATE(&net, a, 0.75);
    CHECK_RATE(&net, b, 0.25);
    mfs_slot_leave(&net, b);
    settle(&net);
    CHECK_RATE(&net, a, 1);
    CHECK_RATE(&net, b, 0);
    mfs_slot_free(&net, a);
    mfs_slot_free(&net, b);
    settle(&net);
    mfs_memory_free_all(&memory);
}

static void share__by_weight_below_what_is_ordered(void)
{
    const double capacity[2 * HOSTS] = {8, 8, 8, 8, 8, 8, 8, 8};
    const struct mfs_route same = route(0, 0);
    struct mfs_net net;
    uint32_t a, b, c;

    net_of(&net, capacity, 2 * HOSTS, 2);
    a = mfs_slot_new(&net, &same, 0);
    b = mfs_slot_new(&net, &same, 1);
    c = mfs_slot_new(&net, &same, 2);
    mfs_slot_share(&net, a, 1, 1.0);
    mfs_slot_share(&net, b, 1, 3.0);
    mfs_slot_order(&net, c, 0, 0, 4.0);
    settle(&net);
    CHECK_RATE(&net, a, 1);
    CHECK_RATE(&net, b, 3);
    CHECK_RATE(&net, c, 4);
    mfs_slot_share(&net, b, 2, 3.0); /* to the next tier: nothing is left for it */
    settle(&net);
    CHECK_RATE(&net, a, 4);
    CHECK_RATE(&net, b, 0);
    mfs_slot_leave(&net, a);
    settle(&net);
    CHECK_RATE(&net, b, 4);
    mfs_slot_order(&net, b, 0, 1, INFINITY); /* and among the ordered */
    settle(&net);
    CHECK_RATE(&net, b, 4);
    mfs_memory_free_all(&memory);
}

static void sender__receivers_share_what_senders_order(void)
{
    const double capacity[2 * HOSTS] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct mfs_route routes[] = {route(0, 0), route(1, 0), route(1, 1), route(0, 2)};
    struct mfs_net net;
    uint32_t slot[4];

    net_of(&net, capacity, 2 * HOSTS, 0);
    net.sender = true;
    for (uint32_t i = 0; i < 4; i++) {
        slot[i] = mfs_slot_new(&net, &routes[i], i);
        mfs_slot_order(&net, slot[i], i, i, INFINITY);
    }
    settle(&net);
    /* both senders put host 0 first, it takes half of each; the rest goes to the next ones */
    for (uint32_t i = 0; i < 4; i++)
        CHECK_RATE(&net, slot[i], 0.5);
    net.classes = 2;
    for (uint32_t i = 1; i < 4; i++)
        mfs_slot_class(&net, slot[i], 1);
    settle(&net);
    CHECK_RATE(&net, slot[0], 1); /* the fabric serves class 0 first */
    CHECK_RATE(&net, slot[1], 0);
    CHECK_RATE(&net, slot[2], 1);
    CHECK_RATE(&net, slot[3], 0);
    mfs_memory_free_all(&memory);
}

/* --- whatever has happened before, the rates are those of a new net --- */

static void apply(struct mfs_net *net, uint32_t slot, const struct mfs_slot *like)
{
    if (like->state == MFS_SLOT_ORDERED)
        mfs_slot_order(net, slot, like->rank, like->tie >> MFS_TIE_BITS, like->cap);
    else if (like->state == MFS_SLOT_SHARED)
        mfs_slot_share(net, slot, like->tier, like->weight);
    mfs_slot_class(net, slot, like->class);
}

static void check_anew(const struct mfs_net *net, const double *capacity, int step)
{
    struct mfs_net anew;
    uint32_t slots[SLOTS];

    mfs_net_init(&anew, &memory, capacity, 2 * HOSTS, net->tiers);
    anew.sender = net->sender;
    anew.classes = net->classes;
    for (uint32_t i = 0; i < SLOTS; i++) {
        slots[i] = mfs_slot_new(&anew, &net->slots[i].route, i);
        apply(&anew, slots[i], &net->slots[i]);
    }
    settle(&anew);
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (fabs(net->slots[i].rate - anew.slots[slots[i]].rate) > (net->sender ? 1e-3 : 1e-7))
            FAIL("step %d: rate of %u is %.9g, not %.9g", step, i, net->slots[i].rate,
                 anew.slots[slots[i]].rate);
    }
}

static void change_and_compare(uint32_t tiers, bool sender)
{
    double capacity[2 * HOSTS];
    uint64_t seed = 7 + tiers;
    struct mfs_net net;
    size_t before;

    for (uint32_t i = 0; i < 2 * HOSTS; i++)
        capacity[i] = 1.0 + (double)(test_random(&seed) % 4);
    net_of(&net, capacity, 2 * HOSTS, tiers);
    net.sender = sender;
    net.classes = 3;
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct mfs_route any =
            route((uint32_t)(test_random(&seed) % HOSTS), (uint32_t)(test_random(&seed) % HOSTS));

        CHECK_EQ(mfs_slot_new(&net, &any, i), i);
    }
    before = memory.bytes;
    for (int step = 0; step < 1500; step++) {
        for (uint32_t changes = 1 + (uint32_t)(test_random(&seed) % 3); changes > 0; changes--) {
            const uint32_t slot = (uint32_t)(test_random(&seed) % SLOTS);
            const uint64_t kind = test_random(&seed) % 6;

            if (kind == 0)
                mfs_slot_leave(&net, slot);
            else if (kind < 3 && tiers > 0)
                mfs_slot_share(&net, slot, 1 + (uint32_t)(test_random(&seed) % tiers),
                               1.0 + (double)(test_random(&seed) % 3));
            else
                mfs_slot_order(&net, slot, test_random(&seed) % 6, slot,
                               kind == 5 ? 0.5 : (double)INFINITY);
            if (sender && net.slots[slot].state == MFS_SLOT_ORDERED)
                mfs_slot_class(&net, slot, (uint32_t)net.slots[slot].rank / 2);
        }
        settle(&net);
        if (step % 5 == 0)
            check_anew(&net, capacity, step);
    }
    CHECK(memory.bytes > before);
    mfs_memory_free_all(&memory);
    CHECK_EQ(memory.bytes, 0);
}

static void settle__as_anew_ordered(void)
{
    change_and_compare(0, false);
}

static void settle__as_anew_shared(void)
{
    change_and_compare(1, false);
    change_and_compare(3, false);
}

static void settle__as_anew_sender(void)
{
    change_and_compare(0, true);
}

static const struct test tests[] = {
    TEST(order__first_takes_all_and_leaves_it),
    TEST(share__by_weight_below_what_is_ordered),
    TEST(sender__receivers_share_what_senders_order),
    TEST(settle__as_anew_ordered),
    TEST(settle__as_anew_shared),
    TEST(settle__as_anew_sender),
};
TEST_MAIN(tests)
