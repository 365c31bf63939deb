"""The mapping.

An instrument's configuration to properties and commands of a device on the bus.
"""

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import (
    BadRequest,
    Blob,
    BusbarError,
    Description,
    DeviceTimeout,
    Link,
    LinkLost,
    NoArguments,
    Outlet,
    Port,
    Property,
    ProtocolError,
    Service,
    Turn,
    UnknownTarget,
    by_path,
    command,
    commands,
)
from busbar.bridge.streams import ByteStream, open_tcp
from scpi_bridge import settings as configuration
from scpi_bridge.instrument import Instrument
from scpi_bridge.settings import Config, Device, endpoint

SILENCES = 3  # queries in a row without an answer: see whether anybody is there
CHECK = 1.0  # s between looks whether an idle instrument has closed the connection
RESYNCS = Property(
    "_resyncs",
    int,
    title=("Answers that did not come, each followed by a new connection"),
)
BLOBS_LIMIT = 100  # names that callers may invent


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `query` and `write`: one line without its terminator."""

    command: str


class BinaryText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `query_binary`; with `blob` the data goes to the topic blob/<name>."""

    command: str
    blob: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(?!\n)$")] | None
    ) = None


class Binary(msgspec.Struct, frozen=True):
    """Result of `query_binary`: the data (base64) or the name of the blob."""

    size: int
    data: bytes | UnsetType = UNSET
    blob: str | UnsetType = UNSET


class Identity(msgspec.Struct, frozen=True):
    """Result of `identify`: the answer, and its four fields as far as they are there."""

    text: str
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None


