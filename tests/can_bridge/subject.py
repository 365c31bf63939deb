"""The CAN bridge under the contract suite.

In this process, on the simulated vehicle behind a serial adapter.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from busbar.codecs import can
from busbar.contract.describe import Description, Event
from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from can_bridge.simulator.__main__ import Simulator
from can_bridge.simulator.vehicle import ECHO_REQUEST
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject

TRUCK = """
bridge: {{name: truck}}
broker: {{protocol: {protocol}{more}}}
devices:
  - name: can0
    address: {address}
    signals: {{min_interval: 0}}
    messages:
      - name: Heater
        id: 0x300
        signals:
          - {{name: level, start: 0, length: 16, scale: 0.001, minimum: 0, maximum: 30}}
          - {{name: on, start: 16, length: 1}}
  - {{name: other, address: "can::loopback"}}
"""
LEVEL, ON, HEATER, MARK = "Heater/level", "Heater/on", 0x300, 0x400
LARGE = ("call/isotp", {"tx": 0x7E0, "rx": 0x7E8, "data": "eHh4" * 1366, "timeout": 20})


class Can(InProcess):
    """A vehicle's bus, and the loopback as its neighbour."""

    waiting = ("call/request", {"id": 0x7F0, "match": {"id": 0x7F1}, "timeout": 10})

    def __init__(
        self, simulator: Simulator, url: str, protocol: str, more: str
    ) -> None:
        self._simulator = simulator
        self._heater = [0.0, False]
        self.serve(
            SERVICE,
            TRUCK.format(address=simulator.address, protocol=protocol, more=more),
            url,
        )
        super().__init__(
            "truck",
            "can0",
            "other",
            LEVEL,
            ON,
            "_bitrate",
            "refusing",
            "cansend",
            "call/busy",
            LARGE,
            {
                "device": ("set/refusing", {"_value": 1}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": (
                    "call/request",
                    {"id": 0x7F0, "match": {"id": 0x7F1}, "timeout": 0.01},
                ),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        self._heater[path == ON] = value
        self._tell()

    def _tell(self) -> None:
        self._simulator.vehicle.put(
            HEATER, struct.pack("<H?5x", round(self._heater[0] * 1000), self._heater[1])
        )

    def unplug(self) -> None:
        self._simulator.unplug()

    async def plug(self) -> None:
        self._simulator.plug()

    def mark(self, number: int) -> Call:
        return "call/cansend", {"frame": f"{MARK:X}#{number:08X}"}

    def marks(self) -> list[int]:
        return [
            int.from_bytes(frame.data, "big")
            for frame in self._simulator.vehicle.seen
            if frame.id == MARK
        ]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        before = self._count(ECHO_REQUEST)
        id_ = client.send(self.device, self.slow, {"seconds": seconds, **fields})
        await until(lambda: self._count(ECHO_REQUEST) > before, "the start")
        return id_

    def _count(self, id_: int) -> int:
        return sum(frame.id == id_ for frame in self._simulator.vehicle.seen)

    async def opened(self, session: Any) -> None:
        await until(lambda: self._simulator.open, "the adapter")
        self._tell()

    async def write(
        self, set_: Any, device: str, path: str, value: Any, turn: Any
    ) -> Any:
        before = self._count(HEATER)
        result = await set_(device, path, value, turn)
        await until(lambda: self._count(HEATER) > before, "the frame at the vehicle")
        self._heater[path == ON] = value
        return result

    def described(self, about: Description) -> Description:
        """Add a command that holds the line, one that waits for the vehicle, and an
        event."""
        sending = about.commands["cansend"]

        async def cansend(session: Any, device: str, arguments: Any, turn: Any) -> None:
            before = len(self._simulator.vehicle.seen)
            await sending.run(session, device, arguments, turn)
            if device == self.device:
                await until(
                    lambda: len(self._simulator.vehicle.seen) > before,
                    "the mark at the vehicle",
                )

        async def busy(session: Any, device: str, arguments: Busy, turn: Any) -> None:
            await session.traffic.send([can.frame(ECHO_REQUEST)])
            await asyncio.sleep(arguments.seconds)

        commands = {
            **about.commands,
            "cansend": replace(sending, run=cansend),
            "busy": replace(
                sending,
                name="busy",
                run=busy,
                arguments=Busy,
                timeout=90.0,
                holds="until_done",
            ),
        }
        return super().described(
            about.with_(
                commands=commands, events={**about.events, "beep": Event("beep")}
            )
        )


class Busy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `busy`."""

    seconds: float = 0.0


@asynccontextmanager
async def can_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The CAN bridge, not yet started; left = gone."""
    async with (
        Simulator(quiet=True) as simulator,
        ending(Can(simulator, url, protocol, more)) as subject,
    ):
        yield subject


KIND = Kind(can_bridge, frozenset({"waiting", "event"}))
