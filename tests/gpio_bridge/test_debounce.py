"""Debouncing: whatever a contact does, order is kept and the end is the true value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpio_bridge.chip import Edge
from gpio_bridge.edges.debounce import Glitch, Lockout, Settle, Unfiltered

MS = 1_000_000
PERIOD = 0.01  # s
FILTERS = {
    "none": Unfiltered,
    "settle": lambda v: Settle(v, PERIOD),
    "glitch": lambda v: Glitch(v, PERIOD),
    "lockout": lambda v: Lockout(v, PERIOD),
}
pauses = st.lists(st.integers(1, 40), max_size=60)  # ms between edges


def edges(*pauses):
    """Return alternating edges from False, so many ms after one another."""
    at, value, made = 0, False, []
    for number, pause in enumerate(pauses, 1):
        at, value = at + pause * MS, not value
        made.append(Edge(17, value, at, number))
    return made


def played(filter_, given_edges, looks=()):
    """Return what counts.

    The filter is looked at whenever it is due, as the bridge does.
    """
    counted = []
    for edge in given_edges:
        while filter_.due is not None and filter_.due <= edge.time:
            counted += filter_.tick(filter_.due)
        counted += filter_.edge(edge)
    while filter_.due is not None:
        counted += filter_.tick(filter_.due)
    return counted


@pytest.mark.parametrize("kind", FILTERS)
@given(pauses)
def test_whatever_bounces_the_order_is_kept_and_the_final_value_is_true(
    kind, given_pauses
):
    bounce = edges(*given_pauses)
    filter_ = FILTERS[kind](False)
    counted = played(filter_, bounce)
    assert filter_.value == (bounce[-1].value if bounce else False)
    assert [each.time for each in counted] == sorted(each.time for each in counted)
    assert [each.seq for each in counted] == sorted({each.seq for each in counted})
    if kind != "lockout":
        assert [each.value for each in counted] == [
            not i % 2 for i in range(len(counted))
        ]


@pytest.mark.parametrize("kind", FILTERS)
@given(pauses, st.lists(st.integers(0, 100), max_size=20))
def test_looking_too_often_or_too_late_changes_nothing_that_is_told(
    kind, given_pauses, looks
):
    bounce = edges(*given_pauses)
    expected = played(FILTERS[kind](False), bounce)
    late, counted = FILTERS[kind](False), []
    for number, edge in enumerate(bounce):
        if number in looks:
            counted += late.tick(edge.time - MS // 2)
        counted += late.edge(edge)
    counted += late.tick(10**15)
    assert (counted, late.value) == (expected, bounce[-1].value if bounce else False)


@given(pauses)
def test_settle_tells_nothing_that_lasted_less_than_the_period(given_pauses):
    bounce = edges(*given_pauses)
    counted = played(Settle(False, PERIOD), bounce)
    ends = [*(each.time for each in bounce[1:]), 10**15]
    stable = [
        each
        for each, end in zip(bounce, ends, strict=False)
        if end - each.time >= PERIOD * 1e9
    ]
    assert {each.seq for each in counted} <= {each.seq for each in stable}


def test_settle_stamps_when_the_level_had_settled_and_glitch_when_it_changed():
    bounce = edges(5, 1, 1)  # up at 5, down at 6, up at 7
    assert [
        (each.value, each.time // MS) for each in played(Settle(False, PERIOD), bounce)
    ] == [(True, 17)]
    assert [
        (each.value, each.time // MS) for each in played(Glitch(False, PERIOD), bounce)
    ] == [(True, 7)]


def test_a_glitch_is_dropped_with_both_of_its_edges():
    assert played(Glitch(False, PERIOD), edges(5, 3)) == []
    assert [
        each.seq for each in played(Glitch(False, PERIOD), edges(5, 30, 3, 3, 30))
    ] == [1, 4, 5]


def test_lockout_is_rpios_the_first_edge_counts_and_none_in_the_window_after_it():
    filter_ = Lockout(False, PERIOD)
    up, down, *_ = bounce = edges(5, 3, 1, 20, 5)
    assert filter_.edge(up) == (up,)
    assert filter_.edge(down) == ()
    assert filter_.value is True
    assert [each.seq for each in played(Lockout(False, PERIOD), bounce)] == [1, 4]


def test_edges_that_nobody_wants_lock_nothing_out():
    # as RPIO with edge='rising': up at 5, down at 20, up at 23, down at 40
    filter_ = Lockout(False, PERIOD, [True])
    assert [each.seq for each in played(filter_, edges(5, 15, 3, 17))] == [1, 3]
    assert filter_.value is False


def test_lockout_follows_a_change_within_the_window_without_an_edge():
    filter_ = Lockout(False, PERIOD)
    for edge in edges(5, 3):
        filter_.edge(edge)
    assert (filter_.value, filter_.due) == (True, 15 * MS)
    assert filter_.tick(15 * MS) == ()
    assert (filter_.value, filter_.due) == (False, None)


def test_an_edge_that_repeats_a_value_begins_no_new_glitch():
    filter_ = Glitch(False, PERIOD)
    filter_.edge(Edge(17, True, 5 * MS, 1))
    filter_.edge(Edge(17, True, 10 * MS, 4))  # two were lost between
    assert [each.time for each in filter_.tick(15 * MS)] == [5 * MS]
