import asyncio

from busbar.net.two_way_event import TwoWayEvent
from busbar.testing.fakes import Clock, settle


async def test_it_can_be_waited_for_both_ways():
    flag = TwoWayEvent()
    assert not flag.is_set()
    await flag.wait_cleared()
    waiting = asyncio.create_task(flag.wait())
    await settle()
    assert not waiting.done()
    flag.set()
    await waiting
    assert flag.is_set()
    clearing = asyncio.create_task(flag.wait_cleared())
    await settle()
    assert not clearing.done()
    flag.clear()
    await clearing


async def test_cleared_for_a_time_means_without_a_break():
    flag, clock = TwoWayEvent(), Clock()
    flag.set()
    waiting = asyncio.create_task(flag.wait_cleared(5))
    await settle()
    flag.clear()
    await clock.advance(4)
    flag.set()
    await clock.advance(4)
    flag.clear()
    await clock.advance(4)
    assert not waiting.done()
    await clock.advance(2)
    await waiting
