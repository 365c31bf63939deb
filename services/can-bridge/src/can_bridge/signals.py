"""Signals of a bus: received frames become values, set values become frames."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from busbar.bridge import (
    BadRequest,
    Outlet,
    OutOfRange,
    Property,
    ReadOnly,
    UnknownTarget,
)
from busbar.codecs import can
from busbar.codecs.can import ERROR, FD_LENGTHS, REMOTE, Frame
from can_bridge.messages import BusMessage, BusSignal, Catalogue, is_boolean, physical
from can_bridge.traffic import CanTraffic

UNKNOWN = Property(
    "_unknown",
    int,
    title="Frames whose identifiers are in no database and of no protocol",
)
UNREADABLE = Property(
    "_unreadable", int, title="Frames that their database cannot decode"
)
_SKIP = ERROR | REMOTE
CYCLE_PREFIX = "message "  # before a message's name among the periodic frames


class BusSignals:
    """The messages of one bus and the newest values of their signals.

    `of_protocol` is true for a frame that another protocol knows.
    """

    def __init__(
        self,
        outlet: Outlet,
        traffic: CanTraffic,
        catalogue: Catalogue,
        of_protocol: Callable[[Frame], bool],
    ) -> None:
        self.catalogue = catalogue
        self.unknown = 0
        self.unreadable = 0
        self._outlet = outlet
        self._traffic = traffic
        self._of_protocol = of_protocol
        # key -> data, of messages that need not be decoded again
        self._last: dict[int, bytes] = {}
        # message -> signal -> value, both ways
        self._known: dict[str, dict[str, Any]] = {}

    def use(self, catalogue: Catalogue) -> None:
        """Go on with other databases, and with the values that still fit them."""
        self.catalogue = catalogue
        self._last.clear()
        before = self._known
        self._known = {}
        for name, known in before.items():
            message = catalogue.entries.get(name)
            if message is not None and _fits(message, known):
                self._known[name] = known

    def take(self, frames: Sequence[Frame]) -> None:
        """Publish the signals of frames."""
        find = self.catalogue.find
        last = self._last
        for frame in frames:
            if frame.flags & _SKIP or last.get(frame.key) == frame.data:
                continue
            message = find(frame)
            if message is None:
                self.unknown += not self._of_protocol(frame)
            else:
                self._publish(message, frame)

    def publish_counters(self) -> None:
        """Publish the counters."""
        self._outlet.values(
            {UNKNOWN.path: self.unknown, UNREADABLE.path: self.unreadable}
        )

    def _publish(
        self, message: BusMessage, frame: Frame, *, ours: bool = False
    ) -> None:
        try:
            decoded = message.decode(frame.data)
        except Exception as error:
            # a frame that costs no other, whoever has made the error
            self.unreadable += 1
            self._last.pop(frame.key, None)
            self._outlet.failed(message.received_paths, error)
            return
        self._known.setdefault(message.name, {}).update(decoded)
        found = {}
        for name, raw in decoded.items():
            signal = message.signals.get(name)
            if signal is not None and (signal.receives or ours):
                try:
                    found[signal.path] = signal.plain(raw)
                except Exception as error:  # it costs this signal only
                    self._outlet.failed([signal.path], error)
        self._outlet.values(found, frame.time)
        # with another key it is of any source, and others may send other values
        if message.remembered and message.key == frame.key:
            self._last[frame.key] = frame.data

    async def set(self, path: str, value: Any) -> Any:
        """Send a message with a signal changed; return the value as the bus has it."""
        if path not in self.catalogue.by_path:
            raise UnknownTarget(f"no signal {path!r:.100} in the databases")
        message, name = self.catalogue.by_path[path]
        signal = message.signals[name]
        if not signal.sends:
            raise ReadOnly(f"signal {path!r} is only received")
        values = self.with_changes(message, {name: value})
        await self.send(message, values, signal.cycle)
        return signal.plain(self._known[message.name][name])

    def with_changes(
        self, message: BusMessage, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the values of all signals of a message with some changed.

        Multiplexers select the changed ones. Raise BadRequest, OutOfRange.
        """
        for name in changes:
            if name not in message.signals:
                raise BadRequest(
                    f"no signal {name!r:.60} in {message.name}; there are: "
                    f"{', '.join(message.signals)}"
                )
        values = {**message.initial(), **self._known.get(message.name, {})}
        for name, value in changes.items():
            signal = message.signals[name]
            values |= _selection(message, signal, changes)
            values[name] = _checked(f"{message.name}/{name}", signal, value)
        _check_together(message, changes, values)
        return values

    def frame(self, message: BusMessage, values: Mapping[str, Any]) -> Frame:
        """Return the frame of a message; raise BadRequest, OutOfRange."""
        data = message.encode(values)
        size = len(data)
        if size > FD_LENGTHS[-1]:
            raise BadRequest(
                f"{message.name}: {size} bytes; a frame has up to {FD_LENGTHS[-1]}"
            )
        definition = message.definition
        fd = definition.is_fd or size > can.CLASSIC_BYTES
        if fd:
            length = next(each for each in FD_LENGTHS if each >= size)
            data = data.ljust(length, b"\0")
        extended = definition.is_extended_frame
        return can.frame(definition.frame_id, data, extended=extended, fd=fd)

    async def send(
        self,
        message: BusMessage,
        values: Mapping[str, Any],
        period: float | None,
        count: int = 0,
    ) -> None:
        """Send a message, with `period` periodically, and publish its values."""
        frame = self.frame(message, values)
        name = CYCLE_PREFIX + message.name
        if period is not None:
            self._traffic.start(name, frame, period, count)
        elif name in self._traffic.prune_periodic():
            self._traffic.update(name, frame)
        else:
            await self._traffic.send([frame])
        self._publish(message, frame._replace(time=time.time()), ours=True)


def _fits(message: BusMessage, known: Mapping[str, Any]) -> bool:
    """True if a frame of a message can be made with these values."""
    try:
        message.encode({**message.initial(), **known})
    except (BadRequest, OutOfRange):
        return False
    return True


def _selection(
    message: BusMessage, signal: BusSignal, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the multiplexer values that select a signal, without those changed."""
    found: dict[str, Any] = {}
    while True:
        selector = signal.definition.multiplexer_signal
        if selector is None or selector not in message.signals:
            return found
        multiplexer = message.signals[selector]
        pages = signal.definition.multiplexer_ids
        if selector not in changes and pages:
            found[selector] = physical(multiplexer.definition, pages[0])
        signal = multiplexer


def _check_together(
    message: BusMessage, changes: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Raise BadRequest for a signal that a frame with these values does not hold."""
    active = message.active(values)
    for name in changes:
        if name not in active:
            page = str(message.signals[name].definition.multiplexer_signal)
            raise BadRequest(
                f"{message.name}/{name} is not in the frame when {page} is "
                f"{values.get(page)}"
            )


def _checked(name: str, signal: BusSignal, value: Any) -> Any:
    """Return a value as cantools takes it; raise BadRequest, OutOfRange."""
    try:
        found = signal.about.reader.value(value)
    except (BadRequest, OutOfRange) as error:
        raise type(error)(f"{name}: {error.message}", **error.detail) from error
    return int(found) if is_boolean(signal.definition) else found
