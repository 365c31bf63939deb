"""Frames on the bus: events, one by one or in batches, and the fields in them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from busbar.bridge import Event, Outlet, Property
from busbar.bridge.values import Encoding, to_text
from stream_bridge.fields import ABSENT, Frame
from stream_bridge.settings import ROWS_LIMIT, Device

WRONG = Property("_wrong", int, title="Frames that could not be read")
LATE = Property("_late", int, title="Answers that did not come in time")
DROPPED = Property("_dropped", int, title="Bytes that waited for a read in vain")


class FrameEvent(msgspec.Struct, frozen=True):
    """Payload of event/frame."""

    data: str
    encoding: Encoding


class Row(msgspec.Struct, frozen=True, array_like=True):
    """[time (Unix s), data, encoding]."""

    time: float
    data: str
    encoding: Encoding


class FramesEvent(msgspec.Struct, frozen=True):
    """Payload of event/frames."""

    frames: list[Row]


def events(settings: Device) -> dict[str, Event]:
    """Declare the events of a stream."""
    if settings.publish == "none":
        return {}
    if settings.publish == "single":
        return {"frame": Event("frame", FrameEvent, title="One frame")}
    title = "Frames: time, data, encoding"
    return {"frames": Event("frames", FramesEvent, title=title)}


class FramePublisher:
    """What becomes of the frames of one device."""

    def __init__(self, settings: Device, outlet: Outlet) -> None:
        self._settings = settings
        self._outlet = outlet
        self._rows: list[Row] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, list[Callable[[Any], None]]] = {}

    def take(self, frames: list[bytes]) -> None:
        """Publish frames and the fields in them."""
        now = time.time()
        for data in frames:
            self._publish(data, now)
            if self._settings.fields:
                self._read_fields(Frame(data, self._settings.charset), now)

    def await_field(self, path: str) -> "asyncio.Future[Any]":
        """Return what a field is in the next frame that has it."""
        found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def give(value: Any) -> None:
            if not found.done():
                found.set_result(value)

        waiting = self._waiting.setdefault(path, [])
        waiting.append(give)
        found.add_done_callback(lambda _: waiting.remove(give))
        return found

    def close(self) -> None:
        """Publish what has gathered."""
        self._flush()

    def _publish(self, data: bytes, now: float) -> None:
        if self._settings.publish == "none":
            return
        text, encoding = to_text(data, self._settings.data, self._settings.charset)
        if self._settings.publish == "single":
            self._outlet.event("frame", {"data": text, "encoding": encoding}, now)
            return
        row = Row(round(now, 6), text, encoding)
        size = len(msgspec.json.encode(row)) + 1
        if self._rows and self._bytes + size > self._outlet.room - 16:
            self._flush()
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= ROWS_LIMIT:
            self._flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.interval, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rows:
            self._outlet.event("frames", {"frames": self._rows}, self._rows[0].time)
        self._rows = []
        self._bytes = 0

    def _read_fields(self, frame: Frame, now: float) -> None:
        values: dict[str, Any] = {}
        for field in self._settings.fields:
            try:
                value = field.read(frame)
            except Exception as error:  # one bad field costs one field
                self._outlet.failed([field.path], error)
                continue
            if value is not ABSENT:
                values[field.path] = value
        if values:
            self._outlet.values(values, now)
        for path, value in values.items():
            for give in list(self._waiting.get(path, ())):
                give(value)
