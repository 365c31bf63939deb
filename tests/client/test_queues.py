"""What waits for one reader: in order, bounded, counted."""

import asyncio
import gc
import logging
from typing import Any

import pytest

from busbar.client.queues import Queue, Stream, run_callback
from busbar.testing.fakes import settle, until


def filled(*items: Any, **options: Any) -> Queue[Any]:
    queue: Queue[Any] = Queue(**options)
    for item in items:
        queue.put(item)
    return queue


def drained(queue: Queue[Any]) -> list[Any]:
    return [queue.pop() for _ in range(len(queue))]


def test_items_come_in_order():
    assert drained(filled(1, 2, 3)) == [1, 2, 3]


def test_the_oldest_are_dropped_and_counted_when_it_is_full():
    queue = filled(1, 2, 3, 4, 5, limit=3)
    assert queue.dropped == 2
    assert drained(queue) == [3, 4, 5]


def test_the_newest_of_each_key_is_kept_in_the_order_of_their_coming():
    queue = filled(("a", 1), ("b", 1), ("a", 2), latest=lambda item: item[0])
    assert drained(queue) == [("b", 1), ("a", 2)]
    assert queue.dropped == 0


@pytest.mark.parametrize("options", [{}, {"latest": str}])
def test_an_empty_queue_says_so(options: Any):
    with pytest.raises(LookupError):
        filled(**options).pop()


async def test_a_stream_ends_when_it_is_closed_and_takes_its_reader_along():
    left: list[int] = []
    queue: Queue[int] = Queue()
    async with Stream(queue, lambda: left.append(1)) as stream:
        queue.put(1)
        assert await anext(stream) == 1
        waiting = asyncio.create_task(anext(stream))
        await settle()
        stream.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
    assert left


async def test_a_stream_that_nobody_holds_any_more_is_left():
    left: list[int] = []
    stream = Stream(Queue(), lambda: left.append(1))
    del stream
    gc.collect()
    await settle()  # the last owner may be another thread: the loop does it
    assert left


async def test_two_who_wait_for_one_stream_share_its_items():
    queue: Queue[int] = Queue()
    stream = Stream(queue, lambda: None)
    waiting = [asyncio.create_task(anext(stream)) for _ in range(3)]
    await settle()
    waiting.pop().cancel()
    await settle()
    queue.put(1)
    queue.put(2)
    assert sorted(await asyncio.gather(*waiting)) == [1, 2]


async def test_a_stream_tells_how_much_was_lost():
    queue = filled(1, 2, 3, limit=1)
    assert Stream(queue, lambda: None).dropped == 2


async def test_a_callback_gets_every_item_in_order_plain_or_awaited():
    seen: list[Any] = []

    async def slowly(item: int) -> None:
        await asyncio.sleep(0)
        seen.append(("slowly", item))

    queues = [filled(*range(200)), filled(*range(200))]
    for queue in queues:
        queue.close()
    await run_callback(queues[0], lambda item: seen.append(("plain", item)), "plain")
    await run_callback(queues[1], slowly, "slowly")
    assert seen == [("plain", item) for item in range(200)] + [
        ("slowly", item) for item in range(200)
    ]


async def test_a_busy_callback_lets_the_others_run():
    turns: list[str] = []
    tasks = [
        asyncio.create_task(
            run_callback(
                filled(*range(500)), lambda _, name=name: turns.append(name), name
            )
        )
        for name in ("one", "other")
    ]
    await until(lambda: len(turns) == 1000, "all calls")
    for task in tasks:
        task.cancel()
    assert set(turns[:200]) == {"one", "other"}


async def test_an_error_of_a_callback_is_logged_and_costs_that_item(
    caplog: pytest.LogCaptureFixture,
):
    seen: list[int] = []

    def fails(item: int) -> None:
        seen.append(item)
        if item == 1:
            raise ZeroDivisionError("a bug of theirs")

    queue = filled(1, 2)
    queue.close()
    await run_callback(queue, fails, "lab/psu/state/#")
    assert seen == [1, 2]
    assert "callback of lab/psu/state/# failed on 1" in caplog.text
    assert "a bug of theirs" in caplog.text


async def test_what_a_slow_callback_loses_is_logged(caplog: pytest.LogCaptureFixture):
    queue = filled(1, 2, 3, limit=1)
    queue.close()
    with caplog.at_level(logging.WARNING):
        await run_callback(queue, lambda item: None, "lab/psu/state/#")
    assert "callback of lab/psu/state/# is too slow: 2 items dropped" in caplog.text