class ScpiSession:
    """One open conversation with one instrument."""

    def __init__(self, settings: Device, port: Port, instrument: Instrument) -> None:
        self._settings, self._port, self._instrument = settings, port, instrument
        self._outlet: Outlet = port.outlet(settings.name)
        self._unread = 0  # readings in a row that failed
        self._properties = {each.path: each for each in settings.properties}

    async def start(self) -> None:
        """Ask who it is and forget its old errors; raise when it does not answer."""
        self._outlet.values({RESYNCS.path: self._instrument.resyncs})
        if self._settings.identify:
            await self._identify(None)
        await self._instrument.errors()

    async def serve(self) -> None:
        """Read every property once, then each in its period.

        Notice a closed connection.
        """
        loop = asyncio.get_running_loop()
        due = [
            (loop.time(), index, each)
            for index, each in enumerate(self._settings.properties)
            if each.query
        ]
        checked = loop.time()
        while True:
            pause = min(due[0][0], checked + CHECK) - loop.time() if due else CHECK
            if pause > 0:
                await asyncio.sleep(pause)
            if due and due[0][0] <= loop.time() < checked + CHECK:
                planned, index, each = heapq.heappop(due)
                async with self._port.poll():
                    await self._read(each)
                if each.every:
                    # what was missed is not caught up with
                    late = max(planned + each.every, loop.time())
                    heapq.heappush(due, (late, index, each))
            else:
                async with self._port.poll():
                    await self._check()
                self._outlet.values({RESYNCS.path: self._instrument.resyncs})
                checked = loop.time()

    async def refresh(self, device: str) -> None:
        for each in self._settings.properties:
            if each.query:
                await self._read(each)

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        each = self._properties.get(path)
        if each is None:
            raise UnknownTarget(f"{path!r} is not written by the instrument")
        await self._instrument.write(each.command(value))
        await self._instrument.refuse_errors()
        return await self._take(each) if each.query else None

    @command(timeout=60.0)
    async def query(self, device: str, arguments: Text, turn: Turn) -> str:
        """Send a query and return the answer."""
        async with self._explained():
            return await self._instrument.query(arguments.command, turn.asked)

    @command(timeout=60.0)
    async def write(self, device: str, arguments: Text, turn: Turn) -> None:
        """Send a command that has no answer; the error queue tells how it went."""
        await self._instrument.write(arguments.command)
        await self._instrument.refuse_errors()

    @command(timeout=120.0)
    async def query_binary(
        self, device: str, arguments: BinaryText, turn: Turn
    ) -> Binary:
        """Send a query that a block of binary data answers (IEEE 488.2)."""
        if arguments.blob:
            self._check_blob(arguments.blob)
        async with self._explained():
            data = await self._instrument.query_binary(arguments.command, turn.asked)
        if arguments.blob is None:
            return Binary(len(data), data)
        self._outlet.describe(self._outlet.description.with_blob(Blob(arguments.blob)))
        self._outlet.blob(arguments.blob, data, "application/octet-stream")
        return Binary(len(data), blob=arguments.blob)

    @command(timeout=60.0)
    async def identify(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> Identity:
        """Ask the instrument who it is."""
        return await self._identify(turn.asked)

    @command(timeout=60.0)
    async def clear(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Forget what is under way and clear status and error queue."""
        await self._instrument.resync()
        if self._settings.clear:
            await self._instrument.write(self._settings.clear)
        await self._instrument.errors()

    async def _identify(self, timeout: float | None) -> Identity:
        if not self._settings.identify:
            raise UnknownTarget(
                "the configuration says that this instrument cannot identify itself"
            )
        text = await self._instrument.query(self._settings.identify, timeout)
        fields = [field.strip() or None for field in text.split(",", 3)]
        names = ("manufacturer", "model", "serial", "firmware")
        known = dict(zip(names, fields, strict=False)) if len(fields) > 1 else {}
        self._outlet.describe(self._outlet.description.with_(**known))
        return Identity(text, **known)

    async def _check(self) -> None:
        """Raise LinkLost when the instrument is gone.

        callers' queries may go unanswered, ours should not.
        """
        await self._instrument.check()
        if self._instrument.silences < SILENCES:
            return
        if self._settings.identify:
            try:
                await self._instrument.query(self._settings.identify)
            except DeviceTimeout as error:
                raise LinkLost(
                    f"{SILENCES} queries in a row without an answer, and none to "
                    f"identify"
                ) from error
        elif self._unread >= SILENCES:
            raise LinkLost(f"{SILENCES} readings in a row without an answer")

    async def _read(self, each: configuration.Property) -> None:
        try:
            async with self._explained():
                await self._take(each)
            self._unread = 0
        except LinkLost:
            raise
        except BusbarError as error:  # one bad answer costs one property
            self._unread += 1
            self._outlet.bad([each.path], error)

    async def _take(self, each: configuration.Property) -> Any:
        """Read a property, publish and return it."""
        value = each.parse(await self._instrument.query(each.query or ""))
        self._outlet.values({each.path: value})
        return value

    @contextlib.asynccontextmanager
    async def _explained(self) -> AsyncIterator[None]:
        """When the instrument stays silent, its error queue may say why."""
        try:
            yield
        except DeviceTimeout:
            with contextlib.suppress(DeviceTimeout, ProtocolError):
                await self._instrument.refuse_errors()
            raise

    def _check_blob(self, name: str) -> None:
        known = self._outlet.description
        if name in known.blobs:
            return
        if name in known.properties:
            raise BadRequest(f"blob {name!r}: there is a property of this name")
        if len(known.blobs) >= BLOBS_LIMIT:
            raise BadRequest(f"blob {name!r}: there are {BLOBS_LIMIT} blobs already")


def link(settings: Device) -> Link:
    """Return the link of one instrument."""
    host, port = endpoint(settings.address)

    @contextlib.asynccontextmanager
    async def open_(port_: Port) -> AsyncIterator[ScpiSession]:
        async def connect() -> ByteStream:
            return await open_tcp(host, port, settings.name)

        instrument = Instrument(
            connect,
            timeout=settings.timeout,
            terminator=settings.terminator,
            encoding=settings.encoding,
            errors=settings.errors,
            settle=settings.settle,
            acknowledge=settings.acknowledge,
            block_limit=settings.block_limit,
        )
        try:
            await instrument.open()
            port_.connecting()
            session = ScpiSession(settings, port_, instrument)
            await session.start()
            yield session
        finally:
            await instrument.close()

    return Link(
        settings.name,
        settings.address,
        open_,
        {settings.name: describe(settings)},
        config=settings,
        on_demand=settings.connect == "on_demand",
        idle_close=settings.idle_close,
    )


def describe(settings: Device) -> Description:
    """Describe an instrument as far as the configuration knows it."""
    return Description(
        kind="scpi",
        name=settings.title,
        properties=by_path(
            [
                *(each.declared(settings.timeout) for each in settings.properties),
                RESYNCS,
            ]
        ),
        commands=commands(ScpiSession),
        # a set writes, reads the error queue and reads back
        timeout=5 * settings.timeout + settings.settle,
    )


def links(config: Config) -> Iterable[Link]:
    """Return the links of a configuration."""
    return [link(device) for device in config.devices]


SERVICE = Service("scpi", Config, links, Device, link)
