"""One running bridge: joins the rooms of this library; knows no protocol.

Source: docs/contract.md, 2, 4 and 5.
"""

import asyncio
import logging
import secrets
import time as clock
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from busbar.command.builtin import LinkCommands
from busbar.command.dispatcher import Commands
from busbar.contract.topics import BRIDGE, Topics, matches
from busbar.errors import LinkLost, UnknownTarget
from busbar.link.open_link import Channel
from busbar.mqtt.connection import Connection, connection
from busbar.mqtt.outbox import Outbox
from busbar.mqtt.reconnect import BrokerLost, Connect, Received, stay_connected
from busbar.publish.change_rate import Pace
from busbar.publish.device import Bus, Device
from busbar.runtime import bridge_device, host
from busbar.runtime.bridge_device import Found, Listed
from busbar.runtime.bridge_spec import Openable, Plan
from busbar.runtime.bridge_status import Presence
from busbar.runtime.links import Links
from busbar.runtime.retained_cleanup import Leftovers

log = logging.getLogger("busbar.bridge")

STOP_PATIENCE = 1.0  # s for running commands when the bridge stops
# that wait for a connection of their own; the oldest are dropped
BLOBS_BYTES = 128 * 1024 * 1024


class DuplicateName(Exception):
    """Another process runs a bridge of this name."""


