"""The GPIO bridge under the contract suite: in this process, on simulated chips."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from busbar import config
from busbar.bridge import Bridge, DuplicateName
from busbar.describe import Blob, Description, Property
from busbar.errors import DeviceRefused, ProtocolError
from busbar.service import plan
from busbar.session import Link, Outlet
from busbar.testing import until
from busbar.values import number
from gpio_bridge.bridge import SERVICE, World, link
from gpio_bridge.chip import Heard, LineSettings
from gpio_bridge.pin_commands import PinCommands
from gpio_bridge.settings import Config
from gpio_bridge.sim import SimChip, SimRequest
from tests.contract.client import Client
from tests.contract.subject import Call, Subject

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
LEVEL = Property("level", number(0, 30), "rw")  # a counter has no limits; the suite's number has
REFUSING = Property("refusing", float, "rw")


class Openable(msgspec.Struct, frozen=True):
    """What the suite knows of a device to open."""

    name: str
    address: str


NONSENSE = 2  # written to `refusing`: the device answers nonsense
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
        self, lines: Mapping[int, LineSettings], heard: Heard | None = None, consumer: str = "busbar"
    ) -> SimRequest:
        if SLOW in lines:
            self.asked += 1
            await asyncio.sleep(self.slow)
        return await super().request(lines, heard, consumer)


class Gpio(Subject):
    """A header, and the wall that drives it."""

    waiting = ("call/pulse", {"line": "gate", "seconds": 30})  # until it is cancelled

    def __init__(self, url: str, protocol: str, more: str) -> None:
        self._url, self._chip = url, SlowChip("header")
        self._text = HEADER.format(protocol=protocol, more=more)
        self._service = replace(SERVICE, links=self._links, device=Openable)
        self._outlet: Outlet | None = None
        self._session: PinCommands | None = None
        self._changes: set[asyncio.Task[Any]] = set()
        self.task: asyncio.Task[None] | None = None
        super().__init__(
            "pi1", "header", "wall", "level", "lamp", "door", "refusing", "resolve", "call/forceinput",
            ("call/inspect", {}),
            {"device": ("set/refusing", {"_value": 1}), "protocol": ("set/refusing", {"_value": NONSENSE}),
             "timeout": ("call/pulse", {"line": "gate", "seconds": 10, "_timeout": 0.01})},
            True,
        )  # fmt: skip

    async def start(self) -> None:
        first = plan(self._service, config.parse(self._text, Config, {}), self._url, {})
        self._running = Bridge(first, lambda: first, synchronised=lambda: True)
        self.task = asyncio.create_task(self._running.run(), name="gpio bridge")

    async def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    async def stop(self) -> None:
        assert self.task is not None
        self._running.stop()
        await asyncio.wait([self.task], timeout=30)

    def left(self) -> str | None:
        assert self.task is not None
        if not self.task.done():
            return None
        return "" if self.task.cancelled() else str(self.task.exception() or "")

    def change(self, path: str, value: Any) -> None:
        """Let a line change as if somebody at the header did it."""
        assert self._session is not None
        task = asyncio.create_task(self._session.lines[path].set("", value))
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

    async def blob(self, client: Client) -> str:
        assert self._outlet is not None
        self._outlet.blob("picture", b"\x89PNG", "image/png")
        return "picture"

    def _links(self, settings: Config) -> list[Link]:
        world = World.of(settings.devices, lambda name: self._chip if name == "header" else SimChip(name))
        return [self._extended(link(each, world)) for each in settings.devices]

    def _extended(self, link: Link) -> Link:
        """Add what a header does not have and the contract knows: refusals, blobs, limits of a number."""

        @asynccontextmanager
        async def open_(port: Any) -> AsyncIterator[Any]:
            async with link.open(port) as session:
                if self.device in link.devices:
                    self._outlet, self._session = port.outlet(self.device), session  # type: ignore[assignment]
                taken = session.set

                async def set_(device: str, path: str, value: Any, turn: Any) -> Any:
                    if path == REFUSING.path:
                        raise ProtocolError("nonsense") if value == NONSENSE else DeviceRefused("never", number=-1)
                    return await taken(device, path, value, turn)

                session.set = set_  # type: ignore[method-assign]
                yield session

        return replace(link, open=open_, devices={name: self._more(each) for name, each in link.devices.items()})

    def _more(self, about: Description) -> Description:
        more = {REFUSING.path: REFUSING, **({LEVEL.path: LEVEL} if LEVEL.path in about.properties else {})}
        return about.with_(properties={**about.properties, **more}).with_blob(Blob("picture"))


@asynccontextmanager
async def gpio_bridge(url: str, protocol: str, folder: Path, more: str = "") -> AsyncIterator[Subject]:
    """The GPIO bridge, not yet started; left = gone."""
    subject = Gpio(url, protocol, more)
    try:
        yield subject
    finally:
        if subject.task is not None:
            await subject.stop()
            with contextlib.suppress(DuplicateName, asyncio.CancelledError):
                await subject.task
