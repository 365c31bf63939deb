"""When values go out at once, and when they gather."""

import asyncio

from busbar.publish.change_rate import LIMIT, WINDOW, ChangeRate
from busbar.testing.fakes import Clock


async def made() -> tuple[ChangeRate, Clock]:
    return ChangeRate(asyncio.get_running_loop().time), Clock()


async def test_few_changes_go_out_at_once():
    rate, clock = await made()
    rate.count(10)
    await clock.advance(WINDOW)
    assert not rate.fast


async def test_many_changes_in_a_window_are_fast_in_the_next_one_only():
    rate, clock = await made()
    rate.count(LIMIT)
    assert not rate.fast
    await clock.advance(WINDOW)
    assert rate.fast
    await clock.advance(WINDOW)
    assert not rate.fast


async def test_a_long_pause_counts_in_the_rate():
    rate, clock = await made()
    rate.count(LIMIT)
    await clock.advance(10)
    assert not rate.fast
