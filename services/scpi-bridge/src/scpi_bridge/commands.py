"""Commands of an instrument: any query or command, its identity, a clear."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import (
    BadRequest,
    Blob,
    DeviceTimeout,
    NoArguments,
    Outlet,
    ProtocolError,
    Turn,
    UnknownTarget,
    command,
)
from scpi_bridge.instrument import Instrument
from scpi_bridge.settings import Device

BLOBS_LIMIT = 100  # names that callers may invent


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `query` and `write`: one line without its terminator."""

    command: str


class BinaryText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `query_binary`; with `blob` the data goes to the topic \
blob/<name>."""  # noqa: D205, D209 (published as one line)

    command: str
    blob: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}(?!\n)$")] | None
    ) = None


class Binary(msgspec.Struct, frozen=True):
    """Result of `query_binary`: data (base64), or the blob, or the file it was too \
large for."""  # noqa: D205, D209 (published as one line)

    size: int
    data: bytes | UnsetType = UNSET
    blob: str | UnsetType = UNSET
    file: str | UnsetType = UNSET


class Identity(msgspec.Struct, frozen=True):
    """Result of `identify`: the answer, and its four fields as far as they are \
there."""  # noqa: D205, D209 (published as one line)

    text: str
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None


class InstrumentCommands:
    """What can be asked of an instrument."""

    def __init__(
        self, settings: Device, outlet: Outlet, instrument: Instrument
    ) -> None:
        self._settings = settings
        self._outlet = outlet
        self._instrument = instrument

    @command(timeout=60.0)
    async def query(self, device: str, arguments: Text, turn: Turn) -> str:
        """Send a query and return the answer."""
        async with explained(self._instrument):
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
        async with explained(self._instrument):
            data = await self._instrument.query_binary(arguments.command, turn.asked)
        if arguments.blob is None:
            return Binary(len(data), data)
        self._outlet.describe(self._outlet.description.with_blob(Blob(arguments.blob)))
        kind = "application/octet-stream"
        outcome = await self._outlet.blob(arguments.blob, data, kind)
        outcome.check()
        file = UNSET if outcome.file is None else outcome.file
        return Binary(len(data), blob=arguments.blob, file=file)

    @command(timeout=60.0)
    async def identify(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> Identity:
        """Ask the instrument who it is."""
        return await self.ask_identity(turn.asked)

    @command(timeout=60.0)
    async def clear(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Forget what is under way and clear status and error queue."""
        await self._instrument.resync()
        if self._settings.clear:
            await self._instrument.write(self._settings.clear)
        await self._instrument.errors()

    async def ask_identity(self, timeout: float | None) -> Identity:
        """Ask the instrument who it is and describe it so."""
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

    def _check_blob(self, name: str) -> None:
        known = self._outlet.description
        if name in known.blobs:
            return
        if name in known.properties:
            raise BadRequest(f"blob {name!r}: there is a property of this name")
        if len(known.blobs) >= BLOBS_LIMIT:
            raise BadRequest(f"blob {name!r}: there are {BLOBS_LIMIT} blobs already")


@contextlib.asynccontextmanager
async def explained(instrument: Instrument) -> AsyncIterator[None]:
    """Raise what the error queue says when the instrument does not answer."""
    try:
        yield
    except DeviceTimeout:
        with contextlib.suppress(DeviceTimeout, ProtocolError):
            await instrument.refuse_errors()
        raise
