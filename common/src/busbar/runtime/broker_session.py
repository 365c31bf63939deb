"""A bridge on its broker: name taken, everything announced, commands served, goodbye.

Source: docs/contract.md, 5.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from busbar.contract.topics import BRIDGE, Address
from busbar.errors import LinkLost, UnknownTarget
from busbar.link.open_link import OpenLink
from busbar.mqtt.connection import Connection
from busbar.mqtt.outbox import Outbox
from busbar.mqtt.reconnect import (
    BrokerLost,
    Connect,
    Received,
    SubscriptionRefused,
    stay_connected,
)
from busbar.net.endpoint import Endpoint
from busbar.publish.device import BridgeContext, DevicePublisher
from busbar.runtime.bridge_status import BridgeStatus
from busbar.runtime.directory import DeviceDirectory
from busbar.runtime.name_claim import Verdict
from busbar.runtime.retained_cleanup import RetainedCleanup
from busbar.runtime.retained_repair import RetainedRepair

log = logging.getLogger("busbar.bridge")


class DuplicateName(Exception):
    """Another process runs a bridge of this name."""


class BrokerSession:
    """Keeps the connections of a bridge: one for all, and one for large blobs.

    `links`: of the bridge now, its own last. `on_command` takes each message on a
    command topic.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        context: BridgeContext,
        directory: DeviceDirectory,
        links: Callable[[], Iterable[OpenLink]],
        on_command: Callable[[Received, Address], None],
        connect: Connect,
    ) -> None:
        self.connects = 0
        # everything has been announced on the present connection
        self.connected = context.broker
        self.duplicate: DuplicateName | None = None
        self._endpoint = endpoint
        self._context = context
        self._topics = context.topics
        self._links = links
        self._on_command = on_command
        self._connect = connect
        self._leaving = asyncio.Event()
        self._connection: Connection | None = None
        self._cleanup = RetainedCleanup(context, directory.find)
        self._repair = RetainedRepair(directory.find)
        # what comes of our values is of others; while the clean-up looks at what is
        # retained, they come back, and an older one of ours is no forgery
        self._watching = False
        found = directory.find(BRIDGE)
        assert found is not None, "a bridge has its own device from the start"
        self._own = found[0]
        self._status = BridgeStatus(context, self._own)

    @property
    def outboxes(self) -> set[Outbox]:
        """The queues of messages: one, or two."""
        return {self._context.outbox, self._context.blobs}

    def devices(self) -> Iterable[DevicePublisher]:
        """Yield all devices, the bridge's own last."""
        for link in self._links():
            yield from link.devices.values()

    async def run(self) -> None:
        """Stay connected; return when the bridge leaves or its name is taken."""
        await stay_connected(self._connect_and_serve)

    async def run_blobs(self) -> None:
        """Keep a connection for the blobs, if they are to have one."""
        if self._context.blobs is self._context.outbox:
            await self._leaving.wait()
        else:
            await stay_connected(self._connect_for_blobs)

    def announce_all(self) -> None:
        """Publish everything, each device before the bridge, then the value topics."""
        self._context.outbox.begin()
        devices = list(self.devices())
        for device in devices:
            device.announce(status=device.name != BRIDGE)
        self._own.announce_status()
        for device in devices:
            device.announce_leaves()

    def clear_leftovers(self) -> None:
        """Clear what belongs to no device, once none can appear any more."""
        done = []
        for link in self._links():
            if link.link.finds:
                done.append(link.remove_missing())
        self._cleanup.clear(settled=all(done))

    async def clean(self) -> int:
        """Remove every retained topic, publish what lives; return how many there were.

        Raise UnknownTarget without a connection, LinkLost when it breaks.
        """
        connection = self._connection
        if connection is None:
            raise UnknownTarget("not connected to a broker")
        try:
            self._watching = False
            found = await self._cleanup.collect(connection)
            await self._watch(connection)
        except BrokerLost as error:
            raise LinkLost(str(error)) from error
        for topic in found:
            self._context.outbox.clear(topic)
        await connection.drained()
        self.announce_all()
        return len(found)

    def leave(self) -> None:
        """Say `stopped` for every device, then close the connections."""
        for device in self.devices():
            device.finish()
        self._own.announce_status()
        self._leaving.set()

    async def _connect_and_serve(self) -> None:
        """Serve until the bridge leaves, or another process turns out to have its name.

        As long as that is in doubt, ask.
        """
        while self._status.verdict is not Verdict.LEAVE:
            if self._status.verdict is Verdict.ASK:
                await self._ask()
            elif await self._serve_unless_in_doubt():
                return
        self.duplicate = self._taken()

    async def _serve_unless_in_doubt(self) -> bool:
        status = self._status
        status.begin()
        async with self._connect(
            self._endpoint,
            self._context.outbox,
            self._on_message,
            self._topics.client_id,
            status.will,
        ) as connection:
            await connection.subscribe([status.topic, *self._topics.commands])
            await status.look()
            if status.verdict is not Verdict.SERVE:
                return False
            await self._serve_on(connection)
            return True

    async def _ask(self) -> None:
        """Ask beside whoever serves, under a client id that only we have."""
        status, outbox = self._status, Outbox()
        try:
            async with self._connect(
                self._endpoint,
                outbox,
                status.on_status,
                f"{self._topics.client_id}.{self._context.boot}",
            ) as connection:
                await connection.subscribe([status.topic])
                connection.begin()
                await self._until_closed(connection, status.ask(outbox))
        finally:
            status.give_up()

    def _taken(self) -> DuplicateName:
        name = self._topics.base[:-1]
        return DuplicateName(
            f"duplicate bridge name: another process runs {name}; "
            "each needs a name of its own"
        )

    async def _serve_on(self, connection: Connection) -> None:
        self.connects += 1
        self._connection = connection
        self.announce_all()
        connection.begin()
        self.connected.set()
        shown, client_id = self._endpoint.shown, self._topics.client_id
        log.info("connected to %s as %s", shown, client_id)
        try:
            await self._until_closed(connection, self._serve(connection))
        finally:
            self._connection = None
            self._watching = False
            self.connected.clear()
            self._repair.forget()

    async def _connect_for_blobs(self) -> None:
        await self.connected.wait()  # the name is ours
        async with self._connect(
            self._endpoint,
            self._context.blobs,
            lambda received: None,
            f"{self._topics.client_id}.blobs",
        ) as connection:
            connection.begin()
            await self._until_closed(connection, self._drain(connection))

    async def _until_closed(
        self, connection: Connection, work: Coroutine[Any, Any, None]
    ) -> None:
        """Run until the work is done; raise BrokerLost when the connection ends."""
        leaving = asyncio.create_task(work, name="mqtt-serve")
        try:
            await asyncio.wait(
                [leaving, connection.closed], return_when=asyncio.FIRST_COMPLETED
            )
            if leaving.done():
                await leaving
                return
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await connection.closed

    async def _serve(self, connection: Connection) -> None:
        may_appear = any(link.link.finds for link in self._links())
        await self._cleanup.begin(connection, may_appear=may_appear)
        await self._watch(connection)
        await self._drain(connection)

    async def _watch(self, connection: Connection) -> None:
        """See what others publish on our topics."""
        watched = list(self._topics.availability)
        if self._endpoint.protocol == "5":
            watched += self._topics.values
        try:
            await connection.subscribe(watched, others_only=True)
        except SubscriptionRefused as error:
            log.info("what others overwrite is repaired every minute only: %s", error)
        self._watching = True

    async def _drain(self, connection: Connection) -> None:
        await self._leaving.wait()
        await connection.drained()

    def _on_message(self, received: Received) -> None:
        address = self._topics.parse(received.topic)
        if address is None:
            return
        if address.channel in ("set", "call"):
            self._on_command(received, address)
            return
        if received.retain:
            self._cleanup.on_retained(received)
        elif self._watching or address.channel in ("status", "info"):
            self._repair.on_published(address, received.payload)
        if address == (BRIDGE, "status", ""):
            self._status.on_status(received)
