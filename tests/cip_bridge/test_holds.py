"""Held buttons: repeated, renewed, released in time."""

import asyncio
import math
from contextlib import asynccontextmanager

from busbar.codecs.cip import Join
from busbar.testing import Clock, settle
from cip_bridge.holds import REPEAT, Holds

ONE, TWO = Join("digital", 1), Join("digital", 2)


@asynccontextmanager
async def holding():
    sent = []

    async def send(join, pressed):
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
        await holds.press(ONE, math.inf)
        holds.end(ONE)
        holds.end(TWO)
        await clock.advance(0.25)
        assert sent == [(1, True), (1, False)]


async def test_what_is_not_held_is_released_all_the_same():
    async with holding() as (holds, sent, _):
        await holds.release(ONE)
        assert sent == [(1, False)]
