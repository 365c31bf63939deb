"""The SCPI bridge as a process under the contract suite; its instruments live here."""

import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from busbar.runtime.host import clock_synchronised
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests.contract.client import Client
from tests.contract.subject import Call, Kind, Subject
from tests.process import BridgeProcess

SCPI = """
bridge: {{name: bench}}
broker: {{protocol: {protocol}{more}}}
devices:
  - name: psu
    address: tcp::127.0.0.1:{psu}
    timeout: 3.0
    properties:
      - {{path: voltage, query: "MEAS1:VOLT?", every: 0.1, unit: V}}
      - path: output
        query: "OUTP1?"
        set: "OUTP1 {{value}}"
        type: boolean
        every: 0.1
      - path: volts
        query: "SOUR1:VOLT?"
        set: "SOUR1:VOLT {{value}}"
        maximum: 30
        minimum: 0
        every: 0.1
      - {{path: refusing, query: "SOUR1:CURR?", set: "NONSENSE {{value}}"}}
  - name: dmm
    address: tcp::127.0.0.1:{dmm}
    properties: [{{path: voltage, query: "MEAS:VOLT?", every: 1, unit: V}}]
"""


class Scpi(Subject):
    """The SCPI bridge as a process, with simulated instruments in this one."""

    def __init__(
        self,
        simulator: Simulator,
        url: str,
        protocol: str,
        folder: Path,
        more: str = "",
    ) -> None:
        self._psu, self._process, self._numbers = (
            simulator.psu,
            None,
            itertools.count(1),
        )
        ports = {"psu": simulator.psu.port, "dmm": simulator.dmm.port}
        configuration = SCPI.format(protocol=protocol, more=more, **ports)
        self._make = lambda: BridgeProcess(configuration, url, folder)
        super().__init__(
            "bench",
            "psu",
            "dmm",
            "volts",
            "output",
            "voltage",
            "refusing",
            "query",
            "call/query",
            ("call/query_binary", {"command": "TRAC1:DATA?"}),
            {
                "device": ("call/write", {"command": "NONSENSE"}),
                "protocol": ("call/query_binary", {"command": "*IDN?"}),
                "timeout": ("call/query", {"command": "*OPC", "_timeout": 0.2}),
            },
            clock_synchronised(),
        )

    async def start(self) -> None:
        self._psu.device.channels[0].points = 2000
        self._process = self._make()
        self._process.start()

    async def kill(self) -> None:
        self._process.signal(signal.SIGKILL)
        await until(lambda: self._process.returncode is not None, "the end")

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.signal(signal.SIGTERM)
        await until(lambda: self._process.returncode is not None, "the end")

    def left(self) -> str | None:
        code = self._process.returncode
        return None if code is None else "" if code == 0 else self._process.log

    def change(self, path: str, value: Any) -> None:
        setattr(
            self._psu.device.channels[0],
            {self.number: "voltage", self.switch: "output"}[path],
            value,
        )

    def unplug(self) -> None:
        self._psu.refuse()
        self._psu.drop()

    async def plug(self) -> None:
        await self._psu.accept()

    def mark(self, number: int) -> Call:
        return "call/write", {"command": f"SOUR2:VOLT {number / 100}"}

    def marks(self) -> list[int]:
        lines = [line for line in self._psu.lines if line.startswith("SOUR2:VOLT ")]
        return [round(100 * float(line.split()[1])) for line in lines]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        command = f"*ESE {next(self._numbers)};*IDN?"
        self._psu.slow = seconds
        id_ = client.send(self.device, self.slow, {"command": command, **fields})
        await until(lambda: command in self._psu.lines, "the start")
        self._psu.slow = 0.0
        return id_

    async def blob(self, client: Client) -> str:
        await client.ask(
            self.device,
            "call/query_binary",
            {"command": "TRAC1:DATA?", "blob": "trace"},
        )
        return "trace"

    def polls(self) -> int:
        count = self._psu.lines.count("MEAS1:VOLT?")
        self._psu.lines.clear()
        return count

    def polled_before(self, number: int) -> int:
        lines = list(self._psu.lines)
        return lines[: lines.index(self.mark(number)[1]["command"])].count(
            "MEAS1:VOLT?"
        )


@asynccontextmanager
async def scpi_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The SCPI bridge, not yet started; left = gone."""
    async with Simulator() as simulator:
        subject = Scpi(simulator, url, protocol, folder, more)
        try:
            yield subject
        finally:
            if subject._process is not None and subject.left() is None:
                await subject.kill()


KIND = Kind(scpi_bridge, frozenset({"polls"}))
