"""What is known of joins, and what an update says about those that it leaves out."""

import pytest

from busbar.codecs.cip import Form, Join, Update
from busbar.errors import TooLarge
from cip_bridge import board as module
from cip_bridge.board import Board

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
    assert board.ins == {}


def test_both_ways_are_kept_apart():
    board = filled()
    board.outs[ONE] = False
    assert (board.get(ONE), board.get(ONE, outwards=True)) == (True, False)


def test_an_update_leaves_out_what_is_at_its_default():
    board = filled()
    board.begin_update()
    board.take(Update(LEVEL, 6, Form.ANALOG))
    assert board.end_update()
    assert not board.end_update()
    assert board.ins == {ONE: False, LEVEL: 6, TEXT: ""}


def test_an_end_without_a_beginning_says_nothing():
    board = filled()
    board.end_update()
    assert board.ins == {ONE: True, LEVEL: 5, TEXT: "x"}


def test_all_clear_clears_what_came_in_only():
    board = filled()
    board.outs[TEXT] = "stays"
    board.clear()
    assert board.ins == {ONE: False, LEVEL: 0, TEXT: ""}
    assert board.outs == {TEXT: "stays"}


def test_text_can_be_appended_and_does_not_grow_for_ever():
    board = filled()
    assert board.take(Update(TEXT, "yz", Form.LEGACY, append=True)) == "xyz"
    for _ in range(10):
        board.take(Update(TEXT, "a" * 60_000, Form.LEGACY, append=True))
    assert len(board.get(TEXT)) == module.TEXT_LIMIT


def test_joins_beyond_the_limit_are_not_taken(monkeypatch):
    monkeypatch.setattr(module, "JOINS_LIMIT", 3)
    board = filled()
    assert board.take(Update(Join("digital", 2), True, Form.DIGITAL)) is None
    assert board.take(Update(ONE, False, Form.DIGITAL)) is False
    board.outs = dict.fromkeys(board.ins, 0)
    board.admit(ONE)
    with pytest.raises(TooLarge, match="3 joins are driven already"):
        board.admit(Join("digital", 2))
