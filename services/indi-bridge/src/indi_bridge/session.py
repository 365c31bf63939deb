"""One INDI server as a session: sets and commands of its devices and of itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from busbar.bridge import (
    BadRequest,
    DeviceTimeout,
    Port,
    Turn,
    UnknownTarget,
    command,
    commands,
)
from busbar.bridge.streams import ByteStream
from busbar.codecs import indi
from busbar.codecs.indi import Element, EnableBLOB, GetProperties, NewVector
from indi_bridge.actions import Compound, Exposed
from indi_bridge.blobs.connection import BlobLink
from indi_bridge.blobs.receive import Receiver
from indi_bridge.connection import Connection, open_stream
from indi_bridge.dispatch import Observatory
from indi_bridge.dump import Dump
from indi_bridge.pending import Fraction
from indi_bridge.properties import given
from indi_bridge.publisher import Kept
from indi_bridge.settings import Server, place
from indi_bridge.validate import wanted
from indi_bridge.vectors import Vector

DEFINED = 0.2  # s without a definition after one that was asked for: these were all
ANSWER = 10.0  # s for the first of them
ASKED_LIMIT = 1000  # elements that wait to be sent
COUNTS = 1.0  # s between looks at what is counted


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `snapshot`; names are those of INDI or of the bus.

    BLOBs are there if they are saved.
    """

    device: str | None = None
    vector: str | None = None
    inc_blob: bool = False
    inc_user_string: bool = False


class GetArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `get_properties`."""

    device: str | None = None
    vector: str | None = None


class Enable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `enable_blob`.

    Images have a connection of their own, so `only` is the same as `also`.
    """

    value: Literal["never", "also", "only"]
    device: str | None = None
    vector: str | None = None


