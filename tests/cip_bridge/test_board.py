"""What is known of joins, and what an update says about those that it leaves out."""

import pytest

from busbar.codecs.cip import Form, Join, Update
from busbar.errors import TooLarge
from cip_bridge import join_state as module
from cip_bridge.join_state import Board

ONE, LEVEL, TEXT = Join("digital", 1), Join("analog", 1), Join("serial", 1)


def filled():
    board = Board()
    board.take(Update(ONE, True, Form.DIGITAL))
    board.take(Update(LEVEL, 5, Form.ANALOG))
    board.take(Update(TEXT, "x", Form.SERIAL))
    return board


def test_a_join_that_never_came_is_at_its_default():
    board = Board()
    assert [board.get(join) for join in (ONE, LEVEL, TEXT)] == [False, 0, ""]
    assert board.ins.known == {}


def test_both_ways_are_kept_apart():
    board = filled()
    board.drive(Update(ONE, False, Form.DIGITAL))
    assert (board.get(ONE), board.get(ONE, outwards=True)) == (True, False)


def test_an_update_leaves_out_what_is_at_its_default():
    board = filled()
    board.begin_update()
    board.take(Update(LEVEL, 6, Form.ANALOG))
    assert board.end_update()
    assert not board.end_update()
    assert board.ins.known == {ONE: False, LEVEL: 6, TEXT: ""}


def test_an_end_without_a_beginning_says_nothing():
    board = filled()
    board.end_update()
    assert board.ins.known == {ONE: True, LEVEL: 5, TEXT: "x"}


def test_all_clear_clears_what_came_in_only():
    board = filled()
    board.drive(Update(TEXT, "stays", Form.SERIAL))
    board.clear()
    assert board.ins.known == {ONE: False, LEVEL: 0, TEXT: ""}
    assert board.outs.known == {TEXT: "stays"}


def test_text_can_be_appended_and_does_not_grow_for_ever():
    board = filled()
    assert board.take(Update(TEXT, "yz", Form.LEGACY, append=True)) == "xyz"
    for _ in range(10):
        board.take(Update(TEXT, "a" * 60_000, Form.LEGACY, append=True))
    assert len(board.get(TEXT)) == module.TEXT_LIMIT


def test_joins_beyond_the_limit_are_not_taken_and_counted(monkeypatch):
    monkeypatch.setattr(module, "JOINS_LIMIT", 3)
    board = filled()
    assert board.take(Update(Join("digital", 2), True, Form.DIGITAL)) is None
    assert board.ignored == 1
    assert board.take(Update(ONE, False, Form.DIGITAL)) is False
    assert board.ins.known == {ONE: False, LEVEL: 5, TEXT: "x"}
    for join in board.ins.known:
        board.drive(Update(join, 0, Form.ANALOG))
    with pytest.raises(TooLarge, match="3 joins have a value already"):
        board.drive(Update(Join("digital", 2), True, Form.DIGITAL))
    assert len(board.outs.known) == 3


def test_texts_are_bounded_in_bytes_each_way(monkeypatch):
    monkeypatch.setattr(module, "BYTES_LIMIT", 1000)
    board = Board()
    assert board.take(Update(TEXT, "a" * 600, Form.SERIAL)) is not None
    assert board.take(Update(Join("serial", 2), "b" * 600, Form.SERIAL)) is None
    assert board.take(Update(Join("digital", 1), True, Form.DIGITAL)) is True
    board.drive(Update(TEXT, "c" * 600, Form.SERIAL))
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        board.drive(Update(Join("serial", 2), "d" * 600, Form.SERIAL))
    assert (board.ignored, Join("serial", 2) in board.outs.known) == (1, False)


def test_the_room_of_a_text_that_goes_is_free_again(monkeypatch):
    monkeypatch.setattr(module, "BYTES_LIMIT", 1000)
    board = Board()
    for number in range(1, 50):
        assert (
            board.take(Update(Join("serial", number % 3), "a" * 200, Form.SERIAL))
            is not None
        )
    board.begin_update()
    board.end_update()  # all are empty
    assert board.take(Update(TEXT, "a" * 700, Form.SERIAL)) is not None


def test_a_button_that_is_pressed_would_be_released_if_it_were_sent_again():
    board = Board()
    board.drive(Update(ONE, True, Form.BUTTON))
    assert (board.get(ONE, outwards=True), board.outs.get(ONE), board.pressed) == (
        True,
        False,
        {ONE},
    )
    board.drive(Update(ONE, False, Form.BUTTON))
    assert (board.get(ONE, outwards=True), board.outs.get(ONE), board.pressed) == (
        False,
        False,
        set(),
    )
    board.drive(Update(ONE, True, Form.BUTTON))
    board.drive(Update(ONE, True, Form.DIGITAL))  # it stays
    assert (board.outs.get(ONE), board.pressed) == (True, set())


def test_letting_go_tells_what_was_pressed():
    board = Board()
    board.drive(Update(ONE, True, Form.BUTTON))
    assert board.let_go() == {ONE}
    assert (board.let_go(), board.get(ONE, outwards=True)) == (set(), False)
