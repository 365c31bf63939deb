"""CIP bridge under the contract suite: in this process, on the simulated processor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Update
from busbar.contract.describe import Description
from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from cip_bridge.simulator.__main__ import Simulator
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject

THEATRE = """
bridge: {{name: theatre}}
broker: {{protocol: {protocol}{more}}}
devices:
  - name: panel
    address: {panel}
    ipid: 0x0A
    joins:
      - {{join: analog/100, name: level, scale: [0, 30000, 0, 30]}}
      - {{join: digital/100, name: door}}
  - {{name: hall, address: {hall}, ipid: 0x0B}}
"""
LEVEL, DOOR, LARGE, MARK = (
    Join("analog", 100),
    Join("digital", 100),
    Join("serial", 200),
    Join("serial", 201),
)


class Cip(InProcess):
    """A panel of one processor, and of another one as its neighbour."""

    waiting = ("call/pulse", {"join": 101, "seconds": 10})  # until it is cancelled

    def __init__(
        self, panel: Simulator, hall: Simulator, url: str, protocol: str, more: str
    ) -> None:
        self._processor = panel
        panel.theatre.change(LARGE, "x" * 5000)
        text = THEATRE.format(
            panel=panel.address, hall=hall.address, protocol=protocol, more=more
        )
        self.serve(SERVICE, text, url)
        super().__init__(
            "theatre",
            "panel",
            "hall",
            "level",
            "door",
            "clock",
            "refusing",
            "send",
            "call/update_request",
            ("call/get", {"join": "serial/200"}),
            {
                "device": ("set/refusing", {"_value": 1}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": (
                    "call/pulse",
                    {"join": 101, "seconds": 10, "_timeout": 0.01},
                ),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        raw = round(value * 1000) if path == "level" else value
        self._processor.theatre.change(LEVEL if path == "level" else DOOR, raw)

    def unplug(self) -> None:
        self._processor.unplug()

    async def plug(self) -> None:
        await self._processor.plug()

    def mark(self, number: int) -> Call:
        return "call/send", {
            "frames": cip.encode(Update(MARK, f"mark {number}", Form.SERIAL)).hex()
        }

    def marks(self) -> list[int]:
        return [
            int(str(value).split()[1])
            for join, value in self._processor.theatre.seen
            if join == MARK
        ]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        program = self._processor.program
        program.slow = seconds
        before = program.asked
        id_ = client.send(self.device, self.slow, fields)
        await until(lambda: program.asked > before, "the start")
        program.slow = 0.0
        return id_

    async def _arrived(self, path: str, value: Any) -> None:
        """Wait until the processor has it.

        Done is when it was written, and a change by hand must not overtake it.
        """
        wanted = (
            (LEVEL, round(value * 1000))
            if path == "level"
            else (DOOR, value)
            if path == "door"
            else None
        )
        seen = self._processor.theatre.seen
        await until(
            lambda: wanted is None or (seen and seen[-1] == wanted),
            f"{path} at the processor",
        )

    async def write(
        self, set_: Any, device: str, path: str, value: Any, turn: Any
    ) -> Any:
        result = await set_(device, path, value, turn)
        await self._arrived(path, value)
        return result

    def described(self, about: Description) -> Description:
        """Add a `send` that waits for the processor."""
        sending = about.commands["send"]

        async def send(session: Any, device: str, arguments: Any, turn: Any) -> None:
            before = len(self._processor.theatre.seen)
            await sending.run(session, device, arguments, turn)
            await until(
                lambda: len(self._processor.theatre.seen) > before,
                "the mark at the processor",
            )

        return super().described(
            about.with_(commands={**about.commands, "send": replace(sending, run=send)})
        )


@asynccontextmanager
async def cip_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The CIP bridge, not yet started; left = gone."""
    async with (
        Simulator() as panel,
        Simulator(ipid=0x0B) as hall,
        ending(Cip(panel, hall, url, protocol, more)) as subject,
    ):
        yield subject


KIND = Kind(cip_bridge, frozenset({"waiting"}))
