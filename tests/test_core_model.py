# SPDX-License-Identifier: Apache-2.0
"""The C queue and a short oracle side by side, driven by Hypothesis.

The oracle keeps every flow in a list and judges all of them anew at every look: no heap, no
timer, no dirty list, no hash table. The rules of the policies are written here a second time.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from mfs_transport.native import NEVER
from mfs_transport.scheduler import UNTAGGED, Facts, Operation, Queue, Tag, rank_key, rank_level

MS = 1_000_000
KEY_MAX = 2**58 - 1
UNDATED = 1 << 57
AHEAD = 3600 * 10**9
REQUESTS = ("a", "b", "c")
POLICIES = ("off", "fifo", "fair", "sjf", "srpt", "edf", "edf_paper", "karuna", "mfs_paper", "mfs")
MAX_FLOWS = 12


@dataclass
class Flow:
    tag: Tag
    sequence: int
    active: int
    arrival: int
    share: int
    operations: list[Operation] = field(default_factory=list)
    left: int = 0
    sent: int = 0
    level: int | None = None
    key: int = 0
    shares: bool = False
    stale: bool = True  # something other than time has changed since it was judged

    @property
    def rank(self) -> tuple[int, int, int]:
        assert self.level is not None
        return (self.level, min(max(self.key, 0), KEY_MAX), self.sequence)


def minus(time: int, span: int) -> int:
    return NEVER if time == NEVER else time - span


@dataclass
class Rules:
    """The policies: (level, key) of a flow."""

    policy: str
    levels: int
    rate: int = 0
    patience: int = 20

    def span(self, size: int) -> int:
        return int(float(size) * 1e9 / float(self.rate)) if self.rate else 0

    def place(self, flow: Flow, facts: Facts, now: int) -> tuple[int, int]:
        stage = "p2d" if flow.tag.stage == "none" else flow.tag.stage
        last, scavenger = self.levels - 1, self.levels
        dated = facts.deadline_ns != NEVER
        match self.policy:
            case "off" | "fifo":
                return 0, flow.arrival
            case "fair":
                return 0, flow.share
            case "sjf":
                return 0, flow.left + flow.sent
            case "srpt":
                return 0, flow.left
            case "edf":
                return (0, facts.deadline_ns) if dated else (last, flow.arrival)
            case "edf_paper":
                return (0, facts.deadline_ns) if stage == "p2d" and dated else (1, flow.share)
            case "karuna":
                if stage != "p2d" or not dated:
                    return 1, flow.left + flow.sent
                part = float(flow.sent) / (float(flow.left) + float(flow.sent))
                span = facts.deadline_ns - flow.active
                ahead = span > 0 and flow.active + int(float(span) * part) > now
                return (scavenger if ahead else 0), facts.deadline_ns
            case "mfs_paper":
                level, key = self.paper(flow, facts, stage, now)
                return (scavenger if facts.shed else level), key
        if stage == "collective":
            finish = self.collective_finish(facts, flow.tag.layer)
            is_short = 0 < facts.collective_ns <= facts.layer_ns // 4
            dated = max(0, finish - AHEAD) if is_short else finish
            return 0, UNDATED + flow.arrival if finish == NEVER else dated
        if stage == "kv_reuse":
            finish = minus(self.collective_finish(facts, flow.tag.layer), facts.layer_ns)
            size, need = flow.left, finish
            turn = now  # when the group in front of it is to compute
            if facts.start_ns != NEVER:
                need = facts.start_ns + flow.tag.layer * facts.layer_ns
                size *= max(0, flow.tag.layer - facts.layer_now) + 1
                turn = need - facts.layer_ns if facts.layer_ns > 0 else now
            if need == NEVER:
                return last, flow.arrival
            level = self.by_urgency(need - now - self.span(size))
            return max(level, 1) if turn > now else level, finish
        if not dated:
            return last, flow.arrival
        needed = self.span(max(flow.left, facts.p2d_left_bytes))
        if facts.hopeless or facts.shed or needed > facts.deadline_ns - now:
            return self.given_up(facts, needed, now)
        return self.by_urgency(facts.deadline_ns - now - 2 * needed), facts.deadline_ns

    def given_up(self, facts: Facts, needed: int, now: int) -> tuple[int, int]:
        """Last, but level 2 once it is late by `patience` times its target."""
        target = facts.deadline_ns - facts.arrival_ns
        known = self.patience > 0 and facts.arrival_ns != 0 and target > 0
        waited = known and now >= facts.deadline_ns + self.patience * target
        due = facts.deadline_ns
        return (2, due) if waited else (self.levels, due + 100 * needed)

    def by_urgency(self, urgency: int) -> int:
        """Of 5 ms at most it is now, of 20 soon."""
        return 0 if urgency <= 5 * MS else 1 if urgency <= 20 * MS else 2

    def collective_finish(self, facts: Facts, group: int) -> int:
        behind = max(0, facts.layers - 1 - group)
        finish = minus(facts.next_start_ns, behind * facts.layer_ns)
        if facts.hopeless:
            return finish
        tail = max(behind * facts.layer_ns + facts.p2d_layer_ns, (behind + 1) * facts.p2d_layer_ns)
        return min(finish, minus(facts.deadline_ns, tail))

    def paper(self, flow: Flow, facts: Facts, stage: str, now: int) -> tuple[int, int]:
        part, date = 0, facts.deadline_ns
        if stage == "p2d":
            part, level = 1 << 57, self.levels - 1
            if date != NEVER:
                time_s = float(date - now) * 1e-9
                level = 0
                mlu = float(flow.left) / (time_s * self.rate) if self.rate and time_s > 0 else 0.0
                while time_s > 0 and level < self.levels - 1 and mlu < 0.5 / 4.0 ** (level + 1):
                    level += 1
        else:
            rli = max(0, flow.tag.layer - facts.layer_now) if stage == "kv_reuse" else 0
            level = 1 + min(rli, self.levels - 2)
            date = facts.deadline_ns if facts.red_ns == NEVER else facts.red_ns
        return level, part | (date if date != NEVER else (1 << 56) | flow.arrival)


class Oracle:
    """What the queue should do."""

    def __init__(self, policy: str, levels: int, permille: int, patience: int) -> None:
        self.rules = Rules(policy, levels, patience=patience)
        self.permille = permille
        self.flows: dict[Tag, Flow] = {}
        self.facts: dict[str, Facts] = {}
        self.now = 0
        self.sequence = 0
        self.clock = 0  # of shares
        self.credit = 0
        self.promotions = 0

    def known(self, flow: Flow) -> Facts:
        request = flow.tag.request
        return self.facts.get(request, Facts()) if isinstance(request, str) else Facts()

    def judge(self) -> None:
        for flow in self.flows.values():
            facts = self.known(flow)
            explicit = flow.tag.stage in ("p2d", "none") and self.rules.policy == "mfs_paper"
            if explicit and facts.layers and not facts.computed and not flow.stale:
                continue  # the paper: at layer boundaries only while the request computes
            flow.stale = False
            level, flow.key = self.rules.place(flow, facts, self.now)
            flow.shares = self.rules.policy == "fair" or (
                self.rules.policy == "edf_paper" and level == 1
            )
            scavenger = self.rules.levels
            # its deadline is gone, and it goes where those without one are
            undated = facts.deadline_ns == NEVER and level == scavenger - 1
            undated = undated and self.rules.policy in ("edf", "mfs")
            stays = flow.level is not None and flow.level < scavenger and level != scavenger
            if flow.level is not None and stays and not undated:
                level = min(level, flow.level)
            flow.level = level

    def best(self) -> Flow | None:
        self.judge()
        return min(self.flows.values(), key=lambda flow: flow.rank[:2], default=None)

    def roots(self) -> tuple[Flow | None, Flow | None]:
        """The best tagged and the best untagged flow."""
        self.judge()
        kinds: list[Flow | None] = []
        for untagged in (False, True):
            flows = [f for f in self.flows.values() if (f.tag.request is None) == untagged]
            kinds.append(min(flows, key=lambda flow: flow.rank, default=None))
        return kinds[0], kinds[1]

    def next_flow(self, limit: int) -> Flow | None:
        tagged, untagged = self.roots()
        if untagged is None:
            return tagged
        if tagged is None or untagged.rank[:2] < tagged.rank[:2] or self.permille == 1000:
            return untagged
        return untagged if self.credit // 1000 >= chunk_length(untagged, limit) else tagged

    def push(self, tag: Tag, operation: Operation) -> Flow | None:
        """To the flow of the tag; where no flow is free, to that of a coarser tag."""
        coarser = (tag, Tag(tag.request, tag.stage, 0), UNTAGGED)
        for key in (UNTAGGED,) if self.rules.policy == "off" else coarser:
            if key not in self.flows and len(self.flows) == MAX_FLOWS:
                continue
            flow = self.flows.get(key)
            if flow is None:
                flow = self.flows[key] = Flow(key, self.sequence, self.now, self.now, self.clock)
                self.sequence += 1
            flow.operations.append(operation)
            flow.left += operation.length
            flow.stale = True
            return flow
        return None

    def account(self, flow: Flow, length: int, waits: bool) -> None:
        if not waits:
            return
        if flow.tag.request is not None:
            if self.permille == 1000:
                return
            self.credit += length * 1000 * self.permille // (1000 - self.permille)
        else:
            self.credit = max(0, self.credit - length * 1000)

    def take(self, limit: int) -> tuple[Operation, int, Flow] | None:
        flow = self.next_flow(limit)
        if flow is None:
            return None
        best = self.best()
        assert best is not None
        length = chunk_length(flow, limit)
        self.account(flow, length, self.roots()[1] is not None)
        if flow.shares and flow.rank[:2] == best.rank[:2]:
            self.clock = flow.share
        flow.left -= length
        flow.sent += length
        flow.share += length
        operation = flow.operations[0]
        return operation, length, flow

    def drop(self, operation: Operation, flow: Flow, posted: dict[int, int]) -> None:
        flow.operations.remove(operation)
        if not flow.operations:
            del self.flows[flow.tag]
        else:
            flow.arrival = posted[id(flow.operations[0])]
            flow.stale |= self.known(flow).deadline_ns == NEVER  # its key is the arrival


def chunk_length(flow: Flow, limit: int) -> int:
    left = flow.operations[0].length - flow.operations[0].taken
    return limit - limit % 128 if left > limit else left


names = st.sampled_from((*POLICIES, "mfs", "mfs", "mfs"))
times = st.integers(0, 2000).map(lambda ms: ms * MS)
tags = st.one_of(
    st.builds(
        Tag,
        st.sampled_from(REQUESTS),
        st.sampled_from(("kv_reuse", "collective", "p2d")),
        st.integers(0, 1),
    ),
    st.builds(Tag, st.none(), st.sampled_from(("none", "p2d", "collective")), st.just(0)),
)
rarely = st.sampled_from((False, False, False, True))
facts = st.builds(
    Facts,
    deadline_ns=st.one_of(times, times, st.just(NEVER)),
    arrival_ns=st.sampled_from((0, 1, 50 * MS)),
    next_start_ns=st.one_of(times, st.just(NEVER)),
    red_ns=st.one_of(times, st.just(NEVER)),
    start_ns=st.one_of(times, st.just(NEVER)),
    layer_ns=st.sampled_from((0, MS, 10 * MS)),
    collective_ns=st.sampled_from((0, 0, MS // 4, 5 * MS)),
    p2d_layer_ns=st.sampled_from((0, MS, 20 * MS)),
    p2d_left_bytes=st.sampled_from((0, 1000, 50_000)),
    layers=st.integers(0, 4),
    layer_now=st.integers(0, 4),
    hopeless=rarely,
    shed=rarely,
    computed=st.booleans(),
)


class Model(RuleBasedStateMachine):
    operations = Bundle("operations")

    @initialize(
        policy=names,
        levels=st.integers(4, 9),
        permille=st.sampled_from((0, 50, 333, 1000)),
        patience=st.sampled_from((0, 1, 20)),
    )
    def start(self, policy: str, levels: int, permille: int, patience: int) -> None:
        self.queue = Queue(
            policy,
            max_flows=MAX_FLOWS,
            untagged_permille=permille,
            levels=levels,
            patience=patience,
        )
        self.oracle = Oracle(policy, levels, permille, patience)
        self.posted: dict[int, int] = {}  # operation -> when
        self.home: dict[int, Flow] = {}  # operation -> its flow
        self.covered: dict[int, int] = {}
        self.waited = self.waited_untagged = self.largest = 0

    # --- what happens ---

    @rule(
        target=operations,
        wanted=st.lists(st.tuples(tags, st.integers(1, 5000)), min_size=1, max_size=5),
    )
    def push(self, wanted: list[tuple[Tag, int]]) -> MultipleResults[Operation]:
        return multiple(*(self.push_one(tag, length) for tag, length in wanted))

    def push_one(self, tag: Tag, length: int) -> Operation:
        operation = Operation(tag, length)
        flow = self.oracle.push(tag, operation)
        if flow is not None:
            self.queue.push_operation(operation)
            self.posted[id(operation)] = self.oracle.now
            self.home[id(operation)] = flow
            self.covered[id(operation)] = 0
        else:
            with pytest.raises(OSError, match="push") as caught:
                self.queue.push_operation(operation)
            assert caught.value.errno == errno.ENOSPC
        return operation

    @rule(limit=st.integers(128, 4096), times=st.integers(1, 4))
    def take(self, limit: int, times: int) -> None:
        for _ in range(times):
            self.take_one(limit)

    def take_one(self, limit: int) -> None:
        self.largest = max(self.largest, limit)
        waits = self.oracle.roots()[1] is not None
        wanted = self.oracle.take(limit)
        before = rank_levels(self.oracle)
        chunk = self.queue.take(limit)
        if wanted is None:
            assert chunk is None
            return
        assert chunk is not None  # work conserving
        operation, length, flow = wanted
        assert chunk.operation is operation
        assert chunk.length == length
        assert chunk.offset == self.covered[id(operation)]  # no gap, nothing twice
        assert (chunk.level, rank_key(chunk.rank)) == flow.rank[:2]
        assert chunk.level == before[flow.sequence]
        self.covered[id(operation)] += length
        assert chunk.last == (self.covered[id(operation)] == operation.length)
        assert chunk.last or self.covered[id(operation)] % 128 == 0
        self.check_share(flow, length, waits)
        if chunk.last:
            self.oracle.drop(operation, flow, self.posted)

    def check_share(self, flow: Flow, length: int, waits: bool) -> None:
        """n bytes of untagged traffic leave before n * 1000 / share + one chunk have left."""
        if not waits:
            self.waited = self.waited_untagged = 0
            return
        share = self.oracle.permille
        self.waited += length
        self.waited_untagged += length if flow.tag.request is None else 0
        owed = self.waited_untagged + self.largest  # the chunk that is next
        assert self.waited * share <= owed * 1000 + self.largest * share

    @rule(operation=consumes(operations))
    def remove(self, operation: Operation) -> None:
        flow = self.home.get(id(operation))
        if flow is None or operation not in flow.operations:
            with pytest.raises(OSError, match="remove"):
                self.queue.remove(operation)
            return
        self.queue.remove(operation)
        flow.left -= operation.length - operation.taken
        flow.stale = True
        self.oracle.drop(operation, flow, self.posted)

    @rule(span=st.one_of(st.integers(0, 1000), st.integers(0, 30).map(lambda ms: ms * MS)))
    def advance(self, span: int) -> None:
        self.oracle.now += span
        self.queue.now_ns = self.oracle.now

    @rule()
    def advance_to_the_next_promotion(self) -> None:
        """Until next_ns nothing changes by itself."""
        self.agree()
        due = self.queue.next_ns
        if due == NEVER or due > 10**15:
            return
        before = rank_levels(self.oracle)
        self.oracle.now = max(self.oracle.now, due - 1)
        self.oracle.judge()
        assert rank_levels(self.oracle) == before
        self.oracle.now = due
        self.queue.now_ns = due

    @rule(request=st.sampled_from(REQUESTS), known=facts)
    def learn(self, request: str, known: Facts) -> None:
        self.queue.facts[request] = known
        self.oracle.facts[request] = known
        self.changed()

    @rule(known=st.dictionaries(st.sampled_from(REQUESTS), facts, min_size=1))
    def learn_all(self, known: dict[str, Facts]) -> None:
        self.queue.facts.update_all(dict(known.items()))
        self.oracle.facts.update(known)
        self.changed()

    @precondition(lambda self: self.oracle.facts)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.oracle.facts)))
        del self.queue.facts[request]
        del self.oracle.facts[request]
        self.changed()

    @rule(policy=names, levels=st.integers(4, 9))
    def set_policy(self, policy: str, levels: int) -> None:
        self.queue.set_policy(policy, levels=levels)
        self.oracle.rules.policy = policy
        self.oracle.rules.levels = levels
        for flow in self.oracle.flows.values():
            flow.level = None
        self.changed()

    @rule(rate=st.sampled_from((0, 10_000, 100_000, 103_000, 1_000_000, 10**9)))
    def set_rate(self, rate: int) -> None:
        old = self.oracle.rules.rate
        self.queue.set_rate(rate)
        if abs(rate - old) > old // 32:
            self.oracle.rules.rate = rate
            self.changed()
        self.queue.params.rate_Bps = self.oracle.rules.rate

    def home_of(self, operation: Operation) -> list[Operation]:
        """What is queued in the flow of an operation."""
        flow = self.home.get(id(operation))
        return flow.operations if flow else []

    def changed(self) -> None:
        for flow in self.oracle.flows.values():
            flow.stale = True
        # a change is seen at the next look; look, since another may hide it
        self.agree()

    # --- what holds at any time ---

    @invariant()
    def agree(self) -> None:
        best = self.oracle.best()
        rank = self.queue.peek()
        if best is None:
            assert rank is None
        else:
            assert rank is not None
            assert (rank_level(rank), rank_key(rank)) == best.rank[:2]
        counters = self.queue.counters
        assert counters.flows == len(self.oracle.flows)
        assert counters.operations == sum(len(f.operations) for f in self.oracle.flows.values())
        assert counters.bytes == sum(flow.left for flow in self.oracle.flows.values())

    def teardown(self) -> None:
        """Everything that is left comes out, once."""
        if hasattr(self, "queue"):
            while len(self.queue):
                self.take_one(4096)
            assert self.queue.take(4096) is None
            assert not self.oracle.flows


def rank_levels(oracle: Oracle) -> dict[int, int | None]:
    return {flow.sequence: flow.level for flow in oracle.flows.values()}


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=250,
    stateful_step_count=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def random_tag(random: Random) -> Tag:
    if random.random() < 0.15:
        return Tag(None, random.choice(("none", "p2d")))
    stage = random.choice(("kv_reuse", "collective", "p2d", "p2d"))
    return Tag(random.choice(REQUESTS), stage, random.randrange(2))


def random_facts(random: Random, now: int) -> Facts:
    def time() -> int:
        return now + random.randrange(1000) * MS if random.random() < 0.8 else NEVER

    return Facts(
        deadline_ns=time(),
        next_start_ns=time(),
        red_ns=time(),
        start_ns=time(),
        layer_ns=random.choice((0, MS, 10 * MS)),
        collective_ns=random.choice((0, 0, MS // 4, 5 * MS)),
        p2d_layer_ns=random.choice((0, MS, 20 * MS)),
        p2d_left_bytes=random.choice((0, 0, 1000, 50_000)),
        layers=random.randrange(5),
        layer_now=random.randrange(5),
        hopeless=random.random() < 0.1,
        shed=random.random() < 0.1,
        computed=random.random() < 0.5,
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_long_run(policy: str) -> None:
    """The same machine with a queue that stays about half full, for thousands of steps."""
    random = Random(policy)
    model = Model()
    model.start(policy, levels=8, permille=50, patience=20)
    model.set_rate(100_000)
    operations: list[Operation] = []
    for _ in range(2500):
        match random.randrange(12):
            case 0 | 1 | 2 | 3:
                operations.append(model.push_one(random_tag(random), random.randrange(1, 3000)))
            case 4 | 5 | 6 | 7:
                model.take(random.randrange(128, 4096), 1)
            case 8:
                operations = [one for one in operations if one in model.home_of(one)]
                if operations:
                    model.remove(operations.pop(random.randrange(len(operations))))
            case 9:
                model.advance(random.randrange(20) * MS)
            case 10:
                model.advance_to_the_next_promotion()
            case 11:
                known = random_facts(random, model.oracle.now)
                if random.random() < 0.5:
                    model.learn(random.choice(REQUESTS), known)
                elif random.random() < 0.3:
                    model.set_rate(random.choice((10_000, 100_000, 1_000_000)))
        model.agree()
    model.teardown()
