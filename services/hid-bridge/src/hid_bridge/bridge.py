"""Links and descriptions: one link for each device."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from busbar.bridge import (
    Description,
    Found,
    Link,
    LinkLost,
    Port,
    Service,
    by_path,
    commands,
)
from hid_bridge import address as addresses
from hid_bridge.address import HidNode
from hid_bridge.backends.channel import Backend, Finder, NotThere, find
from hid_bridge.backends.hidapi import HidapiBackend
from hid_bridge.commands import DeviceCommands
from hid_bridge.keyboard import LINE, LINES, KeyboardCommands, KeyboardSession
from hid_bridge.models import applied
from hid_bridge.points import points
from hid_bridge.publisher import ReportReader
from hid_bridge.session import BAD_REPORTS, REPORT, HidSession
from hid_bridge.settings import Config, Device, Keyboard

if TYPE_CHECKING:
    from hid_bridge.backends.evdev import EvdevBackend

LINUX = sys.platform == "linux"
ROOT = "HID_ROOT"  # where /sys and /dev are: in a container, or of a simulator
WAIT = 20.0  # s of one wait for a device; less than a link may take to open
LOOKS = 10  # at the list meanwhile, beside those that a change asks for


class Backends:
    """The ways to devices on this system."""

    def __init__(self, root: Path, hidapi: HidapiBackend | None = None) -> None:
        self._root = root
        self._hidapi = hidapi or HidapiBackend()

    def of(self, name: str | None) -> Backend:
        """Return the back end that a device names, or the system's own."""
        if name == "hidapi" or (name is None and not LINUX):
            return self._hidapi
        # only Linux has what it imports
        from hid_bridge.backends.hidraw import HidrawBackend

        return HidrawBackend(self._root)

    def keyboards(self) -> "EvdevBackend":
        """Return the back end of keyboards."""
        from hid_bridge.backends.evdev import EvdevBackend

        return EvdevBackend(self._root)


class Opener:
    """Opens one device again and again; waits for it where it is not there."""

    def __init__(self, settings: Device, backends: Backends) -> None:
        self._settings = settings
        self._backends = backends
        self._address = addresses.parse(settings.address)
        self._missing = False  # and whoever looks knows

    @contextlib.asynccontextmanager
    async def open(self, port: Port) -> AsyncIterator[HidSession]:
        settings = self._settings
        backend = self._backends.of(settings.backend)
        node = await self._find(backend)
        early = _Early()
        channel = await backend.open(
            node, early.on_report, early.on_lost, settings.timeout
        )
        session = None
        try:
            port.connecting()
            session = HidSession(settings, port, channel)
            await session.start()
            early.give(session)
            yield session
        finally:
            if session is not None:
                session.leave()
            await channel.close()

    @contextlib.asynccontextmanager
    async def open_keyboard(self, port: Port) -> AsyncIterator[KeyboardSession]:
        settings = self._settings
        keyboard = settings.keyboard or Keyboard()
        backend = self._backends.keyboards()
        node = await self._find(backend)
        session = KeyboardSession(settings, keyboard, port, node)
        try:
            channel = await backend.open(
                node, session.on_key, session.on_lost, settings.timeout, keyboard.grab
            )
            try:
                yield session
            finally:
                channel.close()
        finally:
            session.leave()

    async def _find(self, backend: Finder) -> HidNode:
        """Return the device.

        One that is missing is said at once, then waited for until one comes.
        """
        try:
            node = await find(backend, self._address, self._settings.address)
        except NotThere:
            if not self._missing:
                self._missing = True
                raise
            node = await self._wait(backend)
        self._missing = False
        return node

    async def _wait(self, backend: Finder) -> HidNode:
        """Return the device as soon as it is there; raise NotThere after a while.

        It is looked for in between, too: it may have come just before the watch.
        """
        for _ in range(LOOKS):
            await backend.until_changed(WAIT / LOOKS)
            with contextlib.suppress(NotThere):
                return await find(backend, self._address, self._settings.address)
        return await find(backend, self._address, self._settings.address)


class _Early:
    """Reports that come before the session serves: kept, a few, and given to it."""

    LIMIT = 64  # reports; the kernel keeps as many

    def __init__(self) -> None:
        self._reports: list[tuple[bytes, float]] = []
        self._lost: LinkLost | None = None
        self._session: HidSession | None = None

    def on_report(self, data: bytes, time: float) -> None:
        if self._session is not None:
            self._session.on_report(data, time)
        elif len(self._reports) < self.LIMIT:
            self._reports.append((data, time))

    def on_lost(self, error: Exception) -> None:
        lost = error if isinstance(error, LinkLost) else LinkLost(str(error))
        if self._session is not None:
            self._session.on_lost(lost)
        self._lost = lost

    def give(self, session: HidSession) -> None:
        """Let a session have them; raise LinkLost if the device has gone already."""
        if self._lost is not None:
            raise self._lost
        self._session = session
        for data, time in self._reports:
            session.on_report(data, time)
        self._reports.clear()


def link(given: Device, backends: Backends) -> Link:
    """Return the link of one device."""
    settings = applied(given)
    opener = Opener(settings, backends)
    open_: Callable[[Port], contextlib.AbstractAsyncContextManager[object]]
    open_ = opener.open if settings.keyboard is None else opener.open_keyboard
    problem = None
    if settings.keyboard is not None and not LINUX:
        problem = f"{settings.name}: a keyboard can be taken on Linux only"
    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings)},
        config=settings,
        problem=problem,
        on_demand=settings.connect == "on_demand",
        idle_close=settings.idle_close,
    )


def describe(settings: Device) -> Description:
    """Describe a device as far as the configuration knows it."""
    if settings.keyboard is not None:
        return Description(
            kind="hid",
            name=settings.title,
            properties=by_path([LINES]),
            commands=commands(KeyboardCommands),
            events={LINE.name: LINE},
        )
    known = ReportReader(points(settings, ()), settings.checksum)
    return Description(
        kind="hid",
        name=settings.title,
        properties=by_path([*known.properties, BAD_REPORTS]),
        commands=commands(DeviceCommands),
        events={REPORT.name: REPORT},
        # a set of a feature reads, writes and reads back
        timeout=4 * settings.timeout,
    )


def service(environment: Mapping[str, str], hidapi: HidapiBackend | None) -> Service:
    """Return the service for the devices of this system, or of a simulator."""
    backends = Backends(Path(environment.get(ROOT) or "/"), hidapi)

    def links(config: Config) -> Iterable[Link]:
        return [link(device, backends) for device in config.devices]

    def opened(device: Device) -> Link:
        return link(device, backends)

    async def scan() -> Sequence[Found]:
        nodes = await backends.of(None).nodes()
        return [_found(each, nodes) for each in nodes]

    return Service("hid", Config, links, Device, opened, scan)


def _found(node: HidNode, others: Sequence[HidNode]) -> Found:
    names = [hex(page) for page in node.pages]
    title = f"{node.name or 'without a name'}; usage pages {', '.join(names)}"
    address = addresses.short(node, others)
    return Found(address, "hid", title, node.serial or None)


SERVICE = service(os.environ, None)
