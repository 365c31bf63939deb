"""One open port that panels connect to; the program behind them is on the bus."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from busbar.bridge import Property, Turn
from busbar.codecs.cip import Join
from cip_bridge.join_publisher import JoinPublisher
from cip_bridge.join_state import Value
from cip_bridge.joins import generic
from cip_bridge.processor_role.commands import ProcessorCommands
from cip_bridge.processor_role.program import Seat

PANELS = Property("_panels", list[str], title="Panels that are signed on")
COUNTERS_PERIOD = 1.0  # s


class ProcessorSession:
    """Joins to and from the panels of one port."""

    def __init__(
        self, publishers: Mapping[str, JoinPublisher], seats: Mapping[str, Seat]
    ) -> None:
        self._publishers = publishers
        self._seats = seats
        self._buttons = ProcessorCommands(publishers, seats, self._drive)
        self.commands = (self._buttons,)
        for device, seat in seats.items():
            self._publish_all(device)
            seat.on_panels_changed = partial(self._publish_panels, device)
            self._publish_panels(device)

    async def serve(self) -> None:
        while True:
            for device, publisher in self._publishers.items():
                publisher.publish_skipped(self._seats[device].skipped)
            await asyncio.sleep(COUNTERS_PERIOD)

    async def refresh(self, device: str) -> None:
        self._publish_all(device)

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        publisher = self._publishers[device]
        join, raw = publisher.resolve(path, value)
        pulse = publisher.paths.momentary(join)
        if raw and pulse is not None and path != generic(join):
            await self._buttons.pulse_once(device, join, pulse, turn)
        else:
            self._buttons.end_ramp(device, join)
            self._drive(device, join, raw)
        return value

    def _drive(self, device: str, join: Join, value: Value) -> None:
        self._seats[device].drive(join, value)
        self._publishers[device].publish_sent(join, value)

    def _publish_all(self, device: str) -> None:
        self._publishers[device].publish_all_received()
        self._publishers[device].publish_all_sent()

    def _publish_panels(self, device: str) -> None:
        addresses = [panel.address for panel in self._seats[device].panels]
        self._publishers[device].outlet.values({PANELS.path: addresses})
