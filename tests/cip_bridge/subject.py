"""The CIP bridge under the contract suite: in this process, on the simulated processor."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from busbar import config
from busbar.bridge import Bridge, DuplicateName
from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Update
from busbar.describe import Blob, Description, Property
from busbar.errors import DeviceRefused, ProtocolError
from busbar.service import plan
from busbar.session import Link, Outlet
from busbar.testing import until
from cip_bridge.bridge import SERVICE
from cip_bridge.settings import Config
from cip_bridge.simulator import Simulator
from tests.contract.client import Client
from tests.contract.subject import Call, Subject

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
LEVEL, DOOR, LARGE, MARK = Join("analog", 100), Join("digital", 100), Join("serial", 200), Join("serial", 201)


class Openable(msgspec.Struct, frozen=True):
    """What the suite knows of a device to open."""

    name: str
    address: str


REFUSING = Property("refusing", float, "rw")
NONSENSE = 2  # written to `refusing`: the device answers nonsense


class Cip(Subject):
    """A panel of one processor, and of another one as its neighbour."""

    waiting = ("call/pulse", {"join": 101, "width": 10})  # until it is cancelled

    def __init__(self, panel: Simulator, hall: Simulator, url: str, protocol: str, more: str) -> None:
        self._processor, self._url = panel, url
        panel.theatre.change(LARGE, "x" * 5000)
        self._text = THEATRE.format(panel=panel.address, hall=hall.address, protocol=protocol, more=more)
        links = lambda settings: map(self._extended, SERVICE.links(settings))  # noqa: E731
        self._service = replace(SERVICE, links=links, device=Openable)
        self._outlet: Outlet | None = None
        self.task: asyncio.Task[None] | None = None
        super().__init__(
            "theatre", "panel", "hall", "level", "door", "clock", "refusing", "send", "call/update_request",
            ("call/get", {"join": "serial/200"}),
            {"device": ("set/refusing", {"_value": 1}), "protocol": ("set/refusing", {"_value": NONSENSE}),
             "timeout": ("call/pulse", {"join": 101, "width": 10, "_timeout": 0.01})},
            True,
        )  # fmt: skip

    async def start(self) -> None:
        first = plan(self._service, config.parse(self._text, Config, {}), self._url, {})
        self._running = Bridge(first, lambda: first, synchronised=lambda: True)
        self.task = asyncio.create_task(self._running.run(), name="cip bridge")

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
        raw = round(value * 1000) if path == "level" else value
        self._processor.theatre.change(LEVEL if path == "level" else DOOR, raw)

    def unplug(self) -> None:
        self._processor.unplug()

    async def plug(self) -> None:
        await self._processor.plug()

    def mark(self, number: int) -> Call:
        return "call/send", {"frames": cip.encode(Update(MARK, f"mark {number}", Form.SERIAL)).hex()}

    def marks(self) -> list[int]:
        return [int(str(value).split()[1]) for join, value in self._processor.theatre.seen if join == MARK]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        listener = self._processor.listener
        listener.slow, before = seconds, listener.asked
        id_ = client.send(self.device, self.slow, fields)
        await until(lambda: listener.asked > before, "the start")
        listener.slow = 0.0
        return id_

    async def blob(self, client: Client) -> str:
        assert self._outlet is not None
        self._outlet.blob("picture", b"\x89PNG", "image/png")
        return "picture"

    async def _arrived(self, path: str, value: Any) -> None:
        """Wait until the processor has it: done is when it was written, and a change by hand must not overtake it."""
        wanted = (LEVEL, round(value * 1000)) if path == "level" else (DOOR, value) if path == "door" else None
        seen = self._processor.theatre.seen
        await until(lambda: wanted is None or (seen and seen[-1] == wanted), f"{path} at the processor")

    def _extended(self, link: Link) -> Link:
        """Add what a processor does not have and the contract knows: refusals, blobs."""

        @asynccontextmanager
        async def open_(port: Any) -> AsyncIterator[Any]:
            async with link.open(port) as session:
                if self.device in link.devices:
                    self._outlet = port.outlet(self.device)
                taken = session.set

                async def set_(device: str, path: str, value: Any, turn: Any) -> Any:
                    if path == REFUSING.path:
                        raise ProtocolError("nonsense") if value == NONSENSE else DeviceRefused("never", number=-1)
                    result = await taken(device, path, value, turn)
                    await self._arrived(path, value)
                    return result

                session.set = set_
                yield session

        return replace(link, open=open_, devices={name: self._more(each) for name, each in link.devices.items()})

    def _more(self, about: Description) -> Description:
        sending = about.commands["send"]

        async def send(session: Any, device: str, arguments: Any, turn: Any) -> None:
            before = len(self._processor.theatre.seen)
            await sending.run(session, device, arguments, turn)
            await until(lambda: len(self._processor.theatre.seen) > before, "the mark at the processor")

        commands = {**about.commands, "send": replace(sending, run=send)}
        properties = {**about.properties, REFUSING.path: REFUSING}
        return about.with_(properties=properties, commands=commands).with_blob(Blob("picture"))


@asynccontextmanager
async def cip_bridge(url: str, protocol: str, folder: Path, more: str = "") -> AsyncIterator[Subject]:
    """The CIP bridge, not yet started; left = gone."""
    async with Simulator() as panel, Simulator(ipid=0x0B) as hall:
        subject = Cip(panel, hall, url, protocol, more)
        try:
            yield subject
        finally:
            if subject.task is not None:
                await subject.stop()
                with contextlib.suppress(DuplicateName, asyncio.CancelledError):
                    await subject.task
