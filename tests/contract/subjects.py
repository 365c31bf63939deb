"""The bridges under the suite.

For each: how to start it with its simulator, and what of it the suite may use.
"""

import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from busbar.contract.describe import Description, Property
from busbar.contract.names import collisions, level
from busbar.errors import ProtocolError
from busbar.runtime.host import clock_synchronised
from busbar.testing.fakes import until
from scpi_bridge.simulator.__main__ import Simulator
from tests import toy
from tests.can_bridge.subject import can_bridge
from tests.cip_bridge.subject import cip_bridge
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject
from tests.gpio_bridge.subject import gpio_bridge
from tests.indi_bridge.subject import indi_bridge
from tests.modbus_bridge.subject import modbus_bridge
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


class Toy(InProcess):
    """The toy, in this process."""

    progress = ("call/work", {"seconds": 0})
    interrupt = "call/stop"
    waiting = ("call/wait", {"seconds": 30})

    def __init__(self, url: str, protocol: str, more: str = "") -> None:
        self.toy = toy.Toy()
        text = (
            f"bridge: {{name: lab}}\nshared: true\ntwins: 1\nbroker: "
            f"{{protocol: {protocol}{more}}}\n"
        )
        self.serve(
            replace(toy.service(self.toy), open=lambda settings: None), text, url
        )
        super().__init__(
            "lab",
            "toy",
            "twin1",
            "level",
            "on",
            "reading",
            "refusing",
            "echo",
            "call/work",
            ("call/echo", {"text": "x", "times": 5000}),
            {
                "device": ("set/level", {"_value": 13}),
                "internal": ("call/fail", {}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": ("call/work", {"seconds": 60, "_timeout": 0.01}),
            },
            True,
        )

    def described(self, about: Description) -> Description:
        refusing = replace(toy.PROPERTIES["level"], path="refusing")
        return about.with_(properties={**about.properties, "refusing": refusing})

    def change(self, path: str, value: Any) -> None:
        self.toy.values[path] = value
        for session in self.toy.sessions:
            session.outlet.values({path: value})

    def unplug(self) -> None:
        self.toy.unplug()

    async def plug(self) -> None:
        self.toy.reachable = True

    def mark(self, number: int) -> Call:
        return "call/echo", {"text": f"mark {number}"}

    def marks(self) -> list[int]:
        return [
            int(each.split()[1])
            for each in self.toy.did
            if isinstance(each, str) and each.startswith("mark ")
        ]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        before = self.toy.did.count(("work", seconds))
        id_ = client.send(self.device, self.slow, {"seconds": seconds, **fields})
        await until(lambda: self.toy.did.count(("work", seconds)) > before, "the start")
        return id_

    def discover(self, names: list[str]) -> None:
        paths = {name: level(name) for name in names}
        served = {name: paths[name] for name in names if name not in collisions(paths)}
        found = {
            path: Property(path, str, original=name) for name, path in served.items()
        }
        about = self.outlet.description
        old = [
            path for path, each in about.properties.items() if each.original is not None
        ]
        kept = {
            path: each for path, each in about.properties.items() if path not in old
        }
        self.outlet.describe(about.with_(properties={**kept, **found}))
        self.outlet.values({path: name for name, path in served.items()})

    def trouble(self, path: str) -> None:
        self.outlet.bad([path], ProtocolError("nonsense"))

    def nan(self) -> str:
        self.outlet.values({"reading": float("nan")})
        return "reading"


@asynccontextmanager
async def scpi(
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


@asynccontextmanager
async def in_process(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The toy, not yet started; left = gone."""
    async with ending(Toy(url, protocol, more)) as subject:
        yield subject


SUBJECTS = {
    "can": Kind(can_bridge, frozenset({"waiting", "event"})),
    "gpio": Kind(gpio_bridge, frozenset({"waiting"})),
    "cip": Kind(cip_bridge, frozenset({"waiting"})),
    "indi": Kind(indi_bridge, frozenset({"waiting", "clock"})),
    "modbus": Kind(modbus_bridge, frozenset({"shared", "polls"})),
    "scpi": Kind(scpi, frozenset({"polls"})),
    "toy": Kind(
        in_process,
        frozenset(
            {
                "shared",
                "progress",
                "interrupt",
                "waiting",
                "event",
                "names",
                "trouble",
                "clock",
            }
        ),
    ),
}
