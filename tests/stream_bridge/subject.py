"""The stream bridge under the contract suite: on a simulated microcontroller."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from busbar.testing.fakes import until
from stream_bridge.bridge import SERVICE
from stream_bridge.simulator.mcu import Mcu
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject

GATE = """
bridge: {{name: gate}}
broker: {{protocol: {protocol}{more}}}
devices:
  - name: mcu
    address: tcp::127.0.0.1:{port}
    framing: {{type: line, terminator: "\\r\\n"}}
    timeout: 10
    fields:
      - {{path: volts, match: "^volts=(.*)$", set: "SET volts {{value}}",
         minimum: 0, maximum: 30}}
      - {{path: output, match: "^output=(.*)$", set: "SET output {{value}}",
         type: boolean}}
      - {{path: reading, match: "^reading=(.*)$"}}
  - {{name: other, address: "tcp:127.0.0.1:{other}"}}
"""


class Stream(InProcess):
    """A microcontroller, and another one as its neighbour."""

    def __init__(self, mcu: Mcu, other: Mcu, url: str, protocol: str, more: str):
        self._mcu = mcu
        ports = {"port": mcu.port, "other": other.port}
        text = GATE.format(protocol=protocol, more=more, **ports)
        self.serve(SERVICE, text, url)
        super().__init__(
            "gate",
            "mcu",
            "other",
            "volts",
            "output",
            "reading",
            "refusing",
            "write_line",
            "call/query_line",
            ("call/query_line", {"line": "x" * 5000}),
            {
                "device": ("set/refusing", {"_value": 1}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": ("call/query_line", {"line": "MARK 0", "_timeout": 0.2}),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        self._mcu.change(path, value)

    def unplug(self) -> None:
        self._mcu.refuse()

    async def plug(self) -> None:
        await self._mcu.accept()

    def mark(self, number: int) -> Call:
        return "call/write_line", {"line": f"MARK {number}"}

    def marks(self) -> list[int]:
        lines = [each for each in self._mcu.lines if each.startswith("MARK ")]
        return [int(each.split()[1]) for each in lines if each != "MARK 0"]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        line = f"busy {next(self.numbers)}"
        self._mcu.slow = seconds
        id_ = client.send(self.device, self.slow, {"line": line, **fields})
        await until(lambda: line in self._mcu.lines, "the start")
        self._mcu.slow = 0.0
        return id_


@asynccontextmanager
async def stream_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The stream bridge, not yet started; left = gone."""
    async with (
        Mcu() as mcu,
        Mcu() as other,
        ending(Stream(mcu, other, url, protocol, more)) as subject,
    ):
        yield subject


KIND = Kind(stream_bridge)
