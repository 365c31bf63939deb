"""The GPIO bridge with a chip that is driven by stdin.

`python -m tests.bench.gpio_chip --config FILE --broker URL`.

A byte is an edge, "1" or "0": the file tells of edges as the kernel's file of a line
does. Nothing but the bridge is imported here: the memory of this process is measured.
"""

import asyncio
import os
import sys
from typing import Any

from busbar.runtime.service import Service, run
from gpio_bridge.backends.sim import SimChip, SimRequest
from gpio_bridge.bridge import SimulatedChips, link
from gpio_bridge.settings import Config, Device

LINE = 17
SIZE = 4096  # bytes of one read


class Driven(SimChip):
    """A simulated chip of which one line follows stdin."""

    async def request(self, *arguments: Any, **more: Any) -> SimRequest:
        request = await super().request(*arguments, **more)
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)
        return request

    def _read(self) -> None:
        edges = os.read(sys.stdin.fileno(), SIZE)
        if not edges:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        for each in edges:
            self.drive(LINE, each == ord("1"))


def _links(config: Config) -> list[Any]:
    simulated = SimulatedChips.of(config.devices, Driven)
    return [link(each, simulated) for each in config.devices]


if __name__ == "__main__":
    sys.exit(run(Service("gpio", Config, _links, Device)))
