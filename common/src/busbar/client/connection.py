"""The client's connection to the broker, which comes back by itself.

It keeps the subscriptions, and asks again for what has not come.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from busbar.client.calls import Calls
from busbar.client.dispatcher import Dispatcher
from busbar.client.filters import Filters
from busbar.client.first_picture import FirstPicture
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

RESYNC = 5.0  # s between two attempts to heal one device
# s of a standstill of ours, in which the broker may have dropped messages
STALLED = 2.0
STOPPING = 2.0  # s for the broker to let us go

OF_DEVICES = ("status", "info", "state", "event/change")
OF_BRIDGES = (*OF_DEVICES, "event/log")
RETAINED = ("status", "info", "state")
NOT_CONNECTED = Fault("link", "not connected to the broker")


class ClientConnection:
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
        patience: float,
    ) -> None:
        self.patterns = list(patterns)
        self.joined = False  # connected, and all that was retained has come
        self.incomplete = ""  # joined, but not all has come in time: what is missing
        self.picture: FirstPicture | None = None  # of the newest connection
        self.problem = "no answer"
        self._endpoint = endpoint
        self._root = root
        self._name = name
        self._connect = connect
        self._patience = patience
        self._reply = _reply_topic(endpoint, root, name)
        self._outgoing = Outgoing(self._on_refused)
        self.calls = Calls(self._outgoing.put, root, f"{self._reply}/outcome")
        self._filters = Filters()
        self._filters.add([f"{self._reply}/+", *self._scope(self.patterns)])
        self._link: Connection | None = None
        self._healed: dict[str, float] = {}  # device -> loop time of the last attempt
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pulse: asyncio.Future[None] | None = None
        # in order: one may ask for what another has given up
        self._filtering = asyncio.Lock()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def start(self, dispatcher: Dispatcher) -> None:
        """Connect, for ever; the dispatcher takes what comes."""
        self._dispatcher = dispatcher
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
        self.wake()

    async def wait_stopped(self) -> None:
        """Return when the connection is stopped, by whomever."""
        await asyncio.wait([self._serving])

    @property
    def linked(self) -> bool:
        """True while there is a connection; it may be without the first picture."""
        return self._link is not None

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def follow(self, name: str) -> None:
        """Subscribe to one more device."""
        if not self.covers(name):
            self.patterns.append(name)
            self.want(self._scope([name]))

    def covers(self, name: str) -> bool:
        """True if a device (or pattern) is among those that are followed."""
        return any(matches(pattern, name) for pattern in self.patterns)

    def needed(self, device: str, channel: str, path: str) -> list[str]:
        """Return the filters that a subscription needs besides those of all devices."""
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

    def wake(self) -> None:
        """Let those who wait in `until` look again."""
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
        """Run something until it ends or the connection is stopped."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _scope(self, patterns: Iterable[str]) -> list[str]:
        """Return the filters for devices, and for the bridges that they live on."""
        filters: list[str] = []
        for pattern in patterns:
            base = f"{self._root}/{pattern}"
            bridge = f"{self._root}/{pattern.partition('/')[0]}/{BRIDGE}"
            filters += [f"{base}/{channel}" for channel in OF_DEVICES]
            filters += [f"{bridge}/{channel}" for channel in OF_BRIDGES]
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
            if not self.stopped:
                log.warning("%s", error)

    async def _connect_and_serve(self) -> None:
        try:
            async with self._connect(
                self._endpoint, self._outgoing, self._on_message, self._name
            ) as link:
                await self._serve(link)
        except BrokerLost as error:
            self.problem = str(error)
            raise
        finally:
            self._link = None
            self.joined = False
            self._outgoing.open = False
            self.calls.fail("the connection to the broker broke")
            self._dispatcher.take_connection(NOT_CONNECTED)

    async def _serve(self, link: Connection) -> None:
        self._dispatcher.reconnect()
        picture = self.picture = FirstPicture(
            link,
            lambda mark: self._outgoing.put(Message(f"{self._reply}/joined", mark)),
            lambda names: self._ask(link, names),
            self._dispatcher.tracked,
            self.patterns,
        )
        await link.subscribe(sorted(self._filters.active))
        link.begin()
        self._link = link
        self._outgoing.open = True
        self.wake()
        stop = asyncio.ensure_future(self._stop.wait())
        joining = asyncio.ensure_future(self._join(picture))
        ends: list[asyncio.Future[Any]] = [stop, link.closed]
        try:
            await asyncio.wait([joining, *ends], return_when=asyncio.FIRST_COMPLETED)
            if joining.done():
                await joining  # a bug of ours ends the connection, not in silence
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)
        if not self._stop.is_set():
            await link.closed

    async def _join(self, picture: FirstPicture) -> None:
        """Take all that is retained."""
        try:
            async with asyncio.timeout(self._patience):
                self.incomplete = await picture.complete()
        except TimeoutError:
            self.incomplete = f"after {self._patience:g} s messages were still coming"
            if not picture.retained:
                self.incomplete = f"nothing had come after {self._patience:g} s"
        self.joined = True
        if picture.proven and not self.incomplete:
            self._dispatcher.take_connection(None, self.covers)
        else:
            self._dispatcher.take_connection(None)

    def _on_refused(self, message: Message, why: str) -> None:
        if not message.topic.endswith("/joined"):
            self.calls.take_refused(message, why)
        elif self.picture is not None:
            self.picture.take_denied()

    def _on_message(self, received: Received) -> None:
        picture = self.picture
        if not received.topic.startswith(self._reply):
            if not self.joined and picture is not None:
                picture.take(retained=received.retain)
            self._dispatcher.take(received)
        elif received.topic.endswith("/joined"):
            if picture is not None:
                picture.take_own(received.payload)
        else:
            self._take_outcome(received)

    def _take_outcome(self, received: Received) -> None:
        try:
            self.calls.take(received.payload)
        except ValueError as error:  # msgspec's errors are, too
            self._dispatcher.malformed += 1
            log.warning("an outcome cannot be read: %s", error)

    async def _tick(self) -> None:
        while True:
            before = self._loop.time()
            await asyncio.sleep(1)
            incomplete = self._dispatcher.tick()
            if self._loop.time() - before > STALLED:
                # we stood still: the broker may have dropped messages unnoticed
                incomplete = list(self._dispatcher.described)
            if self._link is not None and self.joined:
                await self._heal(self._link, incomplete)

    async def _heal(self, link: Connection, names: Iterable[str]) -> None:
        """Heal devices that were not healed a moment ago."""
        now = self._loop.time()
        due = []
        for name in names:
            if now - self._healed.get(name, -RESYNC) >= RESYNC:
                self._healed[name] = now
                due.append(name)
        await self._ask(link, due)

    async def _ask(self, link: Connection, names: Iterable[str]) -> None:
        """Have the broker send again what is retained of devices."""
        filters: set[str] = set()
        for name in names:
            base = f"{self._root}/{name}"
            filters.update(f"{base}/{channel}" for channel in RETAINED)
        if filters:
            await self._refilter(link, filters, filters - self._filters.active)


def _reply_topic(endpoint: Endpoint, root: str, name: str) -> str:
    # brokers with rights give each user its own topics there: mosquitto/acl
    user = endpoint.credentials[0]
    if user and LEVEL.fullmatch(user):
        return f"{root}/{REPLY}/{user}/{name}"
    return f"{root}/{REPLY}/{name}"
