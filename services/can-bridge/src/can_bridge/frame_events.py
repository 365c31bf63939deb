"""Raw frames as events: in batches, one by one, and the last of each identifier."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from busbar.bridge import Event, Outlet, Property
from busbar.codecs.can import (
    BRS,
    ERROR,
    ESI,
    EXTENDED,
    FD,
    REMOTE,
    SENT,
    Frame,
    Mask,
    accepts,
    id_text,
)
from can_bridge.interfaces.interface import log
from can_bridge.settings import Frames, Group

ROWS_LIMIT = 1000  # frames of one batch
# most bytes of one frame in a batch, by encoding and whether it is CAN FD
ROW_BYTES = {
    ("msgpack", False): 32,
    ("msgpack", True): 92,
    ("json", False): 64,
    ("json", True): 140,
}
# identifiers of which it is known whether they pass; beyond it the table starts again
KNOWN_LIMIT = 65_536
LAST_LIMIT = 1000  # identifiers in state/_rx
_NAMES = (
    (EXTENDED, "extended"),
    (REMOTE, "remote"),
    (FD, "fd"),
    (BRS, "brs"),
    (ESI, "esi"),
    (ERROR, "error"),
)

LAST = "_rx/"
_EVENTS = {"single": "frame", "batched": "frames"}


class Row(msgspec.Struct, frozen=True, array_like=True):
    """[time (Unix s), id, flags, length (bytes), data].

    flags: 1 extended, 2 remote, 4 FD, 8 bit rate switch, 16 error state, 32 error
    frame, 64 sent by this bridge.
    """

    time: float
    id: int
    flags: int
    length: int
    data: bytes


class Batch(msgspec.Struct, frozen=True):
    """Payload of event/frames."""

    frames: list[Row]


class Single(msgspec.Struct, frozen=True):
    """Payload of event/frame; `direction` is rx, or tx for what this bridge sent."""

    id: int
    extended: bool
    remote: bool
    fd: bool
    brs: bool
    esi: bool
    error: bool
    direction: str
    length: int
    data: bytes


class LastFrame(msgspec.Struct, frozen=True):
    """The last frame of an identifier; `flags` as in a batch."""

    flags: int
    length: int
    data: bytes


def named(frame: Frame) -> dict[str, Any]:
    """Return the fields of a frame under their names, ready for JSON."""
    flags = {name: bool(frame.flags & bit) for bit, name in _NAMES}
    return {
        "id": frame.id,
        **flags,
        "direction": "tx" if frame.flags & SENT else "rx",
        "length": frame.length,
        "data": base64.b64encode(frame.data).decode(),
    }


def events(settings: Frames) -> list[Event]:
    """Declare the events of raw frames."""
    return [_event(name, each) for name, each in _selections(settings)]


def _selections(settings: Frames) -> list[tuple[str, Frames | Group]]:
    """Return the event's name and the settings of each selection."""
    found: list[tuple[str, Frames | Group]] = []
    if settings.publish != "none":
        found.append((_EVENTS[settings.publish], settings))
    for group in settings.groups:
        found.append((f"{_EVENTS[group.publish]}/{group.name}", group))
    return found


def _event(name: str, settings: Frames | Group) -> Event:
    if settings.publish == "single":
        return Event(name, Single, title="One frame")
    return Event(
        name,
        Batch,
        title="Frames: time, id, flags, length, data",
        encoding=settings.encoding,
    )


def last(settings: Frames) -> list[Property]:
    """Declare the family of last frames."""
    if not settings.last:
        return []
    family = Property(
        LAST + "{id}",
        LastFrame,
        title="Last frame of an identifier: 3 hex digits, 8 of an extended one",
        min_interval=settings.last_interval,
    )
    return [family]


def masks(settings: Frames) -> list[Mask] | None:
    """Return what has to be received for these settings; None = all frames."""
    if settings.last:
        return None
    found: list[Mask] = []
    for _, each in _selections(settings):
        if not each.filters:
            return None
        found += [each.read for each in each.filters]
    return found


class FramePublisher:
    """Publishes raw frames as the configuration wants."""

    def __init__(self, outlet: Outlet, settings: Frames, fd: bool) -> None:
        self._streams = [
            FrameStream(outlet, name, each, fd) for name, each in _selections(settings)
        ]
        self._outlet = outlet
        self._show_last = settings.last
        self._shown: set[str] = set()  # paths of last frames
        self._warned = False

    def take(self, frames: Sequence[Frame]) -> None:
        """Take frames in order."""
        for stream in self._streams:
            stream.take(frames)
        if self._show_last:
            self._publish_last(frames)

    def flush(self) -> None:
        """Publish what has gathered."""
        for stream in self._streams:
            stream.flush()

    def _publish_last(self, frames: Sequence[Frame]) -> None:
        newest = {}
        for frame in frames:
            if not frame.flags & ERROR:
                newest[LAST + id_text(frame)] = frame
        for path, frame in newest.items():
            if path not in self._shown and len(self._shown) >= LAST_LIMIT:
                self._warn(path)
                continue
            self._shown.add(path)
            value = {
                "flags": frame.flags,
                "length": frame.length,
                "data": base64.b64encode(frame.data).decode(),
            }
            self._outlet.values({path: value}, frame.time)

    def _warn(self, path: str) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning(
            "only the first %d identifiers are in state/_rx: %s is not",
            LAST_LIMIT,
            path,
        )


class FrameStream:
    """One selection of frames on its topic."""

    def __init__(
        self, outlet: Outlet, name: str, settings: Frames | Group, fd: bool
    ) -> None:
        self._outlet = outlet
        self._name = name
        self._flush = settings.flush
        self._single = settings.publish == "single"
        self._row = ROW_BYTES[settings.encoding, fd]
        self._masks = [each.read for each in settings.filters] or None
        self._known: dict[int, bool] = {}  # key -> whether it passes
        self._rows: list[Frame] = []
        self._most = ROWS_LIMIT  # rows of this batch
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, frames: Sequence[Frame]) -> None:
        if self._masks is not None:
            frames = [frame for frame in frames if self._passes(frame)]
        if not frames:
            return
        if self._single:
            for frame in frames:
                self._outlet.event(self._name, named(frame), frame.time)
        else:
            self._gather(frames)

    def _gather(self, frames: Sequence[Frame]) -> None:
        if not self._rows:
            fitting = self._outlet.room // self._row
            self._most = max(1, min(ROWS_LIMIT, fitting))
        self._rows += frames
        while len(self._rows) >= self._most:
            self._publish(self._rows[: self._most])
            del self._rows[: self._most]
        if not self._rows:
            self._stop_timer()
        elif not self._flush:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._flush, self.flush)

    def flush(self) -> None:
        self._stop_timer()
        if self._rows:
            self._publish(self._rows)
            self._rows = []

    def _publish(self, rows: list[Frame]) -> None:
        self._outlet.event(self._name, {"frames": rows}, rows[0].time)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _passes(self, frame: Frame) -> bool:
        if frame.flags & ERROR:
            return True
        key = frame.key
        passes = self._known.get(key)
        if passes is None:
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            passes = accepts(self._masks, frame)
            self._known[key] = passes
        return passes
