"""Simulated INDI server on a TCP port of this machine, with faults on request."""

import asyncio
from collections.abc import Iterator

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
from indi_bridge.simulator.accessories import (
    SimulatedGps,
    SimulatedLightPanel,
    SimulatedRotator,
)
from indi_bridge.simulator.camera import SimulatedCamera
from indi_bridge.simulator.devices import (
    SimulatedFilterWheel,
    SimulatedFocuser,
    SimulatedWeatherStation,
)
from indi_bridge.simulator.dome import SimulatedDome
from indi_bridge.simulator.driver import SimulatedDriver, now
from indi_bridge.simulator.mount import SimulatedMount

HOST = "127.0.0.1"
CHUNK = 64 * 1024  # bytes
UNSENT_LIMIT = 128 * 1024 * 1024  # bytes that a client may leave unread


class ClientConnection:
    """One connection of a client, and what it has asked for.

    Source: docs/protocols/indi.md, 4.13.
    """

    def __init__(self, server: "SimulatedServer", writer: asyncio.StreamWriter) -> None:
        # device and vector ("" = all of it) -> Never, Also, Only
        self.policies: dict[tuple[str, str], str] = {}
        self._server = server
        self._writer = writer
        self._asked: set[tuple[str, str]] = set()

    def send(self, data: bytes) -> None:
        """Write without waiting; a client that does not read is dropped."""
        if self._writer.is_closing():
            return
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size() > UNSENT_LIMIT:
            self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    def wants(self, device: str, name: str) -> bool:
        """Return whether it has asked for a vector, and not only for its BLOBs."""
        asked = self._asked & {("", ""), (device, ""), (device, name)}
        return bool(asked) and self._policy(device, name) != "Only"

    def wants_blobs(self, device: str, name: str) -> bool:
        return self._policy(device, name) != "Never"

    def take(self, element: Element) -> None:
        """Do what the client asks for."""
        if self._server.mute:
            return
        match element:
            case GetProperties(device=device, name=name):
                self._asked.add((device, name))
                self._server.define(self, device, name)
            case EnableBLOB(device=device, name=name, value=policy):
                self.policies[device, name] = policy
            case NewVector():
                self._server.set(self, element)
            case indi.BlobStart():
                self._server.uploads.append(b"")
            case indi.BlobData(data=data):
                self._server.uploads[-1] += data
            case indi.PingRequest(uid=uid) if self._server.pings:
                self.send(indi.encode(indi.PingReply(uid)))

    def _policy(self, device: str, name: str) -> str:
        """Return the policy for BLOBs of a vector, else that of its device."""
        of_device = self.policies.get((device, ""), "Never")
        return self.policies.get((device, name), of_device)


class SimulatedServer:
    """One server; entered = listening, left = gone."""

    def __init__(self, port: int = 0, *, host: str = HOST) -> None:
        self.port = port
        self.host = host
        self.slow = 0.0  # s until definitions are sent
        self.silent: set[str] = set()  # vectors of which nothing is sent
        self.mute = False  # read and answer nothing
        self.pings = True  # False: a server that knows none, as older ones do
        self.asked = 0  # getProperties received
        self.received: list[NewVector] = []
        self.uploads: list[bytes] = []  # BLOBs from clients
        self.drivers: dict[str, SimulatedDriver] = {}
        self.clients: set[ClientConnection] = set()
        self._listening: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """The address in a bridge's configuration."""
        return f"indi::{self.host}:{self.port}"

    def add(self, driver: SimulatedDriver) -> None:
        """Let a device appear."""
        self.drivers[driver.name] = driver
        for vector in driver.definitions():
            self.send(vector)

    def add_observatory(self) -> None:
        """Let all devices of the observatory appear."""
        self.add(SimulatedMount(self.send))
        self.add(SimulatedFocuser(self.send))
        self.add(SimulatedFilterWheel(self.send))
        self.add(SimulatedDome(self.send))
        self.add(SimulatedWeatherStation(self.send))
        self.add(SimulatedRotator(self.send))
        self.add(SimulatedLightPanel(self.send))
        self.add(SimulatedGps(self.send))
        self.add(SimulatedCamera(self.send, self.send_blob))

    def crash(self, name: str) -> SimulatedDriver:
        """Let a driver die; `add` starts it again."""
        driver = self.drivers.pop(name)
        driver.close()
        self.send(DelProperty(name, "", now()))
        return driver

    def send(self, element: Element) -> None:
        """Send an element of a driver to the clients that want it."""
        device = getattr(element, "device", "")
        name = getattr(element, "name", "")
        if name in self.silent:
            return
        data = indi.encode(element)
        for client in list(self.clients):
            if client.wants(device, name) or not device:
                client.send(data)

    def send_blob(self, vector: SetVector, blobs: dict[str, NewBlob]) -> None:
        """Send a BLOB to the clients that want it."""
        data = indi.set_blob(vector, blobs)
        for client in list(self.clients):
            if client.wants_blobs(vector.device, vector.name):
                client.send(data)

    def send_raw(self, data: bytes) -> None:
        """Send any bytes to all clients."""
        for client in list(self.clients):
            client.send(data)

    def define(self, client: ClientConnection, device: str, name: str) -> None:
        """Send definitions to a client, later if the server is slow."""
        self.asked += 1
        if self.slow:
            loop = asyncio.get_running_loop()
            loop.call_later(self.slow, self._define, client, device, name)
        else:
            self._define(client, device, name)

    def set(self, client: ClientConnection, new: NewVector) -> None:
        """Pass a command on to its driver, and to the other clients.

        Source: docs/protocols/indi.md, 2.3.
        """
        self.received.append(new)
        echo = indi.encode(new)
        for other in list(self.clients):
            if other is not client and other.wants(new.device, new.name):
                other.send(echo)
        driver = self.drivers.get(new.device)
        if driver is not None and new.name not in self.silent:
            driver.set(new.name, new.members)

    def drop(self) -> None:
        """Break all connections."""
        for client in list(self.clients):
            client.abort()

    def unplug(self) -> None:
        """Break all connections and refuse new ones until plug()."""
        if self._listening is not None:
            self._listening.close()
        self.drop()

    async def plug(self) -> None:
        """Listen, on the same port as before."""
        listening = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = listening.sockets[0].getsockname()[1]
        self._listening = listening

    def _define(self, client: ClientConnection, device: str, name: str) -> None:
        for driver in self._drivers(device):
            for vector in driver.definitions(name):
                client.send(indi.encode(vector))

    def _drivers(self, device: str) -> Iterator[SimulatedDriver]:
        for driver in self.drivers.values():
            if device in ("", "*", driver.name):
                yield driver

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client = ClientConnection(self, writer)
        self.clients.add(client)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._read(client, reader)
        except (OSError, asyncio.CancelledError):
            return  # it has gone, or we do
        finally:
            self.clients.discard(client)
            self._serving.discard(task)
            writer.close()

    async def _read(
        self, client: ClientConnection, reader: asyncio.StreamReader
    ) -> None:
        codec = indi.ElementReader()
        while data := await reader.read(CHUNK):
            codec.feed(data)
            for element in codec.elements():
                client.take(element)

    async def __aenter__(self) -> "SimulatedServer":
        await self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.unplug()
        for driver in self.drivers.values():
            driver.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
