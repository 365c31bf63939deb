"""What is known of one device.

Report by exception, quality, and the rule of contract 3.4 that the changes are it.
"""

import json
import math
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import UNSET, Meta

from busbar.contract import messages
from busbar.contract.describe import Property, by_path
from busbar.contract.messages import Change, Fault
from busbar.contract.values import choice, integer, number
from busbar.errors import InternalError
from busbar.publish.state import NOT_A_NUMBER, TIMES_LIMIT, State
from busbar.testing.fakes import Clock, settle


class Axes(msgspec.Struct, frozen=True):
    RA: Annotated[float, Meta(ge=0, lt=24)]
    DEC: float


PROPERTIES = by_path(
    [
        Property("plain", Any),
        Property("near", Any, deadband=1.0),
        Property("slow", float, min_interval=5.0),
        Property("shy", float, max_silence=10.0),
        Property("old", float, max_age=30.0),
        Property(
            "all", float, deadband=1.0, min_interval=5.0, max_silence=10.0, max_age=30.0
        ),
    ]
)
BROKEN = Fault("timeout", "no answer")


def new_state(calls: list[int] | None = None) -> State:
    return State(PROPERTIES.get, lambda: calls.append(1) if calls is not None else None)


def values_of(changes: list[Change]) -> list[Any]:
    return [change.value for change in changes]


def apply(changes: list[Change], values: dict[str, Any], bad: dict[str, Fault]) -> None:
    """What a reader does with `event/change` (contract 3.4)."""
    for change in changes:
        if change.gone is True:
            values.pop(change.path, None)
            bad.pop(change.path, None)
            continue
        if change.value is not UNSET:
            values[change.path] = change.value
        if change.bad is None:
            del bad[change.path]
        elif change.bad is not UNSET:
            bad[change.path] = change.bad


async def read_each(path: str, *values: Any) -> list[Any]:
    """Read the values one after the other; return those that were reported."""
    state = new_state()
    for value in values:
        state.read({path: value}, 1.0)
    return values_of(state.take_changes())


async def test_only_a_changed_value_is_reported():
    assert await read_each("plain", 1, 1, 2, 2, 1) == [1, 2, 1]


async def test_values_that_python_takes_for_equal_but_json_does_not_are_changes():
    reported = await read_each("plain", 1, True, 1.0, 0, False, "0", None)
    assert [repr(value) for value in reported] == [
        "1",
        "True",
        "1.0",
        "0",
        "False",
        "'0'",
        "None",
    ]


async def test_an_object_changes_as_a_whole():
    assert await read_each("plain", {"ra": 1}, {"ra": 1}, {"ra": 2}) == [
        {"ra": 1},
        {"ra": 2},
    ]


async def test_the_state_has_its_own_copy_of_a_value():
    state, value = new_state(), {"ra": [1]}
    state.read({"plain": value}, 1.0)
    value["ra"].append(2)
    assert state.values == {"plain": {"ra": [1]}}


async def test_what_is_not_reported_is_counted():
    state = new_state()
    for value in (1, 1, 1, 2):
        state.read({"plain": value}, 1.0)
    assert state.suppressed == 2


async def test_changes_are_announced_once_for_each_reading_that_has_some():
    calls: list[int] = []
    state = new_state(calls)
    state.read({"plain": 1, "near": 2}, 1.0)
    state.read({"plain": 1, "near": 2}, 2.0)
    assert len(calls) == 1


async def test_changes_are_taken_once_and_in_order():
    state = new_state()
    state.read({"plain": 1, "near": 2.0}, 1.0)
    state.mark_bad(["plain"], BROKEN, 2.0)
    assert state.take_changes() == [
        Change("plain", 1.0, 1),
        Change("near", 1.0, 2.0),
        Change("plain", 2.0, bad=BROKEN),
    ]
    assert state.take_changes() == []


async def test_the_time_of_a_value_is_that_of_its_last_change():
    state = new_state()
    state.read({"plain": 1}, 1.0)
    state.read({"plain": 1}, 2.0)
    assert state.snapshot("b", 0, 3.0).times == {"plain": 1.0}
    state.read({"plain": 2}, 4.0)
    assert state.snapshot("b", 0, 5.0).times == {"plain": 4.0}


async def test_a_reading_of_a_property_that_is_not_described_costs_this_one():
    failed = []
    state = State(PROPERTIES.get, lambda: None, lambda *error: failed.append(error))
    state.read({"other": 1, "plain": 2}, 1.0)
    assert [(path, str(error)) for path, error in failed] == [
        ("other", "property 'other' is not described")
    ]
    assert state.take_changes() == [Change("plain", 1.0, 2)]


