"""What is known of joins, and what an update says about those that it leaves out."""

import pytest

from busbar.codecs.cip import Form, Join, Update
from busbar.errors import TooLarge
from cip_bridge import join_state as module
from cip_bridge.join_state import JoinState

ONE, LEVEL, TEXT = Join("digital", 1), Join("analog", 1), Join("serial", 1)


def filled():
    state = JoinState()
    state.receive(Update(ONE, True, Form.DIGITAL))
    state.receive(Update(LEVEL, 5, Form.ANALOG))
    state.receive(Update(TEXT, "x", Form.SERIAL))
    return state


def test_a_join_that_never_came_is_at_its_default():
    state = JoinState()
    assert [state.get(join) for join in (ONE, LEVEL, TEXT)] == [False, 0, ""]
    assert state.received.known == {}


def test_both_ways_are_kept_apart():
    state = filled()
    state.drive(Update(ONE, False, Form.DIGITAL))
    assert (state.get(ONE), state.get(ONE, sent=True)) == (True, False)


def test_an_update_leaves_out_what_is_at_its_default():
    state = filled()
    state.begin_update()
    state.receive(Update(LEVEL, 6, Form.ANALOG))
    assert state.end_update()
    assert not state.end_update()
    assert state.received.known == {ONE: False, LEVEL: 6, TEXT: ""}


def test_an_end_without_a_beginning_says_nothing():
    state = filled()
    state.end_update()
    assert state.received.known == {ONE: True, LEVEL: 5, TEXT: "x"}


def test_all_clear_clears_what_came_in_only():
    state = filled()
    state.drive(Update(TEXT, "stays", Form.SERIAL))
    state.clear()
    assert state.received.known == {ONE: False, LEVEL: 0, TEXT: ""}
    assert state.sent.known == {TEXT: "stays"}


def test_text_can_be_appended_and_does_not_grow_for_ever():
    state = filled()
    assert state.receive(Update(TEXT, "yz", Form.LEGACY, append=True)) == "xyz"
    for _ in range(10):
        state.receive(Update(TEXT, "a" * 60_000, Form.LEGACY, append=True))
    assert len(state.get(TEXT)) == module.TEXT_LIMIT


def test_joins_beyond_the_limit_are_not_taken_and_counted(monkeypatch):
    monkeypatch.setattr(module, "JOINS_LIMIT", 3)
    state = filled()
    assert state.receive(Update(Join("digital", 2), True, Form.DIGITAL)) is None
    assert state.ignored == 1
    assert state.receive(Update(ONE, False, Form.DIGITAL)) is False
    assert state.received.known == {ONE: False, LEVEL: 5, TEXT: "x"}
    for join in state.received.known:
        state.drive(Update(join, 0, Form.ANALOG))
    with pytest.raises(TooLarge, match="3 joins have a value already"):
        state.drive(Update(Join("digital", 2), True, Form.DIGITAL))
    assert len(state.sent.known) == 3


def test_texts_are_bounded_in_bytes_each_way(monkeypatch):
    monkeypatch.setattr(module, "BYTES_LIMIT", 1000)
    state = JoinState()
    assert state.receive(Update(TEXT, "a" * 600, Form.SERIAL)) is not None
    assert state.receive(Update(Join("serial", 2), "b" * 600, Form.SERIAL)) is None
    assert state.receive(Update(Join("digital", 1), True, Form.DIGITAL)) is True
    state.drive(Update(TEXT, "c" * 600, Form.SERIAL))
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        state.drive(Update(Join("serial", 2), "d" * 600, Form.SERIAL))
    assert (state.ignored, Join("serial", 2) in state.sent.known) == (1, False)


def test_the_room_of_a_text_that_goes_is_free_again(monkeypatch):
    monkeypatch.setattr(module, "BYTES_LIMIT", 1000)
    state = JoinState()
    for number in range(1, 50):
        assert (
            state.receive(Update(Join("serial", number % 3), "a" * 200, Form.SERIAL))
            is not None
        )
    state.begin_update()
    state.end_update()  # all are empty
    assert state.receive(Update(TEXT, "a" * 700, Form.SERIAL)) is not None


def test_a_button_that_is_pressed_would_be_released_if_it_were_sent_again():
    state = JoinState()
    state.drive(Update(ONE, True, Form.BUTTON))
    assert (state.get(ONE, sent=True), state.sent.get(ONE), state.pressed) == (
        True,
        False,
        {ONE},
    )
    state.drive(Update(ONE, False, Form.BUTTON))
    assert (state.get(ONE, sent=True), state.sent.get(ONE), state.pressed) == (
        False,
        False,
        set(),
    )
    state.drive(Update(ONE, True, Form.BUTTON))
    state.drive(Update(ONE, True, Form.DIGITAL))  # it stays
    assert (state.sent.get(ONE), state.pressed) == (True, set())


def test_letting_go_tells_what_was_pressed():
    state = JoinState()
    state.drive(Update(ONE, True, Form.BUTTON))
    assert state.release_pressed() == {ONE}
    assert (state.release_pressed(), state.get(ONE, sent=True)) == (set(), False)
