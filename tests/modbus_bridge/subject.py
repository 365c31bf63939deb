"""The Modbus bridge under the contract suite.

In this process, on the simulated plant, two units of one line.
"""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from busbar.contract.describe import Blob, Description
from busbar.testing.fakes import until
from modbus_bridge.bridge import SERVICE
from modbus_bridge.simulator.__main__ import Simulator
from tests.contract.client import Client
from tests.contract.in_process import InProcess, ending
from tests.contract.subject import Call, Subject

PLANT = """
bridge: {{name: plant}}
broker: {{protocol: {protocol}{more}}}
channels: [{{name: line1, address: "{address}"}}]
devices:
  - name: meter
    channel: line1
    unit: 17
    timeout: 3
    properties:
      - {{path: volts, address: 300, type: float64, access: rw,
         minimum: 0, maximum: 30, every: 0.1}}
      - {{path: door, table: coil, address: 5, access: rw, every: 0.1}}
      - {{path: reading, table: input, address: 0, every: 0.1}}
      - {{path: refusing, address: 80, access: w}}
  - name: pump
    channel: line1
    unit: 19
    properties: [{{path: speed, table: input, address: 0, every: 1}}]
"""
MARKS, GUARDED = 500, 80
NONSENSE, SILENCE = 0x64, 0x65  # functions that the meter answers so


class Modbus(InProcess):
    """A meter, and a pump as its neighbour."""

    def __init__(
        self, simulator: Simulator, url: str, protocol: str, more: str
    ) -> None:
        self._simulator, self._addresses = simulator, itertools.count(900)
        # ("poll", 0) and ("mark", number), in order
        self._seen: list[tuple[str, int]] = []
        meter = simulator.plant.meter
        meter.guarded = {GUARDED}
        # what these do is the suite's business
        for unit in (meter, simulator.plant.pump):
            unit.execute = partial(self._noted, unit.execute)  # type: ignore[method-assign]
        self.serve(
            SERVICE,
            PLANT.format(address=simulator.address, protocol=protocol, more=more),
            url,
        )
        super().__init__(
            "plant",
            "meter",
            "pump",
            "volts",
            "door",
            "reading",
            "refusing",
            "request",
            "call/read",
            ("call/read", {"table": "coil", "address": 0, "count": 999}),
            {
                "device": ("call/read", {"address": 5000}),
                "protocol": ("call/request", {"pdu": f"{NONSENSE:02x}"}),
                "timeout": ("call/request", {"pdu": f"{SILENCE:02x}", "_timeout": 0.2}),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        meter = self._simulator.plant.meter
        if path == "volts":
            meter.put("holding", 300, value, "float64")
        else:
            meter.bits["coil"][5] = value

    def unplug(self) -> None:
        self._simulator.unplug()

    async def plug(self) -> None:
        await self._simulator.plug()

    def mark(self, number: int) -> Call:
        return "call/request", {"pdu": f"06{MARKS:04x}{number:04x}"}

    def marks(self) -> list[int]:
        return [number for what, number in self._seen if what == "mark"]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        address = next(self._addresses)
        self._simulator.slow = seconds
        id_ = client.send(self.device, self.slow, {"address": address, **fields})
        await until(lambda: ("busy", address) in self._seen, "the start")
        self._simulator.slow = 0.0
        return id_

    def polls(self) -> int:
        count = sum(what == "poll" for what, _ in self._seen)
        self._seen = [each for each in self._seen if each[0] != "poll"]
        return count

    def polled_before(self, number: int) -> int:
        return sum(
            what == "poll"
            for what, _ in self._seen[: self._seen.index(("mark", number))]
        )

    def _noted(self, execute: Callable[[bytes], bytes], pdu: bytes) -> Any:
        """Answer as the unit does, and remember what is asked."""
        address, word = (int.from_bytes(pdu[at : at + 2], "big") for at in (1, 3))
        if pdu[0] == NONSENSE:
            return b"\x03\x00"
        if pdu[0] == SILENCE:
            return None
        if pdu[0] == 6 and address == MARKS:
            self._seen.append(("mark", word))
        elif pdu[0] == 3 and address >= 900:
            self._seen.append(("busy", address))
        elif pdu[0] in (1, 3, 4):
            self._seen.append(("poll", 0))
        return execute(pdu)

    def refuse(self, value: Any) -> None:
        """The unit does it itself."""

    def described(self, about: Description) -> Description:
        return about.with_blob(Blob("picture"))


@asynccontextmanager
async def modbus_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The Modbus bridge, not yet started; left = gone."""
    async with (
        Simulator() as simulator,
        ending(Modbus(simulator, url, protocol, more)) as subject,
    ):
        yield subject
