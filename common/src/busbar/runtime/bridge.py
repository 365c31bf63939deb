"""One running bridge: its links, its devices and its broker; knows no protocol.

Source: docs/contract.md, 2, 4 and 5.
"""

import asyncio
import logging
import secrets
import time as clock
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from busbar.command.builtin import DeviceCommands, LinkCommands, bound
from busbar.command.dispatcher import CommandDispatcher
from busbar.contract.topics import BRIDGE, Topics, matches
from busbar.errors import UnknownTarget
from busbar.link.open_link import OpenLink
from busbar.mqtt.connection import connection
from busbar.mqtt.outbox import Outbox
from busbar.mqtt.reconnect import Connect
from busbar.publish.change_rate import ChangeRate
from busbar.publish.device import BridgeContext, DevicePublisher
from busbar.runtime import bridge_device, host, log
from busbar.runtime.bridge_device import BridgeDeviceCommands, Found, Listed
from busbar.runtime.bridge_spec import BridgeSpec, Openable
from busbar.runtime.broker_session import BrokerSession
from busbar.runtime.directory import DeviceDirectory
from busbar.runtime.links import Links

STOP_PATIENCE = 1.0  # s for running commands when the bridge stops
# that wait for a connection of their own; the oldest are dropped
BLOBS_BYTES = 128 * 1024 * 1024


