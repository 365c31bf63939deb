"""The bridge in this process on a broker in memory, with the simulated observatory on
the other side."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from busbar.testing.fakes import until
from indi_bridge.bridge import SERVICE
from indi_bridge.simulator.server import SimulatedServer
from tests.running import Running, running

MOUNT = "Telescope_Simulator"
CAMERA = "CCD_Simulator"
FOCUSER = "Focuser_Simulator"
WHEEL = "Filter_Simulator"
DOME = "Dome_Simulator"
WEATHER = "Weather_Simulator"
COORDINATES = "EQUATORIAL_EOD_COORD"
CONFIG = """
bridge: {{name: dome}}
servers:
  - name: pi
    address: {address}
    {more}
"""


class Stage:
    """A bridge, its server, and time that can be moved."""

    def __init__(self, bus: Running, simulator: SimulatedServer) -> None:
        self.bus = bus
        self.simulator = simulator

    async def call(
        self, device: str, command: str, payload: Any = "{}"
    ) -> dict[str, Any]:
        """Run a command while time flies."""
        return await self.hurried(self.bus.call(device, command, payload))

    async def write(self, device: str, path: str, payload: Any) -> dict[str, Any]:
        return await self.hurried(self.bus.set(device, path, payload))

    async def hurried(
        self, doing: Coroutine[Any, Any, dict[str, Any]]
    ) -> dict[str, Any]:
        task = asyncio.ensure_future(doing)
        while not task.done():
            await self.bus.clock.advance(0.25)
            await asyncio.sleep(0.001)
        return await task

    async def online(self, device: str, vector: str) -> None:
        """Wait until a device is there with a vector."""
        await until(lambda: vector in self.bus.good(device), f"{device}/{vector}")

    async def asks_for_blobs(self) -> None:
        """Wait until the connection for BLOBs has asked for some."""

        def asked() -> bool:
            return any(each.policies for each in self.simulator.clients)

        await until(asked, "the connection for BLOBs")

    def properties(self, device: str) -> dict[str, Any]:
        info = self.bus.retained(device, "info")
        return dict(info["properties"]) if info else {}

    def commands(self, device: str) -> set[str]:
        return set(self.bus.retained(device, "info")["commands"])

    def blobs(self, device: str, name: str) -> list[bytes]:
        return self.bus.broker.payloads(f"{self.bus.base}/{device}/blob/{name}")

    def vector(self, device: str, name: str) -> dict[str, Any]:
        return dict(self.bus.good(device)[name])

    def statuses(self, device: str) -> list[str]:
        payloads = filter(None, self._statuses(device))
        return [json.loads(each)["state"] for each in payloads]

    def reasons(self, device: str) -> str:
        """Return all reasons of its status so far."""
        return b"".join(self._statuses(device)).decode()

    def _statuses(self, device: str) -> list[bytes]:
        return self.bus.broker.payloads(f"{self.bus.base}/{device}/status")


def failure(reply: dict[str, Any]) -> str:
    """Return the code and message of an outcome that has to be a failure."""
    assert not reply["ok"], reply
    return f"{reply['error']['code']}: {reply['error']['message']}"


@asynccontextmanager
async def empty(more: str = "") -> AsyncIterator[Stage]:
    """A server without devices, and the bridge on it."""
    async with (
        SimulatedServer() as simulator,
        running(SERVICE, CONFIG.format(address=simulator.address, more=more)) as bus,
    ):
        await bus.status("pi", "online")
        # before it nothing is sent to us
        await until(lambda: simulator.asked, "getProperties")
        yield Stage(bus, simulator)


@asynccontextmanager
async def observatory(more: str = 'connect: ["*"]') -> AsyncIterator[Stage]:
    """The observatory, all defined."""
    async with empty(more) as stage:
        stage.simulator.add_observatory()
        if "connect" in more:
            for device, vector in (
                (MOUNT, COORDINATES),
                (CAMERA, "CCD1"),
                (DOME, "DOME_PARK"),
                (WHEEL, "FILTER_NAME"),
            ):
                await stage.online(device, vector)
        await stage.online(WEATHER, "WEATHER_PARAMETERS")
        await stage.bus.clock.advance(1.25)
        await stage.bus.value("pi", "definitions_complete", lambda complete: complete)
        yield stage
