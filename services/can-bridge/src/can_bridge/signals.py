"""Signals on the bus.

Frames that come become values, values that are set become frames.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import (
    BadRequest,
    Outlet,
    OutOfRange,
    Property,
    ProtocolError,
    ReadOnly,
    Turn,
    UnknownTarget,
    command,
)
from busbar.codecs import can, j1939
from busbar.codecs.can import ERROR, EXTENDED, FD_LENGTHS, REMOTE, STANDARD_IDS, Frame
from can_bridge.messages import Catalogue, Coded, Entry, is_boolean, physical
from can_bridge.settings import Id, Seconds
from can_bridge.traffic import Line

UNKNOWN = Property(
    "_unknown",
    int,
    title=("Frames whose identifiers are in no database and of no protocol"),
)
UNREADABLE = Property(
    "_unreadable", int, title=("Frames that their database cannot decode")
)
_SKIP = ERROR | REMOTE
CYCLE_PREFIX = "message "  # before a message's name among the periodic frames


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


class SignalBook:
    """The messages of one bus and the newest values of their signals.

    `spoken` = another protocol knows a frame.
    """

    def __init__(
        self,
        outlet: Outlet,
        line: Line,
        catalogue: Catalogue,
        spoken: Callable[[Frame], bool],
    ) -> None:
        self.catalogue = catalogue
        self.unknown = 0
        self.unreadable = 0
        self._outlet, self._line, self._spoken = outlet, line, spoken
        # key -> data, of messages that need not be decoded again
        self._last: dict[int, bytes] = {}
        # message -> signal -> value, both ways
        self._known: dict[str, dict[str, Any]] = {}

    def use(self, catalogue: Catalogue) -> None:
        """Go on with other databases, and with the values of messages that can still be made of them."""
        self.catalogue = catalogue
        self._last.clear()
        entries = catalogue.entries
        self._known = {
            name: known
            for name, known in self._known.items()
            if name in entries and _fits(entries[name], known)
        }

    def take(self, frames: Sequence[Frame]) -> None:
        """Publish what frames say."""
        find, last = self.catalogue.find, self._last
        for frame in frames:
            if frame.flags & _SKIP or last.get(frame.key) == frame.data:
                continue
            entry = find(frame)
            if entry is None:
                self.unknown += not self._spoken(frame)
            else:
                self._publish(entry, frame)

    def tell(self) -> None:
        """Publish the counters."""
        self._outlet.values(
            {UNKNOWN.path: self.unknown, UNREADABLE.path: self.unreadable}
        )

    def _publish(self, entry: Entry, frame: Frame, *, ours: bool = False) -> None:
        try:
            decoded = entry.decode(frame.data)
        except ProtocolError as error:
            self.unreadable += 1
            self._last.pop(frame.key, None)
            self._outlet.bad(
                [coded.path for coded in entry.signals.values() if coded.receives],
                error,
            )
            return
        self._known.setdefault(entry.name, {}).update(decoded)
        found = {}
        for name, raw in decoded.items():
            coded = entry.signals.get(name)
            if coded is not None and (coded.receives or ours):
                try:
                    found[coded.path] = coded.value(raw)
                except OutOfRange as error:  # it costs this signal only
                    self._outlet.bad([coded.path], error)
        self._outlet.values(found, frame.time)
        # else another source may say something else meanwhile
        if entry.remembered and entry.key == frame.key:
            self._last[frame.key] = frame.data

    async def set(self, path: str, value: Any) -> Any:
        """Send a message with a signal changed; return the value as the bus has it."""
        if path not in self.catalogue.by_path:
            raise UnknownTarget(f"no signal {path!r:.100} in the databases")
        entry, name = self.catalogue.by_path[path]
        coded = entry.signals[name]
        if not coded.sends:
            raise ReadOnly(f"signal {path!r} is only received")
        signals = self.with_changes(entry, {name: value})
        await self.send(entry, signals, coded.cycle)
        return coded.plain(self._known[entry.name][name])

    def with_changes(self, entry: Entry, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return all signals of a message with some changed.

        The multiplexers follow; raise BadRequest, OutOfRange.
        """
        unknown = [name for name in changes if name not in entry.signals]
        if unknown:
            raise BadRequest(
                f"no signal {unknown[0]!r:.60} in {entry.name}; there are: "
                f"{', '.join(entry.signals)}"
            )
        signals = {**entry.initial(), **self._known.get(entry.name, {})}
        for name, value in changes.items():
            signals |= _selection(entry, entry.signals[name], changes)
            signals[name] = _checked(f"{entry.name}/{name}", entry.signals[name], value)
        _check_together(entry, changes, signals)
        return signals

    def frame(self, entry: Entry, signals: Mapping[str, Any]) -> Frame:
        """Return the frame of a message; raise BadRequest, OutOfRange."""
        message, data = entry.message, entry.encode(signals)
        if len(data) > FD_LENGTHS[-1]:
            raise BadRequest(
                f"{entry.name}: {len(data)} bytes; a frame has up to {FD_LENGTHS[-1]}"
            )
        fd = message.is_fd or len(data) > can.CLASSIC_BYTES
        if fd:
            data = data.ljust(
                next(length for length in FD_LENGTHS if length >= len(data)), b"\0"
            )
        return can.frame(
            message.frame_id, data, extended=message.is_extended_frame, fd=fd
        )

    async def send(
        self,
        entry: Entry,
        signals: Mapping[str, Any],
        period: float | None,
        count: int = 0,
    ) -> None:
        """Send a message, with `period` again and again; what it says is published."""
        frame = self.frame(entry, signals)
        name = CYCLE_PREFIX + entry.name
        if name in self._line.periodic and period is None:
            self._line.update(name, frame)
        elif period is not None:
            self._line.start(name, frame, period, count)
        else:
            await self._line.send([frame])
        self._publish(entry, frame._replace(time=time.time()), ours=True)


