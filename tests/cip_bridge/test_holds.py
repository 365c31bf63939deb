"""Held buttons: repeated, renewed, released in time."""

import asyncio
import math
from contextlib import asynccontextmanager

import pytest

from busbar.codecs.cip import Join
from busbar.errors import TooLarge
from busbar.testing.fakes import Clock, settle
from cip_bridge.panel_role.holds import REPEAT, Holds

ONE, TWO = Join("digital", 1), Join("digital", 2)


@asynccontextmanager
async def holding(gates=None):
    """Held buttons and what is sent.

    To send of a join with a gate takes until that opens.
    """
    sent = []

    async def send(join, pressed):
        if gates and join in gates:
            await gates[join].wait()
        sent.append((join.number, pressed))

    holds = Holds(send)
    task = asyncio.create_task(holds.run())
    try:
        yield holds, sent, Clock()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_held_button_is_pressed_every_half_second_and_released_at_the_end():
    async with holding() as (holds, sent, clock):
        await holds.press(ONE, 2.1)
        await clock.advance(3)
        assert sent[0] == (1, True)
        assert 4 <= sent.count((1, True)) <= 5
        assert sent[-1] == (1, False)
        assert sent.count((1, False)) == 1
        assert holds.joins == set()


async def test_pressing_again_renews():
    async with holding() as (holds, sent, clock):
        await holds.press(ONE, 1.0)
        await clock.advance(0.75)
        await holds.press(ONE, 1.0)
        await clock.advance(0.75)
        assert (1, False) not in sent
        await clock.advance(0.5)
        assert sent[-1] == (1, False)


async def test_buttons_are_held_independently():
    async with holding() as (holds, sent, clock):
        await holds.press(ONE, 1.0)
        await holds.press(TWO, math.inf)
        await clock.advance(60)
        assert (1, False) in sent
        assert holds.joins == {TWO}
        assert sent.count((2, True)) > 50 / REPEAT
        await holds.release(TWO)
        await settle()
        count = len(sent)
        await clock.advance(5)
        assert (sent[-1], len(sent)) == ((2, False), count)


async def test_release_all_lets_go_of_everything_and_forget_says_nothing():
    async with holding() as (holds, sent, clock):
        await holds.press(ONE, math.inf)
        await holds.press(TWO, math.inf)
        holds.forget(TWO)
        await holds.release_all()
        assert sent == [(1, True), (2, True), (1, False)]
        await clock.advance(2)
        assert len(sent) == 3


async def test_a_hold_can_be_ended_from_outside():
    async with holding() as (holds, sent, clock):
        hold = await holds.press(ONE, math.inf)
        holds.end(hold)
        await clock.advance(0.25)
        assert sent == [(1, True), (1, False)]
        assert hold.over.is_set()


async def test_the_end_of_a_hold_is_not_that_of_the_one_behind_it():
    async with holding() as (holds, sent, clock):
        first = await holds.press(ONE, math.inf)
        second = await holds.press(ONE, math.inf)
        assert (first.over.is_set(), second.over.is_set()) == (True, False)
        holds.end(first)
        await clock.advance(0.25)
        assert (1, False) not in sent


async def test_what_is_not_held_is_released_all_the_same():
    async with holding() as (holds, sent, _):
        await holds.release(ONE)
        assert sent == [(1, False)]


@pytest.mark.parametrize("what", ["released", "renewed"])
async def test_what_happens_while_another_button_is_sent_counts(what):
    gates = {}
    async with holding(gates) as (holds, sent, clock):
        await holds.press(ONE, math.inf)
        await holds.press(TWO, 0.4)
        gates[ONE] = gate = asyncio.Event()  # the link takes no more
        await clock.advance(0.75)
        if what == "released":
            await holds.release(TWO)
        else:
            await holds.press(TWO, 60)
        gate.set()
        await settle()
        assert sent[-2:] == [(2, what == "renewed"), (1, True)]
        await clock.advance(1)
        assert ((2, True) in sent[4:]) is (what == "renewed")


async def test_a_press_that_fails_is_no_hold_and_one_that_is_cancelled_ends():
    fails = True

    async def send(join, pressed):
        sent.append(pressed)
        if pressed and fails:
            raise TooLarge("no room")
        if pressed:
            await asyncio.Event().wait()

    sent, holds = [], Holds(send)
    task = asyncio.create_task(holds.run())
    with pytest.raises(TooLarge):
        await holds.press(ONE, 60)
    assert holds.joins == set()
    fails = False
    pressing = asyncio.create_task(holds.press(ONE, 60))
    await settle()
    pressing.cancel()
    await asyncio.gather(pressing, return_exceptions=True)
    await Clock().advance(0.25)
    assert (sent, holds.joins) == ([True, True, False], set())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
