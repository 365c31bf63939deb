"""A small INDI server on a TCP port of this machine only, with a simulated observatory, and faults on request."""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from busbar.codecs import indi
from busbar.codecs.indi import (
    DelProperty,
    Element,
    EnableBLOB,
    GetProperties,
    NewBlob,
    NewVector,
    SetVector,
)
from busbar.testing import simulation
from indi_bridge.simulator.devices import Camera, Dome, Focuser, Mount, Weather, Wheel
from indi_bridge.simulator.driver import Driver, now

HOST = "127.0.0.1"
CHUNK = 64 * 1024  # bytes
UNSENT_LIMIT = 128 * 1024 * 1024  # bytes that a client may leave unread


class Client:
    """One connection: what it has asked for. Source: docs/protocols/indi.md, 4.13."""

    def __init__(self, server: "Simulator", writer: asyncio.StreamWriter) -> None:
        # device and vector ("" = all of it) -> Also, Only
        self.blobs: dict[tuple[str, str], str] = {}
        self._server, self._writer = server, writer
        self._asked: set[tuple[str, str]] = set()

    def send(self, data: bytes) -> None:
        """Write without waiting; a client that does not read is dropped."""
        if not self._writer.is_closing():
            self._writer.write(data)
            if self._writer.transport.get_write_buffer_size() > UNSENT_LIMIT:
                self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    def wants(self, device: str, name: str) -> bool:
        """Return whether it has asked for a vector, and not only for BLOBs of it."""
        asked = {("", ""), (device, ""), (device, name)} & self._asked
        return (
            bool(asked)
            and self.blobs.get((device, name), self.blobs.get((device, ""))) != "Only"
        )

    def wants_blobs(self, device: str, name: str) -> bool:
        return (
            self.blobs.get((device, name), self.blobs.get((device, ""), "Never"))
            != "Never"
        )

    def take(self, element: Element) -> None:
        """Do what the client says."""
        if self._server.mute:
            return
        match element:
            case GetProperties(device=device, name=name):
                self._asked.add((device, name))
                self._server.define(self, device, name)
            case EnableBLOB(device=device, name=name, value=value):
                self.blobs[device, name] = value
            case NewVector():
                self._server.set(self, element)
            case indi.BlobStart():
                self._server.uploads.append(b"")
            case indi.BlobData(data=data):
                self._server.uploads[-1] += data
            case indi.PingRequest(uid=uid) if self._server.pings:
                self.send(indi.encode(indi.PingReply(uid)))


class Simulator:
    """One server; entered = listening, left = gone."""

    def __init__(self, port: int = 0, *, host: str = HOST) -> None:
        self.port, self.host = port, host
        self.slow = 0.0  # s until definitions are sent
        self.silent: set[str] = set()  # vectors of which nothing is heard
        self.mute = False  # read and answer nothing
        self.pings = True  # False: a server that knows none, as older ones do
        self.asked = 0  # getProperties received
        self.seen: list[NewVector] = []
        self.uploads: list[bytes] = []  # BLOBs from clients
        self.drivers: dict[str, Driver] = {}
        self._clients: set[Client] = set()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """What a bridge has to know of it."""
        return f"indi::{self.host}:{self.port}"

    def add(self, driver: Driver) -> None:
        """Let a device appear."""
        self.drivers[driver.name] = driver
        for vector in driver.definitions():
            self.tell(vector)

    def crash(self, name: str) -> Driver:
        """Let a driver die; `add` starts it again."""
        driver = self.drivers.pop(name)
        driver.close()
        self.tell(DelProperty(name, "", now()))
        return driver

    def tell(self, element: Element) -> None:
        """Send what a driver says to those who want it."""
        device, name = getattr(element, "device", ""), getattr(element, "name", "")
        if name in self.silent:
            return
        data = indi.encode(element)
        for client in list(self._clients):
            if client.wants(device, name) or not device:
                client.send(data)

    def tell_blob(self, vector: SetVector, blobs: dict[str, NewBlob]) -> None:
        """Send a BLOB to those who want it."""
        data = indi.set_blob(vector, blobs)
        for client in list(self._clients):
            if client.wants_blobs(vector.device, vector.name):
                client.send(data)

    def raw(self, data: bytes) -> None:
        """Send any bytes to everybody."""
        for client in list(self._clients):
            client.send(data)

    def define(self, client: Client, device: str, name: str) -> None:
        self.asked += 1
        if self.slow:
            asyncio.get_running_loop().call_later(
                self.slow, self._define, client, device, name
            )
        else:
            self._define(client, device, name)

    def set(self, client: Client, new: NewVector) -> None:
        """Pass a command on to its driver, and to the other clients.

        Source: docs/protocols/indi.md, 2.3.
        """
        self.seen.append(new)
        echo = indi.encode(new)
        for other in list(self._clients):
            if other is not client and other.wants(new.device, new.name):
                other.send(echo)
        if new.device in self.drivers and new.name not in self.silent:
            self.drivers[new.device].set(new.name, new.members)

    def drop(self) -> None:
        """Break all connections."""
        for client in list(self._clients):
            client.abort()

    def unplug(self) -> None:
        """Break all connections and refuse new ones until plug()."""
        if self._server is not None:
            self._server.close()
        self.drop()

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def observatory(self) -> None:
        """Let all devices of the observatory be there."""
        for driver in (Mount, Focuser, Wheel, Dome, Weather):
            self.add(driver(self.tell))
        self.add(Camera(self.tell, self.tell_blob))

    def _define(self, client: Client, device: str, name: str) -> None:
        for driver in self.drivers.values():
            if device in ("", "*", driver.name):
                for vector in driver.definitions(name):
                    client.send(indi.encode(vector))

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client, codec = Client(self, writer), indi.ElementReader()
        self._clients.add(client)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while data := await reader.read(CHUNK):
                codec.feed(data)
                for element in codec.elements():
                    client.take(element)
        except (OSError, asyncio.CancelledError):
            return  # it has gone, or we do
        finally:
            self._clients.discard(client)
            self._serving.discard(task)
            writer.close()

    async def __aenter__(self) -> "Simulator":
        await self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.unplug()
        for driver in self.drivers.values():
            driver.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


def main() -> None:
    """Run the simulator of the command line until SIGTERM or SIGINT."""
    simulation.run(_simulated(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m indi_bridge.simulator", description=__doc__
    )
    parser.add_argument(
        "--indi-port",
        type=int,
        default=0,
        help=("port of the server (default: any free one)"),
    )
    parser.add_argument(
        "--slow",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds until definitions are sent",
    )
    return parser.parse_args()


@asynccontextmanager
async def _simulated(arguments: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    async with contextlib.AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(arguments.indi_port))
        simulator.slow = arguments.slow
        simulator.observatory()
        yield {"INDI_PORT": simulator.port}


if __name__ == "__main__":
    main()
