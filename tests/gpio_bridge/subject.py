"""The GPIO bridge under the contract suite: in this process, on simulated chips."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from busbar.contract.describe import Description, Property
from busbar.contract.values import number
from busbar.link.session import Link
from busbar.testing.fakes import until
from gpio_bridge.backends.sim import SimChip, SimRequest
from gpio_bridge.bridge import SERVICE, SimulatedChips, link
from gpio_bridge.chip import LineSettings, OnEdges
from gpio_bridge.session import GpioSession
from gpio_bridge.settings import Config
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject

HEADER = """
bridge: {{name: pi1}}
broker: {{protocol: {protocol}{more}}}
devices:
  - name: header
    backend: sim
    lines:
      - {{name: level, line: 22, direction: counter}}
      - {{name: lamp, line: 27, direction: out}}
      - {{name: door, line: 17, direction: in}}
      - {{name: gate, line: 16, direction: out}}
  - name: wall
    backend: sim
    lines: [{{name: door, line: 1, direction: out, drives: header/17}}]
"""
# a counter has no limits; the suite's number has
LEVEL = Property("level", number(0, 30), "rw")


SLOW = 4  # the line that takes its time to be requested


class Names(list[str]):
    """Names of lines; whatever begins with "mark" is one, too, and is remembered."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"{name}-{'x' * 60}" for name in names)
        self.asked: list[str] = []

    def __contains__(self, name: object) -> bool:
        return str(name).startswith("mark ") or super().__contains__(name)

    def index(self, name: str, *limits: Any) -> int:
        if name.startswith("mark "):
            self.asked.append(name)
            return 0
        return super().index(name, *limits)


class SlowChip(SimChip):
    """A chip of which one line takes its time."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.marks = self.names = Names(self.names)
        self.slow, self.asked = 0.0, 0

    async def request(
        self,
        lines: Mapping[int, LineSettings],
        on_edges: OnEdges | None = None,
        consumer: str = "busbar",
    ) -> SimRequest:
        if SLOW in lines:
            self.asked += 1
            await asyncio.sleep(self.slow)
        return await super().request(lines, on_edges, consumer)


class Gpio(InProcess):
    """A header, and the wall that drives it."""

    waiting = ("call/pulse", {"line": "gate", "seconds": 30})  # until it is cancelled

    def __init__(self, url: str, protocol: str, more: str) -> None:
        self._chip = SlowChip("header")
        self.serve(
            replace(SERVICE, links=self._links),
            HEADER.format(protocol=protocol, more=more),
            url,
        )
        self._session: GpioSession | None = None
        self._changes: set[asyncio.Task[Any]] = set()
        super().__init__(
            "pi1",
            "header",
            "wall",
            "level",
            "lamp",
            "door",
            "refusing",
            "resolve",
            "call/forceinput",
            ("call/inspect", {}),
            {
                "device": ("set/refusing", {"_value": 1}),
                "protocol": ("set/refusing", {"_value": NONSENSE}),
                "timeout": (
                    "call/pulse",
                    {"line": "gate", "seconds": 10, "_timeout": 0.01},
                ),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        """Let a line change as if somebody at the header did it."""
        assert self._session is not None
        task = asyncio.create_task(self._session.lines.by_name[path].set("", value))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    def unplug(self) -> None:
        self._chip.unplug()

    async def plug(self) -> None:
        self._chip.plug()

    def mark(self, number: int) -> Call:
        return "call/resolve", {"channel": f"mark {number}"}

    def marks(self) -> list[int]:
        return [int(each.split()[1]) for each in self._chip.marks.asked]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        self._chip.slow, before = seconds, self._chip.asked
        id_ = client.send(self.device, self.slow, {"bcm": SLOW, **fields})
        await until(lambda: self._chip.asked > before, "the start")
        self._chip.slow = 0.0
        return id_

    async def opened(self, session: Any) -> None:
        self._session = session

    def described(self, about: Description) -> Description:
        """Add limits of a number."""
        more = {LEVEL.path: LEVEL} if LEVEL.path in about.properties else {}
        return super().described(about.with_(properties={**about.properties, **more}))

    def _links(self, settings: Config) -> list[Link]:
        simulated = SimulatedChips.of(
            settings.devices,
            lambda name: self._chip if name == "header" else SimChip(name),
        )
        return [link(each, simulated) for each in settings.devices]


@asynccontextmanager
async def gpio_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The GPIO bridge, not yet started; left = gone."""
    async with ending(Gpio(url, protocol, more)) as subject:
        yield subject


KIND = Kind(gpio_bridge, frozenset({"waiting"}))
