"""The client's connection to the broker, which comes back.

What is subscribed, when all has come, what is healed.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from busbar.client.calls import Calls
from busbar.client.dispatcher import Inbox
from busbar.client.filters import Filters
from busbar.client.outgoing import Outgoing
from busbar.client.types import NotConnected
from busbar.contract.messages import Fault
from busbar.contract.names import LEVEL
from busbar.contract.topics import BRIDGE, REPLY, matches
from busbar.mqtt.connection import Connection
from busbar.mqtt.outbox import Message
from busbar.mqtt.reconnect import BrokerLost, Connect, Received, stay_connected
from busbar.net.endpoint import Endpoint

log = logging.getLogger("busbar.client")

JOIN = 1.0  # s for our own message to come back behind all retained ones
QUIET = 0.3  # s that stand for it where we may not publish
RESYNC = 5.0  # s between two attempts to heal one device
# s of a standstill of ours, in which the broker may have dropped messages
STALLED = 2.0
STOPPING = 2.0  # s for the broker to let us go

DENIED = "denied"
NOT_CONNECTED = Fault("link", "not connected to the broker")


class Line:
    """One client on one broker.

    `patterns` are the devices that it follows, as `bridge/device`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        root: str,
        name: str,
        patterns: Iterable[str],
        connect: Connect,
    ) -> None:
        self.patterns = list(patterns)
        self.joined = False  # connected, and all that was retained has come
        self.problem = "no answer"
        self._endpoint, self._root, self._name, self._connect = (
            endpoint,
            root,
            name,
            connect,
        )
        # brokers with rights give each user a space of its own there: mosquitto/acl
        user = endpoint.credentials[0]
        self._reply = "/".join(
            [root, REPLY, *([user] if user and LEVEL.fullmatch(user) else []), name]
        )
        self._outgoing = Outgoing(self._refused)
        self.calls = Calls(self._outgoing.put, root, f"{self._reply}/outcome")
        self._filters = Filters()
        self._filters.add([f"{self._reply}/+", *self._scope(self.patterns)])
        self._link: Connection | None = None
        self._marker = ""
        self._healed: dict[str, float] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pulse: asyncio.Future[None] | None = None
        # in order: what one asks for, another may have given up
        self._filtering = asyncio.Lock()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def start(self, inbox: Inbox) -> None:
        """Connect, for ever; what comes goes into `inbox`."""
        self._inbox = inbox
        self._serving = self.spawn(stay_connected(self._connect_and_serve), "client")
        self.spawn(self._tick(), "client-tick")

    async def stop(self) -> None:
        """Disconnect and end every task."""
        self._stop.set()
        self.calls.fail("the client was closed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING):
                await asyncio.wait([self._serving])
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.beat()

    async def ended(self) -> None:
        """Return when the line is stopped, by whomever."""
        await asyncio.wait([self._serving])

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def follow(self, name: str) -> None:
        """Hear of one more device."""
        if not self.covers(name):
            self.patterns.append(name)
            self.want(self._scope([name]))

    def covers(self, name: str) -> bool:
        """True if a device (or pattern) is among those that are followed."""
        return any(matches(pattern, name) for pattern in self.patterns)

    def needed(self, device: str, channel: str, path: str) -> list[str]:
        """Return the filters for what somebody reads, beside those that are there for all."""
        if channel in ("event", "blob"):
            return [f"{self._root}/{device}/{channel}/{path}"]
        return [] if self.covers(device) else self._scope([device])

    def want(self, filters: Iterable[str]) -> None:
        """Ask the broker for more."""
        self._change(*self._filters.add(filters))

    def release(self, filters: Iterable[str]) -> None:
        """Ask the broker for less."""
        self._change(*self._filters.remove(filters))

    def check(self) -> None:
        """Raise NotConnected unless connected."""
        if self._link is None or not self.joined:
            raise NotConnected(f"not connected to the broker at {self._endpoint.shown}")

    def beat(self) -> None:
        """Have those look again who wait in `until`."""
        if self._pulse is not None and not self._pulse.done():
            self._pulse.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout: float | None) -> None:
        """Wait for what a message brings about; raise TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition():
                if self._pulse is None or self._pulse.done():
                    self._pulse = self._loop.create_future()
                await asyncio.shield(self._pulse)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run something until it ends or the line stops."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _scope(self, patterns: Iterable[str]) -> list[str]:
        """Return the filters for devices, and for the bridges that they live on."""
        filters: list[str] = []
        for pattern in patterns:
            base, bridge = (
                f"{self._root}/{pattern}",
                f"{self._root}/{pattern.partition('/')[0]}/{BRIDGE}",
            )
            filters += [
                f"{base}/{each}" for each in ("status", "info", "state", "event/change")
            ]
            filters += [
                f"{bridge}/{each}"
                for each in ("status", "info", "state", "event/change", "event/log")
            ]
        return filters

    def _change(self, more: set[str], less: set[str]) -> None:
        if self._link is not None and (more or less):
            self.spawn(self._refilter(self._link, more, less), "client-filters")

    async def _refilter(self, link: Connection, more: set[str], less: set[str]) -> None:
        try:
            async with self._filtering:
                if more:
                    await link.subscribe(sorted(more))
                if less:
                    await link.unsubscribe(sorted(less))
        except BrokerLost as error:
            log.warning("%s", error)

    async def _connect_and_serve(self) -> None:
        try:
            async with self._connect(
                self._endpoint, self._outgoing, self._received, self._name
            ) as link:
                await self._serve(link)
        except BrokerLost as error:
            self.problem = str(error)
            raise
        finally:
            self._link, self.joined, self._outgoing.open = None, False, False
            self.calls.fail("the connection to the broker broke")
            self._inbox.connected(NOT_CONNECTED)

    async def _serve(self, link: Connection) -> None:
        self._inbox.begin()
        await link.subscribe(sorted(self._filters.active))
        link.begin()
        self._link, self._outgoing.open = link, True
        heard = await self._hear_all()
        self.joined = True
        self._inbox.connected(None, self.covers if heard else lambda name: False)
        stop = asyncio.ensure_future(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [stop, link.closed]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if not self._stop.is_set():
            await link.closed

    async def _hear_all(self) -> bool:
        """Wait for all that is retained: our own message stands behind it.

        False: perhaps it was not all.
        """
        self._marker = secrets.token_hex(4)
        self._outgoing.put(Message(f"{self._reply}/joined", self._marker.encode()))
        with contextlib.suppress(TimeoutError):
            await self.until(lambda: self._marker in ("", DENIED), JOIN)
        if not self._marker:
            return True
        await asyncio.sleep(QUIET)
        return False

    def _refused(self, message: Message, why: str) -> None:
        if message.topic.endswith("/joined"):
            self._marker = DENIED
            self.beat()
        else:
            self.calls.refused(message, why)

    def _received(self, received: Received) -> None:
        if not received.topic.startswith(self._reply):
            self._inbox.take(received)
        elif received.topic.endswith("/joined"):
            if received.payload.decode(errors="replace") == self._marker:
                self._marker = ""
                self.beat()
        else:
            self._take_outcome(received)

    def _take_outcome(self, received: Received) -> None:
        try:
            self.calls.take(received.payload)
        except ValueError as error:  # msgspec's errors are, too
            self._inbox.malformed += 1
            log.warning("an outcome cannot be read: %s", error)

    async def _tick(self) -> None:
        while True:
            before = self._loop.time()
            await asyncio.sleep(1)
            lacking = self._inbox.tick()
            if self._loop.time() - before > STALLED:
                # we stood still: the broker may have dropped what nobody misses yet
                lacking = list(self._inbox.known)
            if self._link is not None and self.joined:
                await self._heal(self._link, lacking)

    async def _heal(self, link: Connection, names: Iterable[str]) -> None:
        """Have the broker tell again what is retained of devices."""
        now = self._loop.time()
        due = [
            name for name in names if now - self._healed.get(name, -RESYNC) >= RESYNC
        ]
        self._healed.update(dict.fromkeys(due, now))
        filters = {
            f"{self._root}/{name}/{channel}"
            for name in due
            for channel in ("status", "info", "state")
        }
        if filters:
            await self._refilter(link, filters, filters - self._filters.active)
