"""The CAN bridge under the contract suite: in this process, on the simulated vehicle behind a serial adapter."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from busbar import config
from busbar.bridge import Bridge, DuplicateName
from busbar.codecs import can
from busbar.describe import Blob, Description, Event, Property
from busbar.errors import DeviceRefused, ProtocolError
from busbar.service import plan
from busbar.session import Link, Outlet
from busbar.testing import until
from can_bridge.bridge import SERVICE
from can_bridge.settings import Config
from can_bridge.simulated import ASKED
from can_bridge.simulator import Simulator
from tests.contract.client import Client
from tests.contract.subject import Call, Fields, Subject

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


class Openable(msgspec.Struct, frozen=True):
    """What the suite knows of a device to open."""

    name: str
    address: str


REFUSING = Property("refusing", float, "rw")
NONSENSE = 2  # written to `refusing`: the device answers nonsense


class Can(Subject):
    """A vehicle's bus, and the loopback as its neighbour."""

    waiting = ("call/request", {"id": 0x7F0, "match": {"id": 0x7F1}, "timeout": 10})

    def __init__(self, simulator: Simulator, url: str, protocol: str, more: str) -> None:
        self._simulator, self._url = simulator, url
        self._heater = [0.0, False]
        self._text = TRUCK.format(address=simulator.address, protocol=protocol, more=more)
        links = lambda settings: map(self._extended, SERVICE.links(settings))  # noqa: E731
        self._service = replace(SERVICE, links=links, device=Openable)
        self._outlet: Outlet | None = None
        self.task: asyncio.Task[None] | None = None
        super().__init__(
            "truck", "can0", "other", LEVEL, ON, "_bitrate", "refusing", "cansend", "call/busy", LARGE,
            {"device": ("set/refusing", {"_value": 1}), "protocol": ("set/refusing", {"_value": NONSENSE}),
             "timeout": ("call/request", {"id": 0x7F0, "match": {"id": 0x7F1}, "timeout": 0.01})},
            True,
        )  # fmt: skip

    async def start(self) -> None:
        first = plan(self._service, config.parse(self._text, Config, {}), self._url, {})
        self._running = Bridge(first, lambda: first, synchronised=lambda: True)
        self.task = asyncio.create_task(self._running.run(), name="can bridge")

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def stop(self) -> None:
        self._running.stop()
        await asyncio.wait([self.task], timeout=30)

    def left(self) -> str | None:
        if not self.task.done():
            return None
        return "" if self.task.cancelled() else str(self.task.exception() or "")

    def change(self, path: str, value: Any) -> None:
        self._heater[path == ON] = value
        self._tell()

    def _tell(self) -> None:
        self._simulator.vehicle.put(HEATER, struct.pack("<H?5x", round(self._heater[0] * 1000), self._heater[1]))

    def unplug(self) -> None:
        self._simulator.unplug()

    async def plug(self) -> None:
        self._simulator.plug()

    def mark(self, number: int) -> Call:
        return "call/cansend", {"frame": f"{MARK:X}#{number:08X}"}

    def marks(self) -> list[int]:
        return [int.from_bytes(frame.data, "big") for frame in self._simulator.vehicle.seen if frame.id == MARK]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        before = self._count(ASKED)
        id_ = client.send(self.device, self.slow, {"seconds": seconds, **fields})
        await until(lambda: self._count(ASKED) > before, "the start")
        return id_

    def _count(self, id_: int) -> int:
        return sum(frame.id == id_ for frame in self._simulator.vehicle.seen)

    async def blob(self, client: Client) -> str:
        assert self._outlet is not None
        self._outlet.blob("picture", b"\x89PNG", "image/png")
        return "picture"

    def event(self, fields: Fields) -> str:
        assert self._outlet is not None
        self._outlet.event("beep", fields)
        return "beep"

    def _extended(self, link: Link) -> Link:
        """Add what a bus does not have and the contract knows: refusals, blobs, a command that holds the line."""

        @asynccontextmanager
        async def open_(port: Any) -> AsyncIterator[Any]:
            async with link.open(port) as session:
                if self.device in link.devices:
                    self._outlet = port.outlet(self.device)
                    await until(lambda: self._simulator.open, "the adapter")
                    self._tell()
                taken = session.set

                async def set_(device: str, path: str, value: Any, turn: Any) -> Any:
                    if path == REFUSING.path:
                        raise ProtocolError("nonsense") if value == NONSENSE else DeviceRefused("never", number=-1)
                    before = self._count(HEATER)
                    result = await taken(device, path, value, turn)
                    await until(lambda: self._count(HEATER) > before, "the frame at the vehicle")
                    self._heater[path == ON] = value
                    return result

                session.set = set_
                yield session

        return replace(link, open=open_, devices={name: self._more(each) for name, each in link.devices.items()})

    def _more(self, about: Description) -> Description:
        sending = about.commands["cansend"]

        async def cansend(session: Any, device: str, arguments: Any, turn: Any) -> None:
            before = len(self._simulator.vehicle.seen)
            await sending.run(session, device, arguments, turn)
            if device == self.device:
                await until(lambda: len(self._simulator.vehicle.seen) > before, "the mark at the vehicle")

        async def busy(session: Any, device: str, arguments: Busy, turn: Any) -> None:
            await session.line.send([can.frame(ASKED)])
            await asyncio.sleep(arguments.seconds)

        commands = {
            **about.commands,
            "cansend": replace(sending, run=cansend),
            "busy": replace(sending, name="busy", run=busy, arguments=Busy, timeout=90.0, holds="until_done"),
        }
        properties = {**about.properties, REFUSING.path: REFUSING}
        events = {**about.events, "beep": Event("beep")}
        return about.with_(properties=properties, commands=commands, events=events).with_blob(Blob("picture"))


class Busy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `busy`."""

    seconds: float = 0.0


@asynccontextmanager
async def can_bridge(url: str, protocol: str, folder: Path, more: str = "") -> AsyncIterator[Subject]:
    """The CAN bridge, not yet started; left = gone."""
    async with Simulator(quiet=True) as simulator:
        subject = Can(simulator, url, protocol, more)
        try:
            yield subject
        finally:
            if subject.task is not None:
                await subject.stop()
                with contextlib.suppress(DuplicateName, asyncio.CancelledError):
                    await subject.task
