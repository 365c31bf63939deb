"""One open bus as a session.

What comes in is handed to everything that wants it, commands go out.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from busbar.bridge import (
    BadRequest,
    Command,
    ConfigError,
    Description,
    Event,
    NoArguments,
    Outlet,
    Port,
    Turn,
    UnknownTarget,
    by_path,
    command,
    commands,
)
from busbar.codecs.can import Frame, Mask
from can_bridge import bus_state, frame_events, gct_nodes, signals
from can_bridge.address import place
from can_bridge.bus_state import Watch
from can_bridge.frame_commands import RawCommands
from can_bridge.frame_events import Publisher
from can_bridge.gct_commands import GctCommands
from can_bridge.gct_nodes import Nodes
from can_bridge.interfaces.interface import Bus, log
from can_bridge.messages import Catalogue
from can_bridge.settings import Opened
from can_bridge.signals import SignalBook, SignalCommands
from can_bridge.traffic import Line

# s between two looks at a busy bus: one look costs as much as ten frames
GATHER = 0.002
TELL = 1.0  # s between looks at the counters

Taker = Callable[[Sequence[Frame]], None]


class DatabaseCommands(SignalCommands):
    """What can be done where messages are known."""

    reload: Callable[[], Catalogue]

    @command(
        title=(
            "Read the databases again and go on with them; return how many "
            "messages they have. No frame is lost"
        ),
        holds="exchange",
        timeout=60.0,
    )
    async def reload_databases(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> int:
        """Read the databases again and go on with them.

        Return how many messages they have. No frame is lost.
        """
        turn.release()
        try:
            catalogue = await asyncio.to_thread(self.reload)
        except ConfigError as error:
            raise BadRequest(f"going on with the old databases: {error}") from error
        self.use(catalogue)
        return len(catalogue.entries)

    def use(self, catalogue: Catalogue) -> None:
        """Go on with other databases."""
        raise NotImplementedError


class CanSession(RawCommands, DatabaseCommands, GctCommands):
    """One bus with all that is configured for it."""

    def __init__(
        self,
        settings: Opened,
        port: Port,
        bus: Bus,
        catalogue: Catalogue,
        reload: Callable[[], Catalogue],
    ) -> None:
        RawCommands.__init__(self)
        GctCommands.__init__(self)
        self.outlet: Outlet = port.outlet(settings.name)
        self.reload = reload
        self._settings, self._bus = settings, bus
        own = receives_own(settings)
        self.line = Line(
            settings.name,
            bus,
            wanted(settings, catalogue),
            sends=settings.sends,
            fd=settings.fd,
            own=own,
        )
        self.line.echoed = self.take
        bitrates = (settings.rate, settings.data_bitrate)
        self._watch = Watch(settings.name, self.outlet, bus, bitrates, settings.restart)
        self.line.sent = lambda count: self._watch.count_sent(count, own)
        self._publisher = Publisher(self.outlet, settings.frames, settings.fd)
        spoken = (
            gct_nodes.speaks if "gct" in settings.protocols else lambda frame: False
        )
        self.book = SignalBook(self.outlet, self.line, catalogue, spoken)
        self.nodes = Nodes(settings.name, port, self.outlet, self.line, settings.gct)
        self.nodes.commands = commands(GctCommands)
        self._takers = self._takers_of(catalogue)

    def _takers_of(self, catalogue: Catalogue) -> list[Taker]:
        takers: list[Taker] = [self._watch.take]
        if self._settings.receives:
            takers.append(self._publisher.take)
            takers += [self.book.take] if catalogue.entries else []
            takers += [self.nodes.take] if "gct" in self._settings.protocols else []
        return [*takers, self.line.frames.take]

    def take(self, frames: Sequence[Frame]) -> None:
        """Hand frames to all who want them."""
        for taker in self._takers:
            taker(frames)

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(), name="receive")
            tasks.create_task(self._watch.run(), name="health")
            tasks.create_task(self._tell(), name="counters")

    async def _receive(self) -> None:
        loop, last = asyncio.get_running_loop(), 0.0
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

    async def _tell(self) -> None:
        while True:
            self._tell_now()
            await asyncio.sleep(TELL)

    def _tell_now(self) -> None:
        if self.book.catalogue.entries:
            self.book.tell()
        if "gct" in self._settings.protocols:
            self.nodes.tell()

    def leave(self) -> None:
        """Publish what has gathered, stop what is periodic."""
        self.line.close()
        self._publisher.flush()

    async def refresh(self, device: str) -> None:
        await self._watch.look()
        self._tell_now()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        if device != self._settings.name:
            raise UnknownTarget(f"{path!r} is not written by a node")
        return await self.book.set(path, value)

    def use(self, catalogue: Catalogue) -> None:
        for problem in catalogue.problems:
            log.warning("%s: %s", self._settings.name, problem)
        self.book.use(catalogue)
        self._takers = self._takers_of(catalogue)
        self.line.want(wanted(self._settings, catalogue))
        self.outlet.describe(describe(self._settings, catalogue))


def receives_own(settings: Opened) -> bool:
    """True if frames that are sent come back as received."""
    if settings.receive_own is None:
        return place(settings.address).interface == "loopback"
    return settings.receive_own


def wanted(settings: Opened, catalogue: Catalogue) -> list[Mask] | None:
    """Return what the interface has to let through; None = everything."""
    if not settings.receives:
        return []
    parts = [frame_events.masks(settings.frames), catalogue.masks()]
    if "gct" in settings.protocols:
        parts.append([Mask(0, 0, True)])
    found: list[Mask] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found


def describe(settings: Opened, catalogue: Catalogue) -> Description:
    """Describe a bus."""
    own = [
        *bus_state.PROPERTIES,
        *frame_events.last(settings.frames),
        *catalogue.properties(),
    ]
    does: dict[str, Command] = commands(RawCommands)
    events: list[Event] = [*frame_events.events(settings.frames), bus_state.ERROR_EVENT]
    if catalogue.entries or settings.databases:
        own += [signals.UNKNOWN, signals.UNREADABLE]
        does |= commands(DatabaseCommands)
    if "gct" in settings.protocols:
        own.append(gct_nodes.LOST)
        events.append(gct_nodes.GCT_EVENT)
        does |= commands(GctCommands)
    return Description(
        kind="can",
        name=settings.title,
        properties=by_path(own),
        commands=does,
        events={event.name: event for event in events},
    )