class Raw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `send`: one element for a driver, as XML."""

    element: str


class Session(Compound):
    """Serves one server; entered with a connection that is open."""

    def __init__(self, port: Port, settings: Server, kept: dict[str, Kept]) -> None:
        folder = Path(settings.blobs.save) if settings.blobs.save else None
        self._settings, self._folder = settings, folder
        self._asked: asyncio.Queue[Element] = asyncio.Queue(ASKED_LIMIT)
        receiver = Receiver(settings.blobs.limit, folder)
        self._seen = Observatory(
            port,
            settings,
            kept,
            commands(Session),
            receiver,
            self._asked.put_nowait,
            self._offer,
        )
        self._blobs = BlobLink(self._open, self._seen.take_blobs)
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Connect and ask for everything; raise LinkLost."""
        self._connection = Connection(await self._open(), self._seen.take)
        await self._connection.send(GetProperties())

    async def serve(self) -> None:
        self._seen.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._talk.serve(), name="values")
            tasks.create_task(self._send_asked(), name="ask")
            tasks.create_task(self._blobs.run(), name="blobs")
            tasks.create_task(self._count(), name="counts")

    async def close(self) -> None:
        await self._seen.close()
        if self._connection is not None:
            await self._connection.close()

    async def refresh(self, device: str) -> None:
        asked = (
            ""
            if device == self._settings.name
            else self._seen.surface(device).device.name
        )
        await self._get(GetProperties(asked))

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        surface = self._seen.surface(device)
        vector, member = surface.find(path)
        if member is not None:
            await self._write(vector, {member: value}, None, turn, None, None)
            return self.vector(device, vector.name).members[member].shown
        members, time = given(vector, value)
        await self._write(vector, members, time, turn, None, None)
        return self.vector(device, vector.name).value()

    # What Compound asks.

    def vector(self, device: str, name: str) -> Vector:
        vectors = self._seen.surface(device).device.vectors
        if name not in vectors:
            raise UnknownTarget(f"{device} has no {name} at present")
        return vectors[name]

    def check(
        self, vector: Vector, given: Mapping[str, Any], time: float | None = None
    ) -> NewVector:
        return wanted(vector, given, time, steps=self._settings.steps)

    async def write(
        self, vector: Vector, given: Mapping[str, Any], turn: Turn, timeout: float | None = None,
        fraction: Fraction | None = None,
    ) -> None:  # fmt: skip
        await self._write(vector, given, None, turn, timeout, fraction)

    async def image(
        self, device: str, vector: str, work: Callable[[], Awaitable[None]]
    ) -> Exposed:
        if not self._blobs.wants(self._seen.original(device), vector):
            await work()
            return Exposed()
        return await self._seen.images.wait(device, vector, work)

    # Commands beside the compound ones.

    @command(holds="exchange")
    async def snapshot(
        self, device: str, arguments: Snapshot, turn: Turn
    ) -> dict[str, Any]:
        """Return everything that is known, with indipyclient's keys."""
        dump = Dump(
            self._folder,
            blobs=arguments.inc_blob,
            user_strings=arguments.inc_user_string,
        )
        name, vector = self._asked_for(device, arguments.device, arguments.vector)
        if not name:
            where = place(self._settings.address)
            return dump.server(
                self._seen.model, where.host or where.path, where.port, connected=True
            )
        found = self._seen.model.devices[name]
        return dump.vector(found.vectors[vector]) if vector else dump.device(found)

    @command(timeout=30.0)
    async def get_properties(
        self, device: str, arguments: GetArguments, turn: Turn
    ) -> None:
        """Ask for definitions anew; done when they have come."""
        await self._get(
            GetProperties(*self._asked_for(device, arguments.device, arguments.vector))
        )

    @command(holds="exchange")
    async def enable_blob(
        self, device: str, arguments: Enable, turn: Turn
    ) -> list[str]:
        """Ask for images, or for none; returns whose."""
        name = self._device(device, arguments.device)
        found = [
            each
            for each in self._seen.model.vectors()
            if each.kind == "BLOB"
            and name in ("", each.device)
            and arguments.vector in (None, each.name, each.path)
        ]
        if not found:
            raise UnknownTarget("there is no BLOB of that name")
        change = self._blobs.forget if arguments.value == "never" else self._blobs.want
        for each in found:
            change(each.device, each.name)
        return [f"{each.device}.{each.name}" for each in found]

    @command(
        title=(
            "Send one element to the driver as it is, for experiments; done "
            "when the server has read it"
        ),
        holds="exchange",
    )
    async def send(self, device: str, arguments: Raw, turn: Turn) -> None:
        """Send one element to the driver as it is, for experiments.

        Done when the server has read it.
        """
        name = self._device(device, None)
        reader = indi.ElementReader()
        reader.feed(arguments.element.encode())
        # it comes out again if nothing unfinished is before it
        reader.feed(indi.encode(indi.PingReply("")))
        elements = list(reader.elements())
        if len(elements) != 2 or not isinstance(
            elements[0], NewVector | GetProperties | EnableBLOB
        ):
            raise BadRequest(
                f"{arguments.element!r:.60} is not one whole new...Vector, "
                f"getProperties or enableBLOB"
            )
        if elements[0].device != name:
            raise BadRequest(
                f"the element is for {elements[0].device!r}, not for {name!r}"
            )
        await self._talk.send_raw(arguments.element.encode())
        await self._talk.arrived()

    @property
    def _talk(self) -> Connection:
        assert self._connection is not None  # opened before anything is asked
        return self._connection

    def _device(self, own: str, asked: str | None) -> str:
        """Return the INDI name that a command is about; "" = all."""
        if asked is not None:
            return self._seen.original(asked)
        return "" if own == self._settings.name else self._seen.original(own)

    def _asked_for(
        self, own: str, device: str | None, vector: str | None
    ) -> tuple[str, str]:
        """Return the INDI names of the device and the vector that a command is about.

        "" = all.
        """
        name = self._device(own, device)
        if vector is None:
            return name, ""
        if not name:
            raise BadRequest("`vector` needs `device`")
        for each in self._seen.model.devices[name].vectors.values():
            if vector in (each.name, each.path):
                return name, each.name
        raise UnknownTarget(f"{name} has no {vector}")

    async def _open(self) -> ByteStream:
        where = place(self._settings.address)
        return await open_stream(
            where.host,
            where.port,
            where.path,
            self._settings.name,
            self._settings.timeout,
        )

    def _offer(self, device: str, vector: str) -> None:
        self._blobs.offer(device, vector)

    async def _write(
        self, vector: Vector, given: Mapping[str, Any], time: float | None, turn: Turn, timeout: float | None,
        fraction: Fraction | None,
    ) -> None:  # fmt: skip
        new = self.check(vector, given, time)
        if new.members or new.blobs:
            await self._seen.pending.run(
                vector, new, partial(self._talk.send, new), turn, timeout, fraction
            )

    async def _get(self, ask: GetProperties) -> None:
        """Ask for definitions and wait until they have come."""
        defining = self._seen.defining
        defining.clear()
        await self._talk.send(ask)
        try:
            async with asyncio.timeout(ANSWER):
                await defining.wait()
        except TimeoutError as error:
            raise DeviceTimeout(f"nothing was defined within {ANSWER:g} s") from error
        while defining.is_set():
            defining.clear()
            await asyncio.sleep(DEFINED)

    async def _send_asked(self) -> None:
        while True:
            await self._talk.send(await self._asked.get())

    async def _count(self) -> None:
        while True:
            talk = self._talk
            rtt = None if talk.rtt is None else round(talk.rtt, 4)
            errors = talk.reader.errors + self._blobs.errors
            self._seen.publish_counts(errors=errors, latin1=talk.reader.latin1, rtt=rtt)
            await asyncio.sleep(COUNTS)
