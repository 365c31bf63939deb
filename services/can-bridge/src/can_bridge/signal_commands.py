"""Commands on the messages of the databases: decode, encode, send, reload."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import (
    BadRequest,
    ConfigError,
    NoArguments,
    Turn,
    UnknownTarget,
    command,
)
from busbar.codecs import can, j1939
from busbar.codecs.can import EXTENDED, Frame
from can_bridge.messages import BusMessage, Catalogue
from can_bridge.settings import Id, Seconds
from can_bridge.signals import BusSignals


class Decode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `decode`: a frame's identifier and data."""

    id: Id
    data: bytes
    extended: bool = False


class Decoded(msgspec.Struct, frozen=True):
    """Result of `decode`; pgn and source of a J1939 message."""

    message: str
    signals: dict[str, Any]
    pgn: int | UnsetType = UNSET
    source: int | UnsetType = UNSET


class Encode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `encode`.

    Signals that are left out have the value they were last seen or set with.
    """

    message: str
    signals: dict[str, Any] = {}


class Encoded(msgspec.Struct, frozen=True):
    """Result of `encode`."""

    id: int
    extended: bool
    data: bytes


class SendMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `send_message`.

    With `period` (s) it is repeated until `stop_periodic`, or `count` times.
    """

    message: str
    signals: dict[str, Any] = {}
    period: Seconds | None = None
    count: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class SignalCommands:
    """Commands of a bus whose messages are known.

    `load` reads the databases again (blocking), `use` goes on with them.
    """

    def __init__(
        self,
        signals: BusSignals,
        load: Callable[[], Catalogue],
        use: Callable[[Catalogue], None],
    ) -> None:
        self._signals = signals
        self._load = load
        self._use = use

    @command(holds="exchange")
    async def decode(self, device: str, arguments: Decode, turn: Turn) -> Decoded:
        """Say what a frame means."""
        extended = can.is_extended(arguments.id, arguments.extended or None)
        flags = EXTENDED * extended
        data = arguments.data
        frame = Frame(0.0, arguments.id, flags, len(data), data)
        message = self._signals.catalogue.find(frame)
        if message is None:
            raise UnknownTarget(f"0x{arguments.id:X} is in no database")
        decoded = Decoded(message.name, _plain(message.decode(data), message))
        if not message.j1939:
            return decoded
        return msgspec.structs.replace(
            decoded, pgn=j1939.pgn(frame.id), source=j1939.source(frame.id)
        )

    @command(holds="exchange")
    async def encode(self, device: str, arguments: Encode, turn: Turn) -> Encoded:
        """Return the frame of a message, without sending it."""
        message = self._signals.catalogue.named(arguments.message)
        values = self._signals.with_changes(message, arguments.signals)
        frame = self._signals.frame(message, values)
        return Encoded(frame.id, bool(frame.flags & EXTENDED), frame.data)

    @command(holds="exchange")
    async def send_message(
        self, device: str, arguments: SendMessage, turn: Turn
    ) -> None:
        """Send a message with several signals at once."""
        message = self._signals.catalogue.named(arguments.message)
        values = self._signals.with_changes(message, arguments.signals)
        await self._signals.send(message, values, arguments.period, arguments.count)

    @command(
        title=(
            "Read the databases again and go on with them; return how many "
            "messages they have. No frame is lost"
        ),
        holds="exchange",
        timeout=60.0,
    )
    async def reload_databases(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> int:
        """Read the databases again; return how many messages they have."""
        turn.release()
        try:
            catalogue = await asyncio.to_thread(self._load)
        except ConfigError as error:
            raise BadRequest(f"going on with the old databases: {error}") from error
        self._use(catalogue)
        return len(catalogue.entries)


def _plain(signals: dict[str, Any], message: BusMessage) -> dict[str, Any]:
    """Return decoded signals as JSON has them, also those outside their range."""
    found = {}
    for name, raw in signals.items():
        if name in message.signals:
            found[name] = message.signals[name].plain(raw)
    return found