class Bridge:
    """Runs a plan until `stop`; `replan` reads the configuration again."""

    def __init__(
        self,
        plan: Plan,
        replan: Callable[[], Plan] | None = None,
        now: Callable[[], float] = clock.time,
        synchronised: Callable[[], bool] = host.clock_synchronised,
        connect: Connect = connection,
    ) -> None:
        self._plan, self._replan, self._now, self._synchronised = (
            plan,
            replan,
            now,
            synchronised,
        )
        self._connect = connect
        self._topics = Topics(plan.root, plan.name)
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(plan.max_message, self._loop.time)
        self.boot = secrets.token_hex(4)
        self._blobs = (
            Outbox(plan.blobs_apart, self._loop.time, BLOBS_BYTES)
            if plan.blobs_apart
            else self._outbox
        )
        pace = Pace(self._loop.time)
        self._bus = Bus(
            self._topics,
            self._outbox,
            self._blobs,
            pace,
            self.boot,
            self._has_leaf,
            now,
            plan.folder,
        )
        self._began = self._loop.time()
        self._stop = asyncio.Event()
        self._leaving = asyncio.Event()
        # everything has been announced on the present connection
        self.connected = self._bus.broker
        self._connects = 0
        self._commands = Commands(self._bus, self, synchronised)
        self._commands.limit = plan.max_command
        builtins = LinkCommands(self, lambda: self._commands, now)
        self._links = Links(
            plan, self._bus, builtins.bound(), self, self._commands.device_closed
        )
        self._own = self._own_channel()
        self._leftovers = Leftovers(self._bus, self.find)
        self._connection: Connection | None = None
        self._presence = Presence(self._bus, self._own.devices[BRIDGE])
        self._duplicate: DuplicateName | None = None

    async def run(self) -> None:
        """Serve until `stop`.

        Raise DuplicateName when another process has taken the name.
        """
        device = self._own.devices[BRIDGE]
        handler = bridge_device.LogEvents(device, self._outbox)
        logging.getLogger("busbar").addHandler(handler)
        mqtt = asyncio.create_task(stay_connected(self._connect_and_serve), name="mqtt")
        blobs = asyncio.create_task(self._carry_blobs(), name="mqtt-blobs")
        own_task = asyncio.create_task(self._own.run(), name="bridge")
        self._links.start()
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait(
                [mqtt, blobs, own_task, stop], return_when=asyncio.FIRST_COMPLETED
            )
            if self._duplicate is None and stop.done():
                await self._leave(mqtt, blobs)
        finally:
            tasks = [mqtt, blobs, own_task, stop, *self._links.tasks]
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            logging.getLogger("busbar").removeHandler(handler)
            for each in self._devices():
                each.close()
        for outcome in [self._duplicate, *outcomes]:
            if isinstance(outcome, Exception):
                raise outcome

    def stop(self) -> None:
        """Ask for a clean end."""
        self._stop.set()

    def find(self, device: str) -> tuple[Device, Channel] | None:
        for channel in self._channels():
            if device in channel.devices:
                return channel.devices[device], channel
        return None

    # What channels tell: channel.Home.

    def ended(self, channel: Channel) -> None:
        self._commands.channel_ended(channel)

    def busy(self, channel: Channel) -> bool:
        return self._commands.run_on(channel)

    def arrived(self, device: Device) -> None:
        if self.connected.is_set():
            device.announce()

    def left(self, device: Device) -> None:
        self._commands.device_closed(device.name)
        device.withdraw()

    # What the device `bridge` asks: own.Owner.

    def stats(self) -> Mapping[str, Any]:
        return {
            "uptime": round(self._loop.time() - self._began),
            "version": bridge_device.VERSION,
            "devices": sum(len(channel.devices) for channel in self._links.channels),
            "published": sum(each.published for each in self._outboxes()),
            "received": self._commands.received,
            "dropped": sum(each.dropped for each in self._outboxes()),
            "suppressed": sum(device.state.suppressed for device in self._devices()),
            "queued": sum(each.queued for each in self._outboxes()),
            "reconnects": max(0, self._connects - 1),
            "rss": host.resident(),
            "clock": self._synchronised(),
        }

    def listing(self) -> list[Listed]:
        rows = []
        for channel in self._channels():
            for name, device in channel.devices.items():
                lease = channel.leases.on(name)
                about, locked = device.description, lease.owner if lease else None
                rows.append(
                    Listed(
                        name,
                        about.kind,
                        about.address or None,
                        device.status,
                        device.since,
                        locked,
                    )
                )
        return rows

    def announce_all(self) -> None:
        """Publish everything, each device before the bridge, then the leaves."""
        self._outbox.begin()
        devices = list(self._devices())
        for device in devices:
            device.announce(status=device.name != BRIDGE)
        self._presence.announce()
        for device in devices:
            device.announce_leaves()

    def disconnect_all(self) -> None:
        for channel in self._links.channels:
            for device in channel.devices.values():
                channel.disconnect(device)

    async def scan(self) -> Sequence[Found]:
        return await self._links.scan()

    async def reload(self) -> Mapping[str, Any]:
        """Take a changed configuration: restart only links that changed.

        Keep running on a wrong one.
        """
        if self._replan is None:
            raise UnknownTarget("this bridge runs without a configuration file")
        return await self._links.reload(self._replan)

    async def clean(self) -> int:
        link = self._connection
        if link is None:
            raise UnknownTarget("not connected to a broker")
        try:
            found = await self._leftovers.collect(link)
        except BrokerLost as error:
            raise LinkLost(str(error)) from error
        for topic in found:
            self._outbox.clear(topic)
        await link.drained()
        self.announce_all()
        return len(found)

    async def open_device(self, settings: Openable) -> None:
        await self._links.open(settings)

    async def close_device(self, name: str) -> None:
        await self._links.close(name)

    def shut_down(self) -> None:
        self._loop.call_later(0.1, self.stop)  # after the outcome has been sent

    def _own_channel(self) -> Channel:
        commands = bridge_device.OwnCommands(self, lambda: self._commands, self._now)
        commands.owner, commands.allow_shutdown = self, self._plan.allow_shutdown
        bound = dict(commands.bound())
        if self._plan.opens is not None:
            bound["open"] = commands.opening(self._plan.opens)
        link = bridge_device.link(
            self._plan.kind, lambda: self._own.devices[BRIDGE], self, self._tick
        )
        channel = Channel(self._bus, link, bound, self)
        for device in channel.devices.values():
            device.set_status("online")
        return channel

    def _channels(self) -> Iterable[Channel]:
        yield from self._links.channels
        yield self._own

    def _devices(self) -> Iterable[Device]:
        return (
            device
            for channel in self._channels()
            for device in channel.devices.values()
        )

    def _outboxes(self) -> set[Outbox]:
        return {self._outbox, self._blobs}

    def _has_leaf(self, path: str) -> bool:
        return any(matches(pattern, path) for pattern in self._plan.leaves)

    def _tick(self) -> None:
        for device in self._devices():
            device.tick()
        settled = [
            channel.settled() for channel in self._channels() if channel.link.finds
        ]
        self._leftovers.clear(settled=all(settled))
        for each in self._outboxes():
            each.report()

    # The broker.

    async def _connect_and_serve(self) -> None:
        endpoint, client_id, presence = (
            self._plan.endpoint,
            self._topics.client_id,
            self._presence,
        )
        presence.begin()
        async with self._connect(
            endpoint, self._outbox, self._on_message, client_id, presence.will
        ) as link:
            await link.subscribe([presence.topic, *self._topics.commands])
            if await presence.is_taken():
                self._duplicate = DuplicateName(
                    f"duplicate bridge name: another process runs "
                    f"{self._topics.base[:-1]}; "
                    "each needs a name of its own"
                )
                return
            self._connects += 1
            self._connection = link
            self.announce_all()
            link.begin()
            self.connected.set()
            log.info("connected to %s as %s", endpoint.shown, client_id)
            try:
                await self._stay(link, self._serve(link))
            finally:
                self._connection = None
                self.connected.clear()

    async def _carry_blobs(self) -> None:
        """Keep a connection for the blobs, if they are to have one."""
        if self._blobs is self._outbox:
            await self._leaving.wait()
        else:
            await stay_connected(self._connect_for_blobs)

    async def _connect_for_blobs(self) -> None:
        await self.connected.wait()  # the name is ours
        client_id = f"{self._topics.client_id}.blobs"
        async with self._connect(
            self._plan.endpoint, self._blobs, lambda received: None, client_id
        ) as link:
            link.begin()
            await self._stay(link, self._drain(link))

    async def _stay(self, link: Connection, work: Coroutine[Any, Any, None]) -> None:
        leaving = asyncio.create_task(work, name="mqtt-serve")
        try:
            await asyncio.wait(
                [leaving, link.closed], return_when=asyncio.FIRST_COMPLETED
            )
            if leaving.done():
                await leaving
                return
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await link.closed

    async def _serve(self, link: Connection) -> None:
        await self._leftovers.begin(
            link, may_appear=any(channel.link.finds for channel in self._channels())
        )
        await self._drain(link)

    async def _drain(self, link: Connection) -> None:
        await self._leaving.wait()
        await link.drained()

    def _on_message(self, received: Received) -> None:
        address = self._topics.parse(received.topic)
        if address is None:
            return
        if address.channel in ("set", "call"):
            self._commands.accept(received, address)
        else:
            self._leftovers.saw(received)
            if address == (BRIDGE, "status", ""):
                self._presence.saw(received, connected=self.connected.is_set())

    async def _leave(self, *connections: "asyncio.Task[None]") -> None:
        """Finish or fail what runs, say `stopped`, wait for the acknowledgement."""
        await self._commands.close(STOP_PATIENCE)
        await self._links.stop()
        for device in self._devices():
            device.finish()
        self._presence.announce()
        self._leaving.set()
        if self.connected.is_set():
            await asyncio.wait(connections, timeout=STOP_PATIENCE + 1.0)
