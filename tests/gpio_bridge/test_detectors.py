import math

from hypothesis import given
from hypothesis import strategies as st

from gpio_bridge.chip import Edge
from gpio_bridge.edges.detectors import (
    Clicks,
    Encoder,
    Frequency,
    Hold,
    LongPress,
    Losses,
    Pattern,
)
from tests.gpio_bridge.test_debounce import MS, edges


def pressed(button, *pauses):
    """Return (kind, ms, count) of what a button tells of presses, so many ms after one
    another."""
    presses = []
    for edge in edges(*pauses):
        while button.due is not None and button.due <= edge.time:
            presses += button.tick(button.due)
        presses += button.edge(edge)
    for _ in range(3):
        if button.due is not None:
            presses += button.tick(button.due)
    return [(each.kind, each.time // MS, each.count) for each in presses]


def test_a_click_comes_at_once_where_nobody_waits_for_a_second():
    assert pressed(Clicks(None, None), 10, 50) == [("click", 60, 1)]


def test_two_clicks_in_time_are_a_double_click_and_a_late_one_is_its_own():
    assert pressed(Clicks(0.3, None), 10, 50, 100, 50) == [("double", 210, 1)]
    assert pressed(Clicks(0.3, None), 10, 50, 500, 50) == [
        ("click", 60, 1),
        ("click", 610, 1),
    ]
    assert pressed(Clicks(0.3, None), 10, 50, 100, 50, 100, 50) == [
        ("double", 210, 1),
        ("click", 360, 1),
    ]


def test_a_long_press_is_told_while_it_lasts_and_is_no_click():
    assert pressed(LongPress(1.0), 10, 2000) == [("long", 1010, 1)]
    assert pressed(LongPress(1.0), 10, 500) == []
    assert pressed(Clicks(0.3, 1.0), 10, 2000) == []
    assert pressed(Clicks(0.3, 1.0), 10, 50, 100, 2000) == [("click", 60, 1)]


def test_a_hold_repeats_until_release_and_does_not_catch_up():
    assert pressed(Hold(0.5, 0.2), 0, 1000) == [
        ("hold", 500, 1),
        ("hold", 700, 2),
        ("hold", 900, 3),
    ]
    button = Hold(0.5, 0.2)
    button.edge(Edge(1, True, 0, 1))
    (late,) = button.tick(1350 * MS)
    assert (late.count, button.due) == (5, 1500 * MS)
    assert button.edge(Edge(1, False, 1400 * MS, 2)) == ()
    assert button.due is None


@given(st.lists(st.integers(1, 3000), max_size=40))
def test_nothing_is_due_for_ever_and_presses_are_told_in_order(pauses):
    for button in (Clicks(0.3, 1.0), LongPress(1.0)):
        times = [
            at
            for _, at, _ in pressed(button, *pauses, *([1] if len(pauses) % 2 else []))
        ]
        assert times == sorted(times)
        assert button.due is None


def test_a_frequency_is_that_of_the_window():
    frequency = Frequency(1.0)
    for edge in edges(*[50] * 41):
        frequency.edge(edge)
    assert frequency.value(41 * 50 * MS) == 20.0
    assert frequency.value((41 * 50 + 90) * MS) == 20.0
    assert round(frequency.value((41 * 50 + 500) * MS), 6) == 2.0
    assert frequency.value(20_000 * MS) == 0.0


def test_a_frequency_needs_two_edges_and_sees_one_below_its_window():
    frequency = Frequency(1.0)
    assert frequency.value(0) == 0.0
    first, _, second, *_ = edges(2000, 2000, 2000)
    frequency.edge(first)
    assert frequency.value(first.time) == 0.0
    frequency.edge(second)
    assert frequency.value(second.time) == 0.25


def test_a_frequency_knows_of_edges_that_were_lost():
    frequency = Frequency(1.0)
    for number, edge in enumerate(edges(*[100] * 10)):
        if number in (0, 9):
            frequency.edge(edge, 1 if number == 0 else 9)
    assert frequency.value(1000 * MS) == 10.0


def test_a_turn_in_quadrature_is_a_step_each_way_and_a_jump_is_none():
    encoder = Encoder(False, False, detent=4)
    forth = [(True, False), (True, True), (False, True), (False, False)]
    assert [encoder.turn(*each) for each in forth] == [0, 0, 0, 1]
    assert [encoder.turn(*each) for each in [*forth[-2::-1], (False, False)]] == [
        0,
        0,
        0,
        -1,
    ]
    assert encoder.position == 0
    assert encoder.turn(True, True) == 0
    fine = Encoder(False, False, detent=1)
    assert [fine.turn(*each) for each in forth] == [1, 1, 1, 1]
    assert fine.turn(*forth[-1]) == 0


@given(st.lists(st.sampled_from([-1, 1]), max_size=60))
def test_a_bouncing_encoder_ends_where_it_was_turned_to(quarters):
    ring = [(False, False), (True, False), (True, True), (False, True)]
    encoder, at = Encoder(False, False, detent=1), 0
    for step in quarters:
        at += step
        encoder.turn(*ring[at % 4])
    assert encoder.position == at


@given(st.lists(st.booleans(), max_size=50))
def test_every_lost_edge_is_counted(kept):
    losses = Losses()
    gaps = [
        losses.gap(Edge(17, seq % 2 == 1, 0, seq))
        for seq, keep in enumerate([*kept, True], 1)
        if keep
    ]
    assert sum(gaps) == kept.count(False)


def test_an_edge_that_is_told_twice_says_that_one_between_was_lost():
    losses = Losses()
    edges_seen = [(True, 1), (True, 2), (False, 3), (False, 5), (False, 7), (True, 9)]
    assert [losses.gap(Edge(17, value, 0, seq)) for value, seq in edges_seen] == [
        0,
        1,
        0,
        1,
        1,
        2,
    ]
    assert losses.gap(Edge(18, True, 0, 1)) == 0  # lines are counted apart


def test_a_pattern_knows_how_long_it_takes():
    assert Pattern(True, 0.5, 0.25, 3).seconds == 2.0
    assert Pattern(True, 0.5, 0.25, None).seconds == math.inf