# What fits the description

CHECKED = by_path(
    [
        Property("volts", number(0, 30)),
        Property("open", float),
        Property("above", Annotated[float, Meta(gt=0)]),
        Property("count", integer(0, 255)),
        Property("on", bool),
        Property("mode", choice("cv", "cc")),
        Property("text", str),
        Property("short", Annotated[str, Meta(max_length=3)]),
        Property("maybe", float | None),
        Property("either", number(0, 1) | Literal["off"]),
        Property("numbers", int | float),
        Property("pair", Axes),
        Property("list", list[int]),
        Property("bytes", bytes),
        Property("any", Any),
    ]
)
GOOD = [
    ("volts", 0),
    ("volts", 30.0),
    ("open", -1e300),
    ("above", 0.1),
    ("count", 255),
    ("count", 255.0),  # a whole number in JSON, too
    ("on", True),
    ("mode", "cv"),
    ("text", ""),
    ("short", "abc"),
    ("maybe", None),
    ("maybe", 1.5),
    ("either", "off"),
    ("either", 0.5),
    ("numbers", 1),
    ("numbers", 1.5),
    ("pair", {"RA": 1.0, "DEC": 2}),
    ("list", (1, 2)),
    ("bytes", "AAA="),
    ("any", {"what": [None]}),
]
OUTSIDE = [
    ("volts", 30.001),
    ("volts", -1),
    ("above", 0.0),
    ("count", 256),
    ("count", 256.0),
    ("mode", "off"),
    ("short", "abcd"),
    ("either", 2.0),
    ("either", "on"),
    ("pair", {"RA": 25.0, "DEC": 2}),
]
OTHER = [
    ("volts", "noon"),
    ("volts", {"time": "noon"}),
    ("volts", True),
    ("open", None),
    ("count", 1.5),
    ("count", {"time": "noon"}),
    ("on", 1),
    ("mode", 1),
    ("text", 1),
    ("maybe", "1"),
    ("numbers", "1"),
    ("pair", {"RA": 1.0}),
    ("pair", 1.0),
    ("list", [1, "2"]),
    ("bytes", "?"),
]


async def checked(path: str, value: Any) -> tuple[list[Change], list[Exception]]:
    """Read one value; return the changes and our own errors."""
    failed = []
    state = State(CHECKED.get, lambda: None, lambda _, error: failed.append(error))
    for _ in range(2):  # the second one changes nothing
        state.read({path: value}, 1.0)
    return state.take_changes(), failed


@pytest.mark.parametrize(("path", "value"), GOOD)
async def test_a_value_that_fits_the_schema_is_good(path: str, value: Any):
    [change], failed = await checked(path, value)
    assert (change.bad, failed) == (UNSET, [])
    messages.encode(change)


@pytest.mark.parametrize(("path", "value"), OUTSIDE)
async def test_a_value_out_of_range_is_published_and_bad(path: str, value: Any):
    [change], failed = await checked(path, value)
    assert (change.value, change.bad.code, failed) == (value, "out_of_range", [])
    assert "allowed: " in change.bad.message or "expected" in change.bad.message


@pytest.mark.parametrize(("path", "value"), OTHER)
async def test_a_value_of_another_type_is_not_published(path: str, value: Any):
    [change], failed = await checked(path, value)
    assert (change.value, change.bad.code) == (UNSET, "internal")
    assert [type(error) for error in failed] == [InternalError] * 2


FITS = [(*each, True) for each in GOOD]
FITS += [(*each, False) for each in OUTSIDE + OTHER]


@pytest.mark.parametrize(("path", "value", "expected"), FITS)
def test_a_check_says_what_the_schema_in_info_says(
    path: str, value: Any, expected: bool
):
    schema = CHECKED[path].info().schema
    fits = Draft202012Validator(schema).is_valid(json.loads(messages.encode(value)))
    assert fits == expected or path == "bytes"  # its encoding is no assertion


async def test_a_value_comes_back_into_its_range():
    state = State(CHECKED.get, lambda: None)
    state.read({"volts": 31.0}, 1.0)
    state.read({"volts": 30.0}, 2.0)
    assert state.take_changes()[-1] == Change("volts", 2.0, 30.0, None)


async def test_one_wrong_value_costs_no_other_and_its_last_one_stays():
    state = State(CHECKED.get, lambda: None)
    state.read({"volts": 1.0}, 1.0)
    state.read({"volts": "noon", "count": 1}, 2.0)
    assert state.values == {"volts": 1.0, "count": 1}
    assert state.bad.keys() == {"volts"}


# Deadband


