"""The INDI bridge under the contract suite: in this process, on a server whose driver does what the test says."""

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
from busbar.codecs import indi
from busbar.codecs.indi import NewVector
from busbar.errors import ProtocolError
from busbar.service import plan
from busbar.session import Link
from busbar.testing import Clock, until
from indi_bridge.bridge import SERVICE
from indi_bridge.settings import Config
from indi_bridge.simulator import Simulator
from tests.contract.client import Client
from tests.contract.subject import Call, Subject
from tests.indi_bridge.bench import Bench

OBSERVATORY = """
bridge: {{name: observatory}}
broker: {{protocol: {protocol}{more}}}
servers:
  - name: pi
    address: {address}
    members: ["Bench/*", "Hall/*"]
"""
NONSENSE = 2  # written to `refusing`: the device answers nonsense


class Openable(msgspec.Struct, frozen=True):
    """What the suite knows of a device to open."""

    name: str
    address: str


class Indi(Subject):
    """Two drivers of one server."""

    waiting = ("call/park", {})  # it stays Busy until it is cancelled

    def __init__(self, server: Simulator, url: str, protocol: str, more: str) -> None:
        self._server, self._url = server, url
        self._bench = Bench(server.tell, server.tell_blob)
        server.add(self._bench)
        server.add(Bench(server.tell, server.tell_blob, "Hall"))
        self._text = OBSERVATORY.format(address=server.address, protocol=protocol, more=more)
        links = lambda settings: map(self._troubled, SERVICE.links(settings))  # noqa: E731
        self._service = replace(SERVICE, links=links, device=Openable)
        self.task: asyncio.Task[None] | None = None
        super().__init__(
            "observatory", "Bench", "Hall", "LEVEL/VALUE", "OUTPUT/ON", "READING/VALUE", "REFUSING/VALUE", "send",
            "call/get_properties", ("call/snapshot", {}),
            {"device": ("set/REFUSING/VALUE", {"_value": 1}), "protocol": ("set/REFUSING/VALUE", {"_value": NONSENSE}),
             "timeout": ("set/SILENT/VALUE", {"_value": 1, "_timeout": 0.01})},
            True,
        )  # fmt: skip

    async def start(self) -> None:
        first = plan(self._service, config.parse(self._text, Config, {}), self._url, {})
        self._clock = Clock()
        self._running = Bridge(first, lambda: first, self._clock.now, lambda: True)
        self.task = asyncio.create_task(self._running.run(), name="indi bridge")

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
        name, member = path.split("/")
        text = {True: "On", False: "Off"}[value] if isinstance(value, bool) else repr(value)
        self._bench.change(name, member, text)

    def unplug(self) -> None:
        self._server.unplug()

    async def plug(self) -> None:
        await self._server.plug()

    def mark(self, number: int) -> Call:
        element = indi.encode(NewVector("Text", "Bench", "MARK", {"TEXT": f"mark {number}"}))
        return "call/send", {"element": element.decode()}

    def marks(self) -> list[int]:
        return [int(each.split()[1]) for each in self._bench.marks]

    async def busy(self, client: Client, seconds: float, **fields: Any) -> str:
        server = self._server
        server.slow, before = seconds, server.asked
        id_ = client.send(self.device, self.slow, fields)
        await until(lambda: server.asked > before, "the start")
        server.slow = 0.0
        return id_

    async def blob(self, client: Client) -> str:
        policies = lambda: [each.blobs for each in self._server._clients if each.blobs]  # noqa: E731
        await until(policies, "the connection for BLOBs")
        self._bench.picture(b"\x89PNG")
        return "PICTURE_IMAGE"

    async def advance(self, seconds: float) -> None:
        await self._clock.advance(seconds)
        await until(lambda: self._running._outbox.empty, "all sent")

    async def settle(self) -> None:
        await self.advance(40)

    def _troubled(self, link: Link) -> Link:
        """Let a driver send nonsense, which INDI's elements cannot say in answer to a set."""

        @asynccontextmanager
        async def open_(port: Any) -> AsyncIterator[Any]:
            async with link.open(port) as session:
                taken = session.set

                async def set_(device: str, path: str, value: Any, turn: Any) -> Any:
                    if path == self.refusing and value == NONSENSE:
                        raise ProtocolError("nonsense")
                    return await taken(device, path, value, turn)

                session.set = set_
                yield session

        return replace(link, open=open_)


@asynccontextmanager
async def indi_bridge(url: str, protocol: str, folder: Path, more: str = "") -> AsyncIterator[Subject]:
    """The INDI bridge, not yet started; left = gone."""
    async with Simulator() as server:
        subject = Indi(server, url, protocol, more)
        try:
            yield subject
        finally:
            if subject.task is not None:
                await subject.stop()
                with contextlib.suppress(DuplicateName, asyncio.CancelledError):
                    await subject.task
