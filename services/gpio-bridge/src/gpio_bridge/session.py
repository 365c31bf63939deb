"""Session of one open chip: its lines, and what keeps them working."""

import asyncio
import contextlib
import logging
from typing import Any

from busbar.bridge import LinkLost, Port, Turn
from gpio_bridge import settings
from gpio_bridge.chip import LineInfo
from gpio_bridge.header_view import HeaderView
from gpio_bridge.line_commands import LineCommands
from gpio_bridge.lines.line import LineContext
from gpio_bridge.lines.line_set import LineSet, Wanted
from gpio_bridge.pin_commands import PinCommands
from gpio_bridge.pins.numbering import Pins
from gpio_bridge.targets import Targets

log = logging.getLogger("busbar.gpio")

# s between looks: lines that could not be taken are tried again, levels of the others
# are read again
AGAIN = 10.0


class GpioSession:
    """One open chip; entered by `start`, left by `leave`."""

    def __init__(
        self,
        about: settings.Device,
        port: Port,
        context: LineContext,
        pins: Pins,
        wanted: dict[str, Wanted],
    ) -> None:
        self.about = about
        self.lines = LineSet(about, context, pins, wanted)
        self.header = HeaderView(self.lines)
        targets = Targets(self.lines)
        self.commands = (
            LineCommands(targets),
            PinCommands(targets, self.lines, self.header),
        )
        self._port = port
        self._chip = context.chip
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._view_changed = asyncio.Event()
        self._line_freed = asyncio.Event()
        self._chip.on_broken = self._on_broken
        context.on_change = self._view_changed.set

    async def start(self) -> None:
        """Take all lines; one that cannot be taken is bad, and the others work."""
        self._chip.watch(self._on_line_info)
        await self.lines.open()
        self.header.publish()

    async def leave(self) -> None:
        """Give the lines back as the configuration says."""
        await self.lines.close()
        if not self._failed.done():
            self._failed.cancel()

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fail(), name="chip")
            tasks.create_task(self._mind_lines(), name="lines")
            tasks.create_task(self._mind_broker(), name="broker")
            if self.about.inspect_every:
                tasks.create_task(self._mind_view(), name="inspect")

    async def refresh(self, device: str) -> None:
        await self.lines.refresh()
        self.header.publish()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        name, suffix = self._split(path)
        return await self.lines.working(name).set(suffix, value)

    def _split(self, path: str) -> tuple[str, str]:
        """Return the line and what follows its name."""
        if path in self.lines.by_name:
            return path, ""
        name, _, suffix = path.rpartition("/")
        return name, suffix

    def _on_broken(self, error: LinkLost) -> None:
        """End the session: the chip has gone."""
        if not self._failed.done():
            self._failed.set_exception(error)

    def _on_line_info(self, about: LineInfo) -> None:
        """React to a line that was taken or given back, by whomever."""
        self._view_changed.set()
        if not about.used and self.lines.waits_for(about.offset):
            self._line_freed.set()

    async def _fail(self) -> None:
        await self._failed

    async def _mind_lines(self) -> None:
        while True:
            self._line_freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._line_freed.wait()
            async with self._port.poll():
                await self.lines.refresh()

    async def _mind_broker(self) -> None:
        """Once the broker has been away for a while, set lines as they have it."""
        broker = self._port.broker
        while True:
            await broker.wait_cleared(self.about.broker_grace)
            log.warning(
                "%s: the broker is away; lines go to their `on_broker_loss`",
                self.about.name,
            )
            await self.lines.set_for_broker_loss()
            await broker.wait()

    async def _mind_view(self) -> None:
        while True:
            await self._view_changed.wait()
            self._view_changed.clear()
            self.header.publish()
            await asyncio.sleep(self.about.inspect_every)