async def test_a_difference_below_the_deadband_is_not_reported():
    assert await read_each("near", 10.0, 10.9, 9.1, 11.0, 11.5) == [10.0, 11.0]


async def test_a_slow_drift_is_reported_once_it_has_left_the_deadband():
    assert await read_each("near", *(10 + step / 4 for step in range(9))) == [
        10.0,
        11.0,
        12.0,
    ]


async def test_the_deadband_is_for_numbers_only():
    assert await read_each("near", 1, True, "1", None, 1.5) == [1, True, "1", None, 1.5]


async def test_a_value_within_the_deadband_still_says_that_the_property_recovered():
    state = new_state()
    state.read({"near": 10.0}, 1.0)
    state.mark_bad(["near"], BROKEN, 2.0)
    state.read({"near": 10.1}, 3.0)
    assert state.take_changes()[-1] == Change("near", 3.0, 10.1, None)


# min_interval


async def test_the_newest_value_follows_when_min_interval_has_passed():
    clock, state = Clock(), new_state()
    for value in (1.0, 2.0, 3.0):
        state.read({"slow": value}, value)
    assert state.take_changes() == [Change("slow", 1.0, 1.0)]
    assert state.suppressed == 1  # 2.0: the newest took its place
    await clock.advance(4)
    assert state.take_changes() == []
    await clock.advance(2)
    assert state.take_changes() == [Change("slow", 3.0, 3.0)]


async def test_a_value_that_follows_is_announced():
    calls: list[int] = []
    clock, state = Clock(), new_state(calls)
    state.read({"slow": 1.0}, 1.0)
    state.read({"slow": 2.0}, 2.0)
    assert len(calls) == 1
    await clock.advance(6)
    assert len(calls) == 2


async def test_a_value_that_came_back_within_min_interval_is_no_change():
    clock, state = Clock(), new_state()
    for value in (1.0, 2.0, 1.0):
        state.read({"slow": value}, value)
    await clock.advance(10)
    assert values_of(state.take_changes()) == [1.0]


async def test_after_min_interval_a_value_is_reported_at_once():
    clock, state = Clock(), new_state()
    state.read({"slow": 1.0}, 1.0)
    await clock.advance(6)
    state.read({"slow": 2.0}, 2.0)
    assert values_of(state.take_changes()) == [1.0, 2.0]


async def test_a_value_that_was_held_back_never_follows_a_newer_one():
    """The loop was busy: the time has passed, the timer has not run yet."""
    clock, state = Clock(), new_state()
    state.read({"slow": 1.0}, 1.0)
    state.read({"slow": 2.0}, 2.0)
    clock._loop.shift += 6
    state.read({"slow": 3.0}, 3.0)
    await clock.advance(10)
    assert values_of(state.take_changes()) == [1.0, 3.0]
    assert state.values == {"slow": 3.0}


async def test_a_value_that_was_held_back_comes_before_the_fault():
    state = new_state()
    state.read({"slow": 1.0}, 1.0)
    state.read({"slow": 2.0}, 2.0)
    state.mark_bad(["slow"], BROKEN, 3.0)
    assert state.take_changes()[1:] == [
        Change("slow", 2.0, 2.0),
        Change("slow", 3.0, bad=BROKEN),
    ]


async def test_a_value_that_was_held_back_is_forgotten_with_its_property():
    clock, state = Clock(), new_state()
    state.read({"slow": 1.0}, 1.0)
    state.read({"slow": 2.0}, 2.0)
    state.remove(["slow"], 3.0)
    await clock.advance(10)
    assert state.take_changes()[1:] == [Change("slow", 3.0, gone=True)]
    assert state.values == {}


async def test_a_recovery_is_not_held_back():
    state = new_state()
    state.read({"slow": 1.0}, 1.0)
    state.mark_bad(["slow"], BROKEN, 2.0)
    state.read({"slow": 2.0}, 3.0)
    assert state.take_changes()[-1] == Change("slow", 3.0, 2.0, None)


# max_silence


async def test_an_unchanged_value_is_reported_again_after_max_silence():
    clock, state = Clock(), new_state()
    state.read({"shy": 1.0}, 1.0)
    await clock.advance(9)
    state.read({"shy": 1.0}, 2.0)
    assert values_of(state.take_changes()) == [1.0]
    await clock.advance(2)
    state.read({"shy": 1.0}, 3.0)
    state.read({"shy": 1.0}, 4.0)
    assert state.take_changes() == [Change("shy", 3.0, 1.0)]


# max_age


