"""We are the processor.

Panels connect to us, and whoever is on the bus is the program behind them, as a
session.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from busbar.bridge import NoArguments, Property, Turn, command
from busbar.codecs.cip import Join
from cip_bridge.join_publisher import Get, Pulse, Send, Surface, frames_of
from cip_bridge.processor_role.program import Seat

PANELS = Property("_panels", list[str], title="Panels that are signed on")
LOOK = 1.0  # s between looks at the counters


class ProgramSession:
    """All seats on one port."""

    def __init__(
        self, surfaces: Mapping[str, Surface], seats: Mapping[str, Seat]
    ) -> None:
        self._surfaces, self._seats = surfaces, seats
        for device, surface in surfaces.items():
            surface.came_all()
            surface.went_all()
            seats[device].came_or_went = lambda device=device: self._count(device)  # type: ignore[misc]
            self._count(device)

    async def serve(self) -> None:
        while True:
            for device, surface in self._surfaces.items():
                surface.count(self._seats[device].skipped + surface.board.ignored)
            await asyncio.sleep(LOOK)

    async def refresh(self, device: str) -> None:
        self._surfaces[device].came_all()
        self._surfaces[device].went_all()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        self._drive(device, *self._surfaces[device].wanted(path, value))
        return value

    @command(holds="exchange", timeout=20.0)
    async def pulse(self, device: str, arguments: Pulse, turn: Turn) -> None:
        """Set a digital join true and then false again."""
        join = self._surfaces[device].paths.button(arguments.join)
        self._drive(device, join, True)
        turn.release()
        try:
            await asyncio.sleep(arguments.seconds)
        finally:
            self._drive(device, join, False)

    @command(holds="exchange")
    async def update_request(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Tell all panels everything anew."""
        self._seats[device].dump()

    @command(holds="exchange")
    async def get(self, device: str, arguments: Get, turn: Turn) -> bool | float | str:
        """Return the newest value of a join; one that never came is at its default."""
        return self._surfaces[device].read(arguments)  # type: ignore[no-any-return]  # one of these

    @command(holds="exchange")
    async def send(self, device: str, arguments: Send, turn: Turn) -> None:
        """Send raw frames, given in hex, to all panels."""
        self._seats[device].send(frames_of(arguments.frames))

    def _drive(self, device: str, join: Join, value: bool | int | str) -> None:
        self._seats[device].drive(join, value)
        self._surfaces[device].went(join, value)

    def _count(self, device: str) -> None:
        addresses = [panel.address for panel in self._seats[device].panels]
        self._surfaces[device].outlet.values({PANELS.path: addresses})