class Bridge:
    """Runs a spec until `stop`; `read_spec` reads the configuration again."""

    def __init__(
        self,
        spec: BridgeSpec,
        read_spec: Callable[[], BridgeSpec] | None = None,
        now: Callable[[], float] = clock.time,
        synchronised: Callable[[], bool] = host.clock_synchronised,
        connect: Connect = connection,
    ) -> None:
        self.boot = secrets.token_hex(4)
        self._spec = spec
        self._read_spec = read_spec
        self._synchronised = synchronised
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._stop = asyncio.Event()
        self._directory = DeviceDirectory()
        self._context = self._new_context(now)
        self._commands = CommandDispatcher(
            self._context, self._directory, synchronised, spec.max_command
        )
        builtins = DeviceCommands(self._directory, self._commands, now)
        on_links = bound(builtins, LinkCommands(self._directory))
        self._links = Links(spec, self._context, on_links, self)
        self._own_link = self._new_own_link(builtins)
        self._broker = BrokerSession(
            spec.endpoint,
            self._context,
            self._directory,
            self._all_links,
            self._commands.accept,
            connect,
        )
        self.connected = self._broker.connected

    async def run(self) -> None:
        """Serve until `stop`.

        Raise DuplicateName when another process has taken the name.
        """
        device = self._own_link.devices[BRIDGE]
        handler = bridge_device.LogEvents(device, self._context.outbox)
        logging.getLogger("busbar").addHandler(handler)
        mqtt = asyncio.create_task(self._broker.run(), name="mqtt")
        blobs = asyncio.create_task(self._broker.run_blobs(), name="mqtt-blobs")
        own_link = asyncio.create_task(self._own_link.run(), name="bridge")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        self._links.start()
        tasks = [mqtt, blobs, own_link, stop]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._broker.duplicate is None and stop.done():
                await self._leave(mqtt, blobs)
        finally:
            outcomes = await _end([*tasks, *self._links.tasks])
            logging.getLogger("busbar").removeHandler(handler)
            for each in self._broker.devices():
                each.close()
        for outcome in [self._broker.duplicate, *outcomes]:
            if isinstance(outcome, Exception):
                raise outcome

    def stop(self) -> None:
        """Ask for a clean end."""
        self._stop.set()

    # What links report: open_link.LinkHost.

    def has_device(self, device: str) -> bool:
        return device in self._directory

    def is_busy(self, link: OpenLink) -> bool:
        return self._commands.runs_on(link)

    def on_session_ended(self, link: OpenLink) -> None:
        self._commands.on_session_ended(link)

    def on_device_added(self, device: DevicePublisher, link: OpenLink) -> None:
        self._directory.add(device, link)

    def on_device_appeared(self, device: DevicePublisher) -> None:
        if self.connected.is_set():
            device.announce()

    def on_device_vanished(self, device: DevicePublisher) -> None:
        self._directory.remove(device)
        self._commands.on_device_closed(device.name)
        device.withdraw()  # before another can take the name

    # What the device `bridge` asks: bridge_device.Owner.

    def stats(self) -> Mapping[str, Any]:
        published = dropped = queued = 0
        for outbox in self._broker.outboxes:
            published += outbox.published
            dropped += outbox.dropped
            queued += outbox.queued
        devices = sum(len(link.devices) for link in self._links.open_links)
        suppressed = sum(each.state.suppressed for each in self._broker.devices())
        return {
            "uptime": round(self._loop.time() - self._began),
            "version": bridge_device.VERSION,
            "devices": devices,
            "published": published,
            "received": self._commands.received,
            "dropped": dropped,
            "suppressed": suppressed,
            "queued": queued,
            "log_left_out": log.left_out(),
            "errors": self._context.errors.count,
            "reconnects": max(0, self._broker.connects - 1),
            "rss": host.resident(),
            "clock": self._synchronised(),
        }

    def listing(self) -> list[Listed]:
        rows = []
        for link in self._all_links():
            for device in link.devices.values():
                rows.append(_row(device, link))
        return rows

    def announce_all(self) -> None:
        self._broker.announce_all()

    def disconnect_all(self) -> None:
        for link in self._links.open_links:
            for device in link.devices.values():
                link.disconnect(device)

    async def scan(self) -> Sequence[Found]:
        return await self._links.scan()

    async def reload(self) -> Mapping[str, Any]:
        """Take a changed configuration: restart only links that changed.

        Keep running on a wrong one.
        """
        if self._read_spec is None:
            raise UnknownTarget("this bridge runs without a configuration file")
        return await self._links.reload(self._read_spec)

    async def clean(self) -> int:
        return await self._broker.clean()

    async def open_device(self, settings: Openable) -> None:
        await self._links.open(settings)

    async def close_device(self, name: str) -> None:
        await self._links.close(name)

    def shut_down(self) -> None:
        self._loop.call_later(0.1, self.stop)  # after the outcome has been sent

    def _new_context(self, now: Callable[[], float]) -> BridgeContext:
        spec, time = self._spec, self._loop.time
        outbox = blobs = Outbox(spec.max_message, time)
        if spec.blobs_apart:
            blobs = Outbox(spec.blobs_apart, time, BLOBS_BYTES)
        return BridgeContext(
            Topics(spec.root, spec.name),
            outbox,
            blobs,
            ChangeRate(time),
            self.boot,
            self._has_value_topic,
            now,
            spec.folder,
        )

    def _new_own_link(self, builtins: DeviceCommands) -> OpenLink:
        own = BridgeDeviceCommands(self, self._spec.allow_shutdown)
        commands = bound(builtins, own)
        if self._spec.opens is not None:
            commands["open"] = own.opening(self._spec.opens)
        declared = bridge_device.link(self._spec.kind, self, self._tick)
        link = OpenLink(self._context, declared, commands, self)
        link.devices[BRIDGE].set_status("online")
        return link

    def _all_links(self) -> Iterable[OpenLink]:
        yield from self._links.open_links
        yield self._own_link

    def _has_value_topic(self, path: str) -> bool:
        return any(matches(pattern, path) for pattern in self._spec.leaves)

    def _tick(self) -> None:
        for device in self._broker.devices():
            device.tick()
        self._broker.clear_leftovers()
        for outbox in self._broker.outboxes:
            outbox.report()

    async def _leave(self, *connections: "asyncio.Task[None]") -> None:
        """Finish or fail what runs, say `stopped`, wait for the acknowledgement."""
        await self._commands.close(STOP_PATIENCE)
        await self._links.stop()
        self._broker.leave()
        if self.connected.is_set():
            await asyncio.wait(connections, timeout=STOP_PATIENCE + 1.0)


def _row(device: DevicePublisher, link: OpenLink) -> Listed:
    lease = link.locks.on(device.name)
    return Listed(
        device.name,
        device.description.kind,
        device.description.address or None,
        device.status,
        device.since,
        None if lease is None else lease.owner,
    )


async def _end(tasks: "list[asyncio.Task[Any]]") -> list[Any]:
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)
