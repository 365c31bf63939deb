"""Session of one open bus: hands frames to all that want them, serves commands."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from busbar.bridge import (
    Command,
    Description,
    Event,
    Outlet,
    Port,
    Property,
    Turn,
    UnknownTarget,
    by_path,
    commands,
)
from busbar.codecs.can import Frame, Mask
from can_bridge import bus_state, frame_events, gct_nodes, signals
from can_bridge.address import parse_address
from can_bridge.bus_state import BusMonitor
from can_bridge.frame_commands import FrameCommands
from can_bridge.frame_events import FramePublisher
from can_bridge.gct_commands import GctCommands
from can_bridge.gct_nodes import GctNodes
from can_bridge.interfaces.interface import CanInterface, log
from can_bridge.messages import Catalogue
from can_bridge.settings import Opened
from can_bridge.signal_commands import SignalCommands
from can_bridge.signals import BusSignals
from can_bridge.traffic import CanTraffic, join_masks

# s between two looks at a busy bus: one look costs as much as ten frames
GATHER = 0.002
COUNTERS_PERIOD = 1.0  # s between reports of the counters

Taker = Callable[[Sequence[Frame]], None]


class CanSession:
    """One bus with all that is configured for it; `load` reads its databases again."""

    def __init__(
        self,
        settings: Opened,
        port: Port,
        bus: CanInterface,
        catalogue: Catalogue,
        load: Callable[[], Catalogue],
    ) -> None:
        self.outlet: Outlet = port.outlet(settings.name)
        self._settings = settings
        self._bus = bus
        self._speaks_gct = "gct" in settings.protocols
        self.traffic = self._traffic_on(bus, catalogue)
        self._monitor = self._monitor_of(bus)
        self._publisher = FramePublisher(self.outlet, settings.frames, settings.fd)
        of_protocol = gct_nodes.speaks if self._speaks_gct else _is_no_protocol
        self._signals = BusSignals(self.outlet, self.traffic, catalogue, of_protocol)
        self._nodes = GctNodes(
            settings.name,
            port,
            self.outlet,
            self.traffic,
            settings.gct,
            commands(GctCommands),
        )
        self.commands = (
            FrameCommands(self.traffic),
            SignalCommands(self._signals, load, self.use),
            GctCommands(self._nodes),
        )
        self._takers = self._takers_of(catalogue)

    def _traffic_on(self, bus: CanInterface, catalogue: Catalogue) -> CanTraffic:
        settings = self._settings
        traffic = CanTraffic(
            settings.name,
            bus,
            wanted(settings, catalogue),
            sends=settings.sends,
            fd=settings.fd,
            own=receives_own(settings),
        )
        traffic.on_echo = self.take
        return traffic

    def _monitor_of(self, bus: CanInterface) -> BusMonitor:
        settings = self._settings
        bitrates = (settings.rate, settings.data_bitrate)
        monitor = BusMonitor(
            settings.name, self.outlet, bus, bitrates, settings.restart
        )
        echoed = receives_own(settings)
        self.traffic.on_sent = lambda frames: monitor.count_sent(frames, echoed)
        return monitor

    def _takers_of(self, catalogue: Catalogue) -> list[Taker]:
        takers: list[Taker] = [self._monitor.take]
        if self._settings.receives:
            takers.append(self._publisher.take)
            if catalogue.entries:
                takers.append(self._signals.take)
            if self._speaks_gct:
                takers.append(self._nodes.take)
        takers.append(self.traffic.frames.take)
        return takers

    def take(self, frames: Sequence[Frame]) -> None:
        """Hand frames to all that want them."""
        for taker in self._takers:
            try:
                taker(frames)
            except Exception as error:  # it costs no other that wants them
                self.outlet.failed([], error)

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(), name="receive")
            tasks.create_task(self._monitor.run(), name="health")
            tasks.create_task(self._report(), name="counters")

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        while True:
            frames = await self._bus.receive()
            self.take(frames)
            now = loop.time()
            if now - last < GATHER:
                await asyncio.sleep(GATHER)
            else:
                # a bus that always has frames must not keep the others waiting
                await asyncio.sleep(0)
            last = loop.time()

    async def _report(self) -> None:
        while True:
            self._publish_counters()
            await asyncio.sleep(COUNTERS_PERIOD)

    def _publish_counters(self) -> None:
        if self._signals.catalogue.entries:
            self._signals.publish_counters()
        if self._speaks_gct:
            self._nodes.report()

    def leave(self) -> None:
        """Publish the frames that have gathered, stop what is periodic."""
        self.traffic.close()
        self._publisher.flush()

    async def refresh(self, device: str) -> None:
        await self._monitor.report()
        self._publish_counters()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        if device != self._settings.name:
            raise UnknownTarget(f"{path!r} is not written by a node")
        return await self._signals.set(path, value)

    def use(self, catalogue: Catalogue) -> None:
        """Go on with other databases."""
        for problem in catalogue.problems:
            log.warning("%s: %s", self._settings.name, problem)
        self._signals.use(catalogue)
        self._takers = self._takers_of(catalogue)
        self.traffic.accept(wanted(self._settings, catalogue))
        self.outlet.describe(describe(self._settings, catalogue))


def _is_no_protocol(frame: Frame) -> bool:
    return False


def receives_own(settings: Opened) -> bool:
    """True if frames that are sent come back as received."""
    if settings.receive_own is None:
        return parse_address(settings.address).interface == "loopback"
    return settings.receive_own


def wanted(settings: Opened, catalogue: Catalogue) -> list[Mask] | None:
    """Return what the interface has to receive; None = all frames."""
    if not settings.receives:
        return []
    parts = [frame_events.masks(settings.frames), catalogue.masks()]
    if "gct" in settings.protocols:
        parts.append([Mask(0, 0, True)])
    return join_masks(parts)


def describe(settings: Opened, catalogue: Catalogue) -> Description:
    """Describe a bus."""
    properties: list[Property] = [
        *bus_state.PROPERTIES,
        *frame_events.last(settings.frames),
        *catalogue.properties(),
    ]
    does: dict[str, Command] = commands(FrameCommands)
    events: list[Event] = [*frame_events.events(settings.frames), bus_state.ERROR_EVENT]
    if catalogue.entries or settings.databases:
        properties += [signals.UNKNOWN, signals.UNREADABLE]
        does |= commands(SignalCommands)
    if "gct" in settings.protocols:
        properties.append(gct_nodes.LOST)
        events.append(gct_nodes.GCT_EVENT)
        does |= commands(GctCommands)
    return Description(
        kind="can",
        name=settings.title,
        properties=by_path(properties),
        commands=does,
        events={event.name: event for event in events},
    )
