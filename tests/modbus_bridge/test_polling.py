"""The plan of polling, in its own time: nothing here waits."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.codecs.modbus import BITS_READ, REGISTERS_READ, Read
from modbus_bridge.polling import AGAIN, Block, Item, Patience, Schedule, join

EXCHANGE = 0.02  # s that an answered request takes on the line


def item(address, count=1, table="holding", every=1.0):
    return Item(f"{table}-{address}", table, address, count, every)


def spans(blocks):
    return [(each.first.address, each.end) for each in blocks]


def test_neighbours_are_joined_up_to_a_gap():
    items = [item(0), item(1, 2), item(6), item(20)]
    assert spans(join(items, 3)) == [(0, 7), (20, 21)]
    assert spans(join(items, 0)) == [(0, 3), (6, 7), (20, 21)]
    assert join(items, 3)[0].request == Read("holding", 0, 7)


def test_tables_and_periods_are_apart():
    items = [item(0), item(1, table="input"), item(2, every=5.0), item(3, table="coil")]
    assert len(join(items, 100)) == 4


def test_bits_are_joined_over_as_many_registers():
    items = [item(0, table="coil"), item(128, table="coil"), item(400, table="coil")]
    assert spans(join(items, 8)) == [(0, 129), (400, 401)]


def test_a_block_that_is_refused_is_split_at_its_holes_and_then_in_halves():
    block = join([item(0), item(1), item(5), item(6)], 8)[0]
    assert spans(block.pieces) == [(0, 2), (5, 7)]
    assert spans(block.pieces[0].pieces) == [(0, 1), (1, 2)]
    assert block.pieces[0].pieces[0].pieces == []


def test_overlapping_items_are_one_block_and_have_their_own_parts():
    block = join([item(10, 4), item(11), item(12, 2)], 0)[0]
    answer = bytes(range(8))
    assert [answer[place] for place in block.places.values()] == [
        answer,
        answer[2:4],
        answer[4:8],
    ]
    bits = Block((item(3, table="coil"), item(5, table="coil")))
    assert [[True, False, False][place] for place in bits.places.values()] == [
        [True],
        [False],
    ]


items = st.lists(
    st.builds(
        item,
        st.integers(0, 3000),
        st.integers(1, 4),
        st.sampled_from(["holding", "coil"]),
        st.sampled_from([0.0, 1.0, 5.0]),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(
    items, st.integers(0, 20), st.integers(4, REGISTERS_READ), st.integers(4, BITS_READ)
)
def test_every_item_is_in_one_block_within_the_limits(found, gap, registers, bits):
    blocks = join(found, gap, registers, bits)
    assert sorted(map(repr, found)) == sorted(
        repr(each) for block in blocks for each in block.items
    )
    for block in blocks:
        request = block.request
        assert request.count <= (bits if request.bits else registers)
        pieces = block.pieces or [block]
        assert sorted(map(repr, block.items)) == sorted(
            repr(each) for piece in pieces for each in piece.items
        )
        assert len(pieces) > 1 or block.pieces == []


class Bus:
    """A line in virtual time: units that answer or not, and the reads of blocks."""

    def __init__(self, blocks, patience=None, exchange=EXCHANGE):
        self.now, self.dead, self.exchange = 0.0, set(), exchange
        self.patience = patience or {name: Patience() for name in blocks}
        self.schedule = Schedule(blocks, self.patience, 0.0)
        self.read = {name: [] for name in blocks}
        self.asked = []

    def run(self, until):
        while self.now < until:
            job = self.schedule.take_next(self.now)
            if job is None:
                self.now = min(self.schedule.next_due(), until)
                continue
            name, block, planned = job
            self.asked.append((self.now, name))
            silent = name in self.dead
            self.now += self.patience[name].timeout if silent else self.exchange
            if silent:
                self.schedule.note_silence(name, self.now)
            else:
                self.read[name].append(self.now)
                self.schedule.note_answer(name, self.now)
            self.schedule.plan_next(name, block, planned, self.now, not silent)

    def rate(self, name, start, end):
        return sum(start <= each < end for each in self.read[name]) / (end - start)


@pytest.mark.parametrize("every", [0.01, 0.1, 1.0], ids=["saturated", "busy", "easy"])
def test_a_dead_unit_leaves_its_mates_nine_tenths_of_their_rate_and_comes_back(every):
    bus = Bus({name: join([item(0, every=every)], 0) for name in "abc"})
    bus.run(300)
    before = {name: bus.rate(name, 100, 300) for name in "ab"}
    bus.dead = {"c"}
    bus.run(900)
    for name in "ab":
        assert bus.rate(name, 300, 900) >= 0.9 * before[name]
        # from the moment when it is known
        assert bus.rate(name, 305, 365) >= 0.9 * before[name]
    assert bus.schedule.quarantined("c")
    bus.dead = set()
    bus.run(1300)
    assert bus.read["c"][-1] > 1290
    # at most a probe later
    assert min(each for each in bus.read["c"] if each > 900) < 900 + 31
    assert bus.rate("a", 1000, 1300) == pytest.approx(before["a"], rel=0.05)


def test_probes_come_ever_more_rarely_up_to_a_limit():
    bus = Bus(
        {"a": join([item(0)], 0)}, {"a": Patience(timeout=0.5, silences=3, probe=15)}
    )
    bus.dead = {"a"}
    bus.run(100)
    times = [when for when, _ in bus.asked]
    gaps = [
        round(second - first - 0.5, 6) for first, second in itertools.pairwise(times)
    ]
    assert gaps[:2] == [0.5, 0.5]  # not yet known to be dead
    assert gaps[2:6] == [5, 10, 15, 15]
    assert bus.schedule.overruns("a") == 0  # the line was not busy


def test_a_slow_unit_in_quarantine_takes_at_most_a_tenth():
    bus = Bus(
        {"a": join([item(0)], 0)}, {"a": Patience(timeout=10, silences=1, probe=1)}
    )
    bus.dead = {"a"}
    bus.run(1000)
    assert len(bus.asked) * 10 <= 1000 / 10 + 10


def test_a_quarantine_is_taken_up_by_the_next_session():
    schedule = Schedule({"a": join([item(0)], 0)}, {"a": Patience()}, 100.0)
    schedule.quarantine("a", 7, 100.0)
    name, block, planned = schedule.take_next(100.0)
    assert schedule.note_silence(name, 101.0)
    schedule.plan_next(name, block, planned, 101.0, False)
    assert schedule.take_next(110) is None
    assert schedule.failures("a") == 8


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_due_unit_waits_more_than_one_round(data):
    """While a unit waits, every other one is served at most once."""
    names = "abcde"
    periods = {
        name: data.draw(st.sampled_from([0.01, 0.05, 0.3, 1.0])) for name in names
    }
    counts = {name: data.draw(st.integers(1, 5)) for name in names}
    blocks = {
        name: join(
            [item(100 * number, every=periods[name]) for number in range(counts[name])],
            0,
        )
        for name in names
    }
    bus = Bus(blocks)
    bus.dead = set(data.draw(st.sets(st.sampled_from(names), max_size=2)))
    waiting = {}
    for _ in range(500):
        due = {
            name
            for name, unit in bus.schedule._units.items()
            if bus.schedule._due(unit) <= bus.now
        }
        for name in due:
            waiting.setdefault(name, [])
        before = len(bus.asked)
        bus.run(bus.now + 1e-9)
        for _, name in bus.asked[before:]:
            for other, seen in waiting.items():
                if other != name and other in due:
                    seen.append(name)
                    assert len(set(seen)) == len(seen), (
                        f"{other} waits while {name} has a second turn"
                    )
            waiting.pop(name, None)
        bus.now = max(bus.now, bus.schedule.next_due())


def test_periods_keep_their_phase_and_what_is_missed_is_counted():
    bus = Bus({"a": join([item(0, every=1.0)], 0)})
    bus.run(10.5)
    assert [round(each, 6) for each in bus.read["a"]] == [
        round(n + EXCHANGE, 6) for n in range(11)
    ]
    assert bus.schedule.overruns("a") == 0
    slow = Bus({"a": join([item(0, every=1.0)], 0)}, exchange=3.5)
    slow.run(350)
    assert len(slow.read["a"]) == pytest.approx(100, abs=2)
    assert slow.schedule.overruns("a") == pytest.approx(250, abs=5)


def test_what_is_read_once_is_tried_again_until_it_was_read():
    bus = Bus({"a": join([item(0, every=0.0)], 0)}, {"a": Patience(silences=100)})
    bus.dead = {"a"}
    bus.run(3 * AGAIN)
    assert len(bus.asked) == 3
    bus.dead = set()
    bus.run(1000)
    assert len(bus.read["a"]) == 1
    assert bus.schedule.next_due() == float("inf")


def test_all_of_a_unit_that_comes_back_is_read_at_once():
    periods = (0.0, 1.0, 3600.0)  # once, often, seldom
    blocks = [
        join([item(100 * number, every=every)], 0)[0]
        for number, every in enumerate(periods)
    ]
    schedule = Schedule({"a": blocks}, {"a": Patience(silences=1)}, 0.0)
    for now in (0.0, 0.1, 0.2):
        name, block, planned = schedule.take_next(now)
        schedule.plan_next(name, block, planned, now)
    name, block, planned = schedule.take_next(1.5)
    assert schedule.note_silence(name, 2.5)
    schedule.plan_next(name, block, planned, 2.5, False)
    name, block, planned = schedule.take_next(20)
    assert schedule.note_answer(name, 20)
    schedule.plan_next(name, block, planned, 20)
    read = []
    while (job := schedule.take_next(20.0)) is not None:
        read.append(job[1].every)
        schedule.plan_next(*job, 20.0)
    assert {0.0, 3600.0} <= set(read)


def test_a_day_of_units_that_come_and_go():
    chance = random.Random(4)
    bus = Bus(
        {
            name: join([item(0, every=1.0), item(500, every=60.0)], 0)
            for name in "abcdef"
        }
    )
    end = 0.0
    while end < 86400:
        bus.dead = {name for name in "abcdef" if chance.random() < 0.3}
        end += chance.uniform(1, 3600)
        bus.run(end)
    bus.dead = set()
    bus.run(end + 100)
    for name in "abcdef":
        assert not bus.schedule.quarantined(name)
        assert bus.rate(name, end + 50, end + 100) == pytest.approx(1.0, abs=0.1)
