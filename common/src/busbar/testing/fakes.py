"""For tests only: a clock that can be moved, null-modem streams, a broker in memory.

Never imported at run time.
"""

import asyncio
import contextlib
import inspect
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from busbar.contract.topics import matches
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import BrokerLost, Received, Source, SubscriptionRefused
from busbar.net.streams import ByteStream

STEP = 0.25  # s of virtual time between looks at the event loop


class ShiftingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs on and can be moved forward.

    Real sockets work, nobody waits for timers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shift = 0.0  # s

    def time(self) -> float:
        return super().time() + self.shift


class Clock:
    """The clock of the running ShiftingLoop, and a wall clock that moves with it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ShiftingLoop)
        self._loop = loop
        self.step_wall = 0.0  # s; somebody has set the wall clock

    def now(self) -> float:
        """Unix s."""
        return time.time() + self._loop.shift + self.step_wall

    async def advance(self, seconds: float) -> None:
        """Move time forward in small steps; whatever falls due happens."""
        left = seconds
        while left > 0:
            self._loop.shift += min(STEP, left)
            left -= STEP
            await settle()


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def until(
    condition: Callable[[], Any], what: str = "the condition", limit: float = 20.0
) -> None:
    """Wait for a condition (plain or awaitable) in real time.

    Raise AssertionError after a generous limit.
    """
    end = time.monotonic() + limit
    while not (await answer if inspect.isawaitable(answer := condition()) else answer):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {limit:g} s")
        await asyncio.sleep(0.005)


async def null_modem(name: str = "null") -> tuple[ByteStream, ByteStream]:
    """Return the two ends of a cable."""
    ends = socket.socketpair()
    streams = [await asyncio.open_connection(sock=end) for end in ends]
    here, there = (
        ByteStream(reader, writer, f"{name}{end}")
        for end, (reader, writer) in enumerate(streams)
    )
    return here, there


class MemoryConnection:
    """One client of a MemoryBus; the same face as mqtt.Connection."""

    def __init__(
        self,
        bus: "MemoryBus",
        source: Source,
        on_message: Callable[[Received], None],
        client_id: str,
    ) -> None:
        self.client_id = client_id
        self._bus = bus
        self._source = source
        self._on_message = on_message
        self._filters: set[str] = set()
        self._others_only: set[str] = set()
        self._sending = False
        self.last_read = self.last_part = 0.0
        self.unacknowledged: list[Message] = []
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def subscribe(
        self, filters: Iterable[str], *, others_only: bool = False
    ) -> None:
        """Subscribe as mqtt.Connection does with MQTT 5."""
        asked = set(filters)
        wanted = asked - self._bus.refused
        self._filters |= wanted
        if others_only and self._bus.version5:
            self._others_only |= wanted
        else:
            self._others_only -= wanted
            self._replay(wanted)
        if wanted != asked:
            raise SubscriptionRefused(f"refused: {', '.join(asked - wanted)}")

    def _replay(self, wanted: set[str]) -> None:
        for topic, message in list(self._bus.retained.items()):
            if any(matches(pattern, topic) for pattern in wanted):
                self._on_message(Received(topic, message.payload, True))

    async def unsubscribe(self, filters: Iterable[str]) -> None:
        self._filters -= set(filters)
        self._others_only -= set(filters)

    def begin(self) -> None:
        self._sending = True
        self._source.wake = self.pump
        self.pump()

    def pump(self) -> None:
        asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        while (
            self._sending
            and not self.closed.done()
            and len(self.unacknowledged) < self._bus.window
        ):
            message = self._source.pull()
            if message is None:
                return
            self._bus.take(message, self)
            if self._bus.withhold and message.qos:
                self.unacknowledged.append(message)
            else:
                self._source.delivered(message)

    async def drained(self) -> None:
        await settle()

    def deliver(self, received: Received, *, own: bool = False) -> None:
        """Deliver what somebody has published: own = we ourselves."""
        filters = self._filters - self._others_only if own else self._filters
        if any(matches(pattern, received.topic) for pattern in filters):
            self._on_message(received)

    def lose(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_exception(BrokerLost(reason))
            self.closed.exception()
        self._source.wake = lambda: None
        self._source.returned(self.unacknowledged)
        self.unacknowledged = []


class MemoryBus:
    """A broker in memory: retained messages, subscriptions, wills.

    It keeps all that was published.
    """

    def __init__(self) -> None:
        self.retained: dict[str, Message] = {}
        self.published: list[Message] = []
        self.withhold = False  # no acknowledgements
        self.reachable = True
        self.window = 100
        self.version5 = True  # it can keep our own messages from us
        self.refused: set[str] = set()  # filters that nobody may subscribe to
        self._clients: list[MemoryConnection] = []

    @contextlib.asynccontextmanager
    async def connection(
        self,
        endpoint: object,
        source: Source,
        on_message: Callable[[Received], None],
        client_id: str,
        will: Message | None = None,
    ) -> AsyncIterator[MemoryConnection]:
        """Connect as mqtt.connection does."""
        if not self.reachable:
            raise BrokerLost("unreachable")
        for other in list(self._clients):
            if other.client_id == client_id:
                other.lose("the session was taken over")
        client = MemoryConnection(self, source, on_message, client_id)
        self._clients.append(client)
        try:
            yield client
        except BaseException:
            if will is not None:
                self.take(will)
            raise
        finally:
            self._clients.remove(client)
            client.lose("closed")

    def take(self, message: Message, sender: MemoryConnection | None = None) -> None:
        """Take one PUBLISH."""
        self.published.append(message)
        if message.retain and message.payload:
            self.retained[message.topic] = message
        elif message.retain:
            self.retained.pop(message.topic, None)
        for client in list(self._clients):
            received = Received(message.topic, message.payload, False)
            client.deliver(received, own=client is sender)

    def publish(self, topic: str, payload: bytes | str, **properties: Any) -> None:
        """Publish as some other client; `properties` are those of Received."""
        data = payload.encode() if isinstance(payload, str) else payload
        received = Received(topic, data, False)._replace(**properties)
        for client in list(self._clients):
            client.deliver(received)

    def cut(self) -> None:
        """Break all connections."""
        for client in list(self._clients):
            client.lose("cut")

    def payloads(self, topic: str) -> list[bytes]:
        """Return what was published on a topic, in order."""
        return [message.payload for message in self.published if message.topic == topic]
