"""The INDI bridge under the contract suite.

In this process, on a server whose driver does what the test says.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from busbar.codecs import indi
from busbar.codecs.indi import NewVector
from busbar.contract.describe import Description
from busbar.testing.fakes import until
from indi_bridge.bridge import SERVICE
from indi_bridge.simulator.server import SimulatedServer
from tests.contract.client import Client
from tests.contract.in_process import NONSENSE, InProcess, ending
from tests.contract.subject import Call, Kind, Subject
from tests.indi_bridge.bench import Bench

OBSERVATORY = """
bridge: {{name: observatory}}
broker: {{protocol: {protocol}{more}}}
servers:
  - name: pi
    address: {address}
    members: ["Bench/*", "Hall/*"]
"""


class Indi(InProcess):
    """Two drivers of one server."""

    waiting = ("call/park", {})  # it stays Busy until it is cancelled

    def __init__(
        self, server: SimulatedServer, url: str, protocol: str, more: str
    ) -> None:
        self._server = server
        self._bench = Bench(server.send, server.send_blob)
        server.add(self._bench)
        server.add(Bench(server.send, server.send_blob, "Hall"))
        self.serve(
            SERVICE,
            OBSERVATORY.format(address=server.address, protocol=protocol, more=more),
            url,
        )
        super().__init__(
            "observatory",
            "Bench",
            "Hall",
            "LEVEL/VALUE",
            "OUTPUT/ON",
            "READING/VALUE",
            "REFUSING/VALUE",
            "send",
            "call/get_properties",
            ("call/snapshot", {}),
            {
                "device": ("set/REFUSING/VALUE", {"_value": 1}),
                "protocol": ("set/REFUSING/VALUE", {"_value": NONSENSE}),
                "timeout": ("set/SILENT/VALUE", {"_value": 1, "_timeout": 0.01}),
            },
            True,
        )

    def change(self, path: str, value: Any) -> None:
        name, member = path.split("/")
        text = repr(value)
        if isinstance(value, bool):
            text = "On" if value else "Off"
        self._bench.change(name, member, text)

    def unplug(self) -> None:
        self._server.unplug()

    async def plug(self) -> None:
        await self._server.plug()

    def mark(self, number: int) -> Call:
        element = indi.encode(
            NewVector("Text", "Bench", "MARK", {"TEXT": f"mark {number}"})
        )
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
        def asked() -> bool:
            return any(each.policies for each in self._server.clients)

        await until(asked, "the connection for BLOBs")
        self._bench.picture(b"\x89PNG")
        return "PICTURE_IMAGE"

    async def settle(self) -> None:
        await self.advance(40)

    def refuse(self, value: Any) -> None:
        """Let a driver send nonsense, which INDI's elements cannot say in answer to a
        set; the rest is its own."""
        if value == NONSENSE:
            super().refuse(value)

    def described(self, about: Description) -> Description:
        return about


@asynccontextmanager
async def indi_bridge(
    url: str, protocol: str, folder: Path, more: str = ""
) -> AsyncIterator[Subject]:
    """The INDI bridge, not yet started; left = gone."""
    async with (
        SimulatedServer() as server,
        ending(Indi(server, url, protocol, more)) as subject,
    ):
        yield subject


KIND = Kind(indi_bridge, frozenset({"waiting", "clock"}))