async def test_a_value_without_a_reading_for_max_age_is_stale():
    clock, state = Clock(), new_state()
    state.read({"old": 1.0, "plain": 1}, 1.0)
    await clock.advance(29)
    state.age(2.0)
    assert state.bad == {}
    await clock.advance(2)
    state.age(3.0)
    assert state.bad == {"old": Fault("stale", "no reading for more than 30 s")}
    assert state.values == {"old": 1.0, "plain": 1}  # the last value stays


async def test_an_unchanged_reading_confirms_the_value():
    clock, state = Clock(), new_state()
    for _ in range(3):
        state.read({"old": 1.0}, 1.0)
        await clock.advance(20)
        state.age(2.0)
    assert state.bad == {}


async def test_a_stale_value_recovers_with_the_same_reading():
    clock, state = Clock(), new_state()
    state.read({"old": 1.0}, 1.0)
    await clock.advance(31)
    state.age(2.0)
    state.age(3.0)
    state.read({"old": 1.0}, 4.0)
    stale = Fault("stale", "no reading for more than 30 s")
    assert state.take_changes()[1:] == [
        Change("old", 2.0, bad=stale),
        Change("old", 4.0, 1.0, None),
    ]


async def test_staleness_does_not_hide_why_a_value_is_bad():
    clock, state = Clock(), new_state()
    state.read({"old": 1.0}, 1.0)
    state.mark_bad(["old"], BROKEN, 2.0)
    await clock.advance(31)
    state.age(3.0)
    assert state.bad == {"old": BROKEN}


# Quality


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        ({"ra": math.nan, "dec": 1.5}, {"ra": None, "dec": 1.5}),
        ([1.0, math.inf], [1.0, None]),
        ((1, math.nan), [1, None]),
        ({"a": [{"b": math.nan}]}, {"a": [{"b": None}]}),
    ],
)
async def test_what_json_has_no_number_for_becomes_null_and_bad(value, said):
    state = new_state()
    state.read({"plain": value}, 1.0)
    assert state.take_changes() == [Change("plain", 1.0, said, NOT_A_NUMBER)]
    assert state.bad == {"plain": NOT_A_NUMBER}
    messages.encode(state.snapshot("b", 1, 1.0))


async def test_not_a_number_is_reported_once_and_recovers():
    state = new_state()
    for value in (math.nan, math.inf, 5.0):
        state.read({"plain": value}, 1.0)
    assert state.take_changes() == [
        Change("plain", 1.0, None, NOT_A_NUMBER),
        Change("plain", 1.0, 5.0, None),
    ]
    assert state.bad == {}


async def test_a_bad_property_keeps_its_value_and_says_why():
    state = new_state()
    state.read({"plain": 1}, 1.0)
    state.mark_bad(["plain", "near"], BROKEN, 2.0)
    state.mark_bad(["plain", "near"], BROKEN, 3.0)
    assert state.values == {"plain": 1}  # never read: absent
    assert state.bad == {"plain": BROKEN, "near": BROKEN}
    assert state.take_changes()[1:] == [
        Change("plain", 2.0, bad=BROKEN),
        Change("near", 2.0, bad=BROKEN),
    ]


async def test_another_reason_is_a_change():
    state, other = new_state(), Fault("timeout", "no answer for an hour")
    state.mark_bad(["plain"], BROKEN, 1.0)
    state.mark_bad(["plain"], other, 2.0)
    assert [change.bad for change in state.take_changes()] == [BROKEN, other]


async def test_the_same_value_after_a_fault_says_that_it_recovered():
    state = new_state()
    state.read({"plain": 1}, 1.0)
    state.mark_bad(["plain"], BROKEN, 2.0)
    state.read({"plain": 1}, 3.0)
    assert state.take_changes()[-1] == Change("plain", 3.0, 1, None)


async def test_a_property_that_goes_leaves_nothing():
    state = new_state()
    state.read({"plain": 1}, 1.0)
    state.mark_bad(["near"], BROKEN, 1.0)
    state.take_changes()
    state.remove(["plain", "near", "slow"], 2.0)
    assert state.take_changes() == [
        Change("plain", 2.0, gone=True),
        Change("near", 2.0, gone=True),
    ]
    snapshot = state.snapshot("b", 2, 2.0)
    assert (snapshot.values, snapshot.bad, snapshot.times) == ({}, {}, {})


async def test_a_property_that_was_gone_is_new_again():
    state = new_state()
    state.read({"plain": 1}, 1.0)
    state.remove(["plain"], 2.0)
    state.read({"plain": 1}, 3.0)
    assert state.take_changes()[-1] == Change("plain", 3.0, 1)


async def test_what_is_gone_does_not_become_stale():
    clock, state = Clock(), new_state()
    state.read({"old": 1.0}, 1.0)
    state.remove(["old"], 2.0)
    await clock.advance(31)
    state.age(3.0)
    assert state.bad == {}