def _fits(entry: Entry, known: Mapping[str, Any]) -> bool:
    """True if a frame of a message can be made with these values."""
    try:
        entry.encode({**entry.initial(), **known})
    except (BadRequest, OutOfRange):
        return False
    return True


def _selection(
    entry: Entry, coded: Coded, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the multiplexer values with which a signal is in the frame, unless the caller says them himself."""
    found: dict[str, Any] = {}
    while (
        selector := coded.signal.multiplexer_signal
    ) is not None and selector in entry.signals:
        if selector not in changes and coded.signal.multiplexer_ids:
            found[selector] = physical(
                entry.signals[selector].signal, coded.signal.multiplexer_ids[0]
            )
        coded = entry.signals[selector]
    return found


def _check_together(
    entry: Entry, changes: Mapping[str, Any], signals: Mapping[str, Any]
) -> None:
    """Raise BadRequest for a signal that a frame with these values does not hold."""
    active = entry.active(signals)
    for name in changes:
        if name not in active:
            page = str(entry.signals[name].signal.multiplexer_signal)
            raise BadRequest(
                f"{entry.name}/{name} is not in the frame when {page} is "
                f"{signals.get(page)}"
            )


def _checked(name: str, coded: Coded, value: Any) -> Any:
    """Return a value as cantools takes it; raise BadRequest, OutOfRange."""
    try:
        found = coded.about.reader.value(value)
    except (BadRequest, OutOfRange) as error:
        raise type(error)(f"{name}: {error.message}", **error.detail) from error
    return int(found) if is_boolean(coded.signal) else found


def shown(signals: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    """Return decoded signals as JSON has them, also those outside their range."""
    return {
        name: entry.signals[name].plain(raw)
        for name, raw in signals.items()
        if name in entry.signals
    }


class SignalCommands:
    """What can be done with the messages of the databases."""

    book: SignalBook

    @command(holds="exchange")
    async def decode(self, device: str, arguments: Decode, turn: Turn) -> Decoded:
        """Say what a frame means."""
        extended = arguments.extended or arguments.id > STANDARD_IDS
        frame = Frame(
            0.0, arguments.id, EXTENDED * extended, len(arguments.data), arguments.data
        )
        entry = self.book.catalogue.find(frame)
        if entry is None:
            raise UnknownTarget(f"0x{arguments.id:X} is in no database")
        about = (
            {"pgn": j1939.pgn(frame.id), "source": j1939.source(frame.id)}
            if entry.j1939
            else {}
        )
        return Decoded(entry.name, shown(entry.decode(frame.data), entry), **about)

    @command(holds="exchange")
    async def encode(self, device: str, arguments: Encode, turn: Turn) -> Encoded:
        """Return the frame of a message, without sending it."""
        entry = self.book.catalogue.named(arguments.message)
        frame = self.book.frame(entry, self.book.with_changes(entry, arguments.signals))
        return Encoded(frame.id, bool(frame.flags & EXTENDED), frame.data)

    @command(holds="exchange")
    async def send_message(
        self, device: str, arguments: SendMessage, turn: Turn
    ) -> None:
        """Send a message with several signals at once."""
        entry = self.book.catalogue.named(arguments.message)
        signals = self.book.with_changes(entry, arguments.signals)
        await self.book.send(entry, signals, arguments.period, arguments.count)
