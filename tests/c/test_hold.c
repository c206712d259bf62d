/* SPDX-License-Identifier: Apache-2.0 */
#include "core/hold.h"
#include "core/rmlq.h"

#include "test.h"

#define S INT64_C(1000000000)
#define NEVER MFS_TIME_NEVER

/* One that the policy has given up, posted at 1 s. */
static struct mfs_place placed(int64_t hold_ns, int64_t facts_hold_ns, uint64_t left,
                               int64_t now_ns)
{
    const struct mfs_flow_info flow = {.arrival_ns = S, .bytes_left = left};
    struct mfs_place place = {
        .level = 8, .moves = MFS_MOVES_SENT, .key = 12345, .recheck_ns = NEVER};
    struct mfs_params params;
    struct mfs_facts facts;

    mfs_params_init(&params);
    mfs_facts_init(&facts);
    params.hold_ns = hold_ns;
    params.rate_Bps = 1000;
    facts.hold_ns = facts_hold_ns;
    mfs_place_in_time(&params, &flow, &facts, now_ns, &place);
    return place;
}

static void place_in_time__no_bound_changes_nothing(void)
{
    const struct mfs_place place = placed(0, 0, 1000, 1000000 * S);

    CHECK_EQ(place.level, 8);
    CHECK_EQ(place.key, 12345);
    CHECK_EQ(place.recheck_ns, NEVER);
    CHECK_EQ(place.moves, MFS_MOVES_SENT);
}

static void place_in_time__first_when_twice_what_it_needs_is_left(void)
{
    struct mfs_place place = placed(10 * S, 0, 1000, 9 * S - 1); /* needs 1 s */

    CHECK_EQ(place.level, 8);
    CHECK_EQ(place.recheck_ns, 9 * S);
    CHECK_EQ(placed(10 * S, 0, 1000, 2 * S).recheck_ns, 6 * S); /* half of it: a look */
    place = placed(10 * S, 0, 1000, 9 * S);
    CHECK_EQ(place.level, 0);
    CHECK_EQ(place.key, 0);
    CHECK_EQ(place.recheck_ns, NEVER);
    CHECK_EQ(place.moves, MFS_MOVES_ARRIVAL);
}

static void place_in_time__a_large_one_waits_for_half_of_it(void)
{
    CHECK_EQ(placed(10 * S, 0, 1000000, 6 * S - 1).level, 8);
    CHECK_EQ(placed(10 * S, 0, 1000000, 6 * S).level, 0);
}

static void place_in_time__the_shorter_of_the_two_counts(void)
{
    CHECK_EQ(placed(100 * S, 10 * S, 1000, 9 * S).level, 0);
    CHECK_EQ(placed(10 * S, 100 * S, 1000, 9 * S).level, 0);
    CHECK_EQ(placed(0, 4 * S, 1000, 3 * S).level, 0);
}

/* The policy may look earlier; and it may be in order of arrival anyway. */
static void place_in_time__leaves_what_is_sooner(void)
{
    const struct mfs_flow_info flow = {.arrival_ns = S, .bytes_left = 1};
    struct mfs_place place = {.level = 3, .key = 7, .recheck_ns = 2 * S};
    struct mfs_params params;
    struct mfs_facts facts;

    mfs_params_init(&params);
    mfs_facts_init(&facts);
    params.hold_ns = 10 * S;
    mfs_place_in_time(&params, &flow, &facts, S, &place);
    CHECK_EQ(place.recheck_ns, 2 * S);
    place = (struct mfs_place){.moves = MFS_MOVES_ARRIVAL, .key = S, .recheck_ns = NEVER};
    mfs_place_in_time(&params, &flow, &facts, 100 * S, &place);
    CHECK_EQ(place.key, S);
}

static void place_last(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)params, (void)flow, (void)facts, (void)now_ns;
    place->level = 3;
    place->moves = MFS_MOVES_ARRIVAL;
    place->key = 7;
}

/* What is added behind an operation in the second half of its bound counts as well, though the
 * policy orders by arrival: 1,000 bytes at 1,000 B/s are due at 9 s, 2,000 at 7 s. */
static void hold__counts_what_is_added_later(void)
{
    static const struct mfs_policy by_arrival = {.name = "last", .place = place_last};
    struct mfs_op first = {.length = 1000}, second = {.length = 1000};
    const struct mfs_tag tag = {.request = 5};
    struct mfs_rmlq_config config;
    struct mfs_rmlq *queue;
    struct mfs_voq voq = {0};
    struct mfs_head head;

    mfs_rmlq_config_init(&config);
    config.policy = &by_arrival;
    config.params.hold_ns = 10 * S;
    config.params.rate_Bps = 1000;
    CHECK_EQ(mfs_rmlq_create(&config, &queue), 0);
    CHECK_EQ(mfs_voq_open(queue, &voq), 0);
    CHECK_EQ(mfs_rmlq_push(queue, &first, &voq, &tag, S), 0);
    mfs_rmlq_place_due(queue, 6 * S + 1);
    CHECK_EQ(mfs_rmlq_push(queue, &second, &voq, &tag, 6 * S + 2), 0);
    mfs_rmlq_place_due(queue, 7 * S - 1);
    mfs_rmlq_head(queue, MFS_VOQ_OPEN, MFS_TAGGED, 1 << 20, &head);
    CHECK_EQ(mfs_rank_level(head.rank), 3);
    mfs_rmlq_place_due(queue, 7 * S);
    mfs_rmlq_head(queue, MFS_VOQ_OPEN, MFS_TAGGED, 1 << 20, &head);
    CHECK_EQ(mfs_rank_level(head.rank), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &first), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &second), 0);
    mfs_voq_close(queue, &voq);
    mfs_rmlq_destroy(queue);
}

int main(void)
{
    hold__counts_what_is_added_later();
    place_in_time__no_bound_changes_nothing();
    place_in_time__first_when_twice_what_it_needs_is_left();
    place_in_time__a_large_one_waits_for_half_of_it();
    place_in_time__the_shorter_of_the_two_counts();
    place_in_time__leaves_what_is_sooner();
    return 0;
}