async def test_a_limit_on_reports_does_not_outlive_its_property():
    state = new_state()
    state.read({"slow": 1.0}, 1.0)
    state.remove(["slow"], 2.0)
    state.read({"slow": 2.0}, 3.0)
    assert state.values == {"slow": 2.0}


async def test_a_new_description_is_used_from_then_on():
    properties = {"a": Property("a", float)}
    state = State(properties.get, lambda: None)
    state.read({"a": 1.0}, 1.0)
    properties["a"] = Property("a", float, deadband=10.0)
    state.described()
    state.read({"a": 2.0}, 2.0)
    assert values_of(state.take_changes()) == [1.0]


# The snapshot


async def test_a_snapshot_does_not_change_afterwards():
    state = new_state()
    state.read({"plain": 1}, 1.0)
    snapshot = state.snapshot("b", 7, 2.0)
    state.read({"plain": 2}, 3.0)
    state.mark_bad(["plain"], BROKEN, 3.0)
    assert snapshot == messages.State("b", 7, 2.0, {"plain": 1}, {}, {"plain": 1.0})


async def test_times_are_left_out_above_1000_properties():
    many = Property("many", int)
    state = State(lambda path: many, lambda: None)
    state.read({str(number): number for number in range(TIMES_LIMIT)}, 1.0)
    assert len(state.snapshot("b", 1, 1.0).times) == 1000
    state.read({"one more": 1}, 1.0)
    assert state.snapshot("b", 1, 1.0).times is UNSET


numbers = st.sampled_from([0.0, 0.4, 1.0, 2.0, 9.0, math.nan, math.inf])
anything = numbers | st.sampled_from(
    [0, 1, True, False, None, "a", {"a": 1}, {"a": math.nan}, [math.inf, 2], [2]]
)
readings = st.dictionaries(
    st.sampled_from(sorted(PROPERTIES)), numbers, max_size=4
) | anything.map(lambda value: {"plain": value})
some_paths = st.sets(st.sampled_from(sorted(PROPERTIES)), max_size=3).map(sorted)
steps = st.one_of(
    st.tuples(st.just("read"), readings),
    st.tuples(
        st.just("bad"),
        some_paths,
        st.sampled_from([BROKEN, Fault("offline", "gone"), NOT_A_NUMBER]),
    ),
    st.tuples(st.just("gone"), some_paths),
    st.tuples(st.just("advance"), st.sampled_from([0.1, 1.0, 4.9, 5.0, 11.0, 31.0])),
    st.tuples(st.just("jump"), st.sampled_from([1.0, 5.0, 31.0])),
    st.tuples(st.just("age")),
    st.tuples(st.just("take")),
)


async def perform(state: State, clock: Clock, step: tuple[Any, ...]) -> None:
    match step:
        case ("read", values):
            state.read(values, 1.0)
        case ("bad", paths, fault):
            state.mark_bad(paths, fault, 1.0)
        case ("gone", paths):
            state.remove(paths, 1.0)
        case ("jump", seconds):  # timers are late
            clock._loop.shift += seconds
        case ("advance", seconds):
            clock._loop.shift += seconds
            await settle()
        case ("age",):
            state.age(1.0)


@given(st.lists(steps, max_size=30))
@settings(deadline=None)
async def test_the_changes_are_the_state(sequence):
    """Contract 3.4.

    Applied to nothing, all changes give exactly values and bad of the snapshot, at any
    time.
    """
    clock, state = Clock(), new_state()
    values: dict[str, Any] = {}
    bad: dict[str, Fault] = {}
    for step in [*sequence, ("advance", 100.0), ("take",)]:
        await perform(state, clock, step)
        if step == ("take",):
            apply(state.take_changes(), values, bad)
            snapshot = state.snapshot("b", 1, 1.0)
            assert (repr(values), bad) == (
                repr({path: snapshot.values[path] for path in values}),
                snapshot.bad,
            )
            assert values.keys() == snapshot.values.keys() == snapshot.times.keys()


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 4.0, 6.0]), numbers),
        min_size=1,
        max_size=15,
    ),
    st.booleans(),
)
@settings(deadline=None)
async def test_the_last_value_of_a_limited_property_always_gets_out(sequence, late):
    clock, state = Clock(), new_state()
    for pause, value in sequence:
        clock._loop.shift += pause
        if not late:
            await settle()
        state.read({"slow": value}, 1.0)
    await clock.advance(6)
    last = sequence[-1][1]
    assert state.values["slow"] == (last if math.isfinite(last) else None)
