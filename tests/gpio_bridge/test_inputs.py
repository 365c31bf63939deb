"""Inputs on a simulated chip and a clock that is moved.

Whatever bounces, order is kept and the end is true.
"""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busbar.testing.fakes import Clock, settle
from gpio_bridge.backends.sim import SimChip
from gpio_bridge.lines.inputs import Input
from gpio_bridge.lines.line import LineContext, WallClock
from gpio_bridge.settings import Debounce, In

MODES = {
    "none": None,
    "settle": Debounce(mode="settle", time=0.02),
    "glitch": Debounce(mode="glitch", time=0.02),
    "lockout": Debounce(mode="lockout", time=0.02),
}


class RecordedOutlet:
    """An outlet that keeps events and values."""

    def __init__(self):
        self.edges, self.values_ = [], []

    def event(self, name, fields, time=None):
        self.edges.append((time, fields))

    def values(self, values, time=None):
        self.values_.append((time, values["door"]))


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=20, deadline=None)
@given(
    bounces=st.lists(
        st.tuples(st.booleans(), st.integers(0, 50), st.booleans()), max_size=30
    )
)
async def test_order_is_kept_and_the_final_level_is_true_whatever_bounces_and_is_lost(
    mode, bounces
):
    clock, chip, outlet = Clock(), SimChip(), RecordedOutlet()
    lost = []
    context = LineContext(
        chip,
        outlet,
        WallClock(asyncio.get_running_loop().time, clock.now),
        None,
        on_lost=lambda name, n: lost.append(n),
    )
    line = Input(In(name="door", line=17, debounce=MODES[mode]), (17,), context)
    await line.open()
    for level, pause, lose in bounces:
        chip.pins[17].lose = int(lose)
        chip.drive(17, level)
        await clock.advance(pause / 1000)
    await clock.advance(0.1)
    chip.pins[17].lose = 0
    # one more that is not lost: a loss behind the last edge shows with the next
    chip.drive(17, not chip.level(17))
    await clock.advance(0.1)
    await settle()
    assert outlet.values_[-1][1] == line.level(17) == chip.level(17)
    stamps = [time for time, _ in outlet.edges]
    assert stamps == sorted(stamps)
    numbers = [fields["line_seq"] for _, fields in outlet.edges]
    assert numbers == sorted(set(numbers))
    if mode in ("none", "settle"):
        assert sum(lost) == sum(fields["lost"] for _, fields in outlet.edges)
        assert numbers[-1:] == [len(numbers) + sum(lost)] if numbers else not lost
    changes = [value for _, value in outlet.values_]
    assert all(one != other for one, other in itertools.pairwise(changes))
    await line.close()
    assert not chip.info(17).used


async def test_an_edge_after_the_wall_clock_was_set_has_the_new_time():
    clock, chip, outlet = Clock(), SimChip(), RecordedOutlet()
    context = LineContext(
        chip, outlet, WallClock(asyncio.get_running_loop().time, clock.now), None
    )
    line = Input(In(name="door", line=17), (17,), context)
    await line.open()
    chip.drive(17, True)
    clock.step_wall = 3600.0
    chip.drive(17, False)
    (first, _), (second, _) = outlet.edges
    assert 3600 <= second - first < 3660
    await line.close()


def test_the_wall_clock_of_stamps_moves_only_when_somebody_sets_it():
    monotonic, unix = [100.0], [5000.0]
    clock = WallClock(lambda: monotonic[0], lambda: unix[0])
    assert clock.at(100_500_000_000) == 5000.5
    monotonic[0], unix[0] = 200.0, 5100.0004  # noise
    clock.compare()
    assert clock.at(200_000_000_000) == 5100.0
    unix[0] = 9000.0
    clock.compare()
    assert clock.at(200_000_000_000) == 9000.0


def test_an_interruption_between_the_two_clocks_moves_no_stamp():
    # s that a reading of the monotonic clock comes late
    late = iter([0.0, 0.0, 0.0, 0.005, 0.0, 0.005, 0.0])
    clock = WallClock(lambda: 100.0 + next(late), lambda: 5000.0)
    clock.compare()
    assert clock.at(100_000_000_000) == 5000.0
