"""A device that types: what it types as lines, each an event."""

import asyncio
from typing import Any

import msgspec

from busbar.bridge import (
    BusbarError,
    Event,
    NoArguments,
    Outlet,
    Port,
    Property,
    Turn,
    UnknownTarget,
    command,
)
from hid_bridge.address import HidNode
from hid_bridge.backends.evdev import KeyEvent
from hid_bridge.layouts import LineReader
from hid_bridge.settings import Device, Keyboard


class LineFields(msgspec.Struct, frozen=True):
    """A line that was typed or scanned; `complete`: false where keys are missing."""

    text: str
    complete: bool
    layout: str


LINE = Event("line", LineFields, "A line that was typed or scanned")
LINES = Property("lines", int, title="Lines since the bridge opened the device")


class KeyboardInfo(msgspec.Struct, frozen=True):
    """What a keyboard is."""

    vendor: str
    product: str
    name: str
    serial: str | None
    port: str | None
    path: str
    layout: str
    grabbed: bool


class KeyboardCommands:
    """What can be asked of a keyboard."""

    def __init__(self, node: HidNode, keyboard: Keyboard) -> None:
        self._node = node
        self._keyboard = keyboard

    @command(holds="exchange")
    async def info(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> KeyboardInfo:
        """Say what the keyboard is and how its keys are read."""
        node = self._node
        return KeyboardInfo(
            f"{node.vendor:04x}",
            f"{node.product:04x}",
            node.name,
            node.serial or None,
            node.port or None,
            node.path,
            self._keyboard.layout,
            self._keyboard.grab,
        )


class KeyboardSession:
    """One open keyboard."""

    def __init__(
        self, settings: Device, keyboard: Keyboard, port: Port, node: HidNode
    ) -> None:
        self._keyboard = keyboard
        self._outlet: Outlet = port.outlet(settings.name)
        self._line = LineReader(keyboard.layout, keyboard.end, keyboard.limit)
        self._lines = 0
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._pause: asyncio.TimerHandle | None = None
        self.commands = (KeyboardCommands(node, keyboard),)
        about = self._outlet.description
        self._outlet.describe(
            about.with_(model=node.name or None, serial=node.serial or None)
        )
        self._outlet.values({LINES.path: 0})

    async def serve(self) -> None:
        await self._lost

    def leave(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if not self._lost.done():
            self._lost.cancel()

    async def refresh(self, device: str) -> None:
        self._outlet.values({LINES.path: self._lines})

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        raise UnknownTarget("a keyboard has nothing to set")

    def on_key(self, key: KeyEvent) -> None:
        """Take a key."""
        if key.code is None:
            self._line.lost()
            return
        ended = self._line.key(key.code, key.value)
        if ended is not None:
            self._tell(ended, key.time)
        if self._keyboard.pause is not None:
            self._restart(self._keyboard.pause)

    def on_lost(self, error: BusbarError) -> None:
        """End the session."""
        if not self._lost.done():
            self._lost.set_exception(error)

    def _restart(self, pause: float) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._line.waiting:
            self._pause = self._loop.call_later(pause, self._end_by_pause)

    def _end_by_pause(self) -> None:
        self._pause = None
        ended = self._line.take()
        if ended is not None:
            self._tell(ended, None)

    def _tell(self, ended: tuple[str, bool], time: float | None) -> None:
        text, complete = ended
        fields = LineFields(text, complete, self._keyboard.layout)
        try:
            self._outlet.event(LINE.name, msgspec.to_builtins(fields), time)
        except Exception as error:  # costs this line
            self._outlet.failed([], error)
        self._lines += 1
        self._outlet.values({LINES.path: self._lines})
