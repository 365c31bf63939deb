"""Observer of one bridge: every message in order of arrival.

It can publish, and knows MQTT, no device.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple

from busbar.mqtt.connection import Connection, connection
from busbar.mqtt.outbox import Message, Outbox
from busbar.mqtt.reconnect import BrokerLost, Received
from busbar.net.endpoint import Endpoint

MESSAGES_LIMIT = 1_000_000  # kept; some 500 MB of ordinary messages
BLOB_KEPT = 64  # bytes of a blob: nothing looks inside
QUIET = 0.3  # s without another retained message: that was all
LONGEST = 10.0  # s for all retained messages
GRACE = 0.5  # s in which a second outcome, or one that must not come, would be here


class Seen(NamedTuple):
    """One message; `retained` = the broker had kept it, `at` is loop time (s)."""

    topic: str
    payload: bytes
    retained: bool
    qos: int
    at: float
    correlation: bytes | None = None
    response_topic: str | None = None


class Observer:
    """One client; `seen` grows while it listens."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.seen: list[Seen] = []
        self._outbox = Outbox()
        self._link = Connection(
            endpoint,
            self._outbox,
            self._take,
            f"busbar-conformance-{secrets.token_hex(4)}",
            None,
        )
        self._loop = asyncio.get_running_loop()
        self._last_retained = 0.0  # loop time (s)
        self._arrived = asyncio.Event()

    async def open(self, filters: Iterable[str]) -> None:
        """Connect and subscribe; raise BrokerLost."""
        await self._link.open()
        self._link.begin()
        await self._link.subscribe(filters)

    async def subscribe(self, filters: Iterable[str]) -> None:
        """Subscribe to more; raise BrokerLost."""
        await self._link.subscribe(filters)

    def close(self) -> None:
        self._link.close(clean=True)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
    ) -> None:
        self._outbox.put(
            Message(topic, payload, retain=retain, correlation=correlation)
        )

    async def listen(self, seconds: float) -> None:
        """Let messages come; raise BrokerLost."""
        await self.until(lambda: False, seconds)

    async def until(self, condition: Callable[[], Any], limit: float) -> bool:
        """Wait for what a message brings about.

        Return whether it came within `limit` s; raise BrokerLost.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not condition():
                    self._arrived.clear()
                    await self._next()
        return bool(condition())

    async def quiet(self, limit: float = LONGEST) -> bool:
        """Wait until nothing retained has come for a moment, `limit` s at most.

        Nor bytes of a message that is not complete. Return whether that was so.
        """
        end = self._loop.time() + limit
        begun = self._loop.time()
        while self._loop.time() < end:
            last = max(begun, self._last_retained, self._link.last_part)
            left = last + QUIET - self._loop.time()
            if left <= 0:
                return True
            await self.listen(min(left, end - self._loop.time()))
        return False

    async def _next(self) -> None:
        arriving = asyncio.create_task(self._arrived.wait(), name="arriving")
        waiting: list[asyncio.Future[Any]] = [arriving, self._link.closed]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arriving.cancel()
        if self._link.closed.done():
            await self._link.closed

    def _take(self, received: Received) -> None:
        if received.retain:
            self._last_retained = self._loop.time()
        if len(self.seen) >= MESSAGES_LIMIT:
            return
        payload = received.payload
        if "/blob/" in received.topic:
            payload = payload[:BLOB_KEPT]
        properties = (received.correlation, received.response_topic)
        self.seen.append(
            Seen(
                received.topic,
                payload,
                received.retain,
                received.qos,
                self._loop.time(),
                *properties,
            )
        )
        self._arrived.set()


@contextlib.asynccontextmanager
async def observing(endpoint: Endpoint, *filters: str) -> AsyncIterator[Observer]:
    """Enter an observer that is subscribed to filters; left = disconnected.

    Raise BrokerLost.
    """
    observer = Observer(endpoint)
    try:
        await observer.open(filters)
        yield observer
    finally:
        observer.close()


async def kept(endpoint: Endpoint, *filters: str) -> dict[str, Seen]:
    """Return what the broker retains now, by topic, as a late subscriber gets it."""
    async with observing(endpoint, *filters) as late:
        await late.quiet()
        return {each.topic: each for each in late.seen if each.retained}


async def take_over(endpoint: Endpoint, client_id: str) -> None:
    """Break another client's connection.

    A broker lets the newest of two with one client id stay.
    """
    # the other one may be quick to come back, which ends us
    with contextlib.suppress(BrokerLost):
        async with connection(endpoint, Outbox(), lambda _: None, client_id):
            pass
