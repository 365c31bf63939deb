"""Queues of what waits for one subscriber.

Bounded: a slow one loses its own items and delays no other.
"""

import asyncio
import contextlib
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
Callback = Callable[[Any], Awaitable[None] | None]

log = logging.getLogger("busbar.client")

LIMIT = 10_000  # items that wait for one subscriber
SLICE = 50  # callbacks in a row before the loop may do something else


class Queue(Generic[T]):
    """Items in order, the oldest dropped and counted when it is full.

    `latest` keeps the newest of each key instead.
    """

    def __init__(
        self, limit: int = LIMIT, latest: Callable[[T], Any] | None = None
    ) -> None:
        self.dropped = 0
        self.closed = False
        self.error: Exception | None = None  # why no item will come any more
        self._limit = limit
        self._key = latest
        self._items: deque[T] = deque()
        self._newest: dict[Any, T] = {}
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: T) -> None:
        if self._key is not None:
            key = self._key(item)
            self._newest.pop(key, None)
            self._newest[key] = item
        else:
            if len(self._items) >= self._limit:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
        self._wake()

    def __len__(self) -> int:
        return len(self._items) + len(self._newest)

    def pop(self) -> T:
        """Return the oldest; raise LookupError when there is none."""
        if self._key is None:
            return self._items.popleft()
        return self._newest.pop(next(iter(self._newest), None))

    async def wait(self) -> bool:
        """Return True when there is an item, False when none will come any more."""
        while not len(self) and not self.closed:
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)  # others may wait for the same
        return bool(len(self))

    def close(self) -> None:
        """Take no more, and let those who wait know."""
        self.closed = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Take no more; whoever has taken all that there is gets the error."""
        self.error = error
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Stream(Generic[T]):
    """An endless series: `async for item in stream`.

    It ends when it or the client is closed, and raises Forbidden where the broker does
    not let us subscribe.
    """

    def __init__(self, queue: Queue[T], leave: Callable[[], None]) -> None:
        self._queue = queue
        self._leave = leave
        self._loop = asyncio.get_running_loop()

    @property
    def dropped(self) -> int:
        """Items lost because they were not taken in time."""
        return self._queue.dropped

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if not await self._queue.wait():
            raise self._queue.error or StopAsyncIteration
        return self._queue.pop()

    def close(self) -> None:
        """Take no more; a series without a reference does the same."""
        self._queue.close()
        self._leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            # the last owner may be another thread
            self._loop.call_soon_threadsafe(self._leave)


async def run_callback(queue: Queue[Any], call: Callback, name: str) -> None:
    """Call for each item, in order.

    An error of the callback is logged and costs that item, as do drops.
    """
    logged = 0
    while await queue.wait():
        if queue.dropped > logged:
            dropped = queue.dropped - logged
            log.warning("callback of %s is too slow: %d items dropped", name, dropped)
            logged = queue.dropped
        for _ in range(SLICE):
            if not len(queue):
                break
            item = queue.pop()
            try:
                answer = call(item)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:  # the callback is not ours
                log.exception("callback of %s failed on %r", name, item)
        else:
            await asyncio.sleep(0)
    if queue.error is not None:
        log.warning("callback of %s has ended: %s", name, queue.error)
