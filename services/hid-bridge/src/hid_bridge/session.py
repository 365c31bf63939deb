"""One open device: its reports to values and events, its settings, its features."""

import asyncio
import logging
from typing import Any

import msgspec

from busbar.bridge import (
    BusbarError,
    DeviceRefused,
    DeviceTimeout,
    Event,
    LinkLost,
    Outlet,
    Port,
    Property,
    ProtocolError,
    Turn,
    UnknownTarget,
    by_path,
)
from busbar.codecs import hid
from hid_bridge.backends.channel import HidChannel
from hid_bridge.commands import DeviceCommands, Report
from hid_bridge.points import Place, points
from hid_bridge.publisher import ReportReader
from hid_bridge.settings import Device, Init

log = logging.getLogger("busbar.hid")

BAD_REPORTS = Property(
    "_bad_reports", int, title="Input reports that were not as they should be"
)


class ReportFields(msgspec.Struct, frozen=True):
    """An input report: its number, its bytes (base64), the values in it.

    `fault` says what is wrong with it; then there are no values.
    """

    report: int
    data: bytes
    fields: dict[str, Any]
    fault: str | None = None


REPORT = Event("report", ReportFields, "An input report")


class HidSession:
    """One open device."""

    def __init__(self, settings: Device, port: Port, channel: HidChannel) -> None:
        self._settings = settings
        self._port = port
        self._channel = channel
        self._outlet: Outlet = port.outlet(settings.name)
        self._descriptor = hid.parse(channel.node.descriptor)
        self._points = points(settings, hid.controls(self._descriptor))
        self._reader = ReportReader(self._points, settings.checksum)
        self._commands = DeviceCommands(channel, self._descriptor)
        self.commands = (self._commands,)
        self._outputs: dict[int, bytearray] = {}  # as they were written last
        self._last: dict[int, bytes] = {}  # input reports by their numbers
        self._bad = 0
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Describe the device and send it what opens it; read its features once."""
        node = self._channel.node
        about = self._outlet.description
        properties = by_path([*self._reader.properties, BAD_REPORTS])
        self._outlet.describe(
            about.with_(
                properties={**about.properties, **properties},
                manufacturer=node.manufacturer,
                model=node.name or None,
                serial=node.serial or None,
            )
        )
        for problem in self._descriptor.problems[:5]:
            log.warning("%s: report descriptor: %s", self._settings.name, problem)
        self._outlet.values({BAD_REPORTS.path: self._bad})
        for init in self._settings.init:
            await self._open(init)
        await self._read_features()

    async def serve(self) -> None:
        """Read features in their period, until the device is lost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fail(), name="lost")
            if self._settings.every is not None:
                tasks.create_task(self._poll(self._settings.every), name="poll")

    def leave(self) -> None:
        if not self._lost.done():
            self._lost.cancel()

    async def refresh(self, device: str) -> None:
        await self._read_features()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        point = self._points.get(path)
        if point is None:
            raise UnknownTarget(f"{path!r} is not in the device's reports")
        for place in point.places:
            if place[0] == "output":
                await self._set_output(path, place, value)
                return None
        for place in point.places:
            if place[0] == "feature":
                return await self._set_feature(path, place, value)
        raise UnknownTarget(f"{path!r} is in no report that can be written")

    def on_report(self, data: bytes, time: float) -> None:
        """Take an input report; one that is wrong costs itself."""
        numbered = self._descriptor.numbered
        number = data[0] if numbered else 0
        self._commands.inbox.put(Report(number, data, time))
        fault: str | None = None
        values: dict[str, Any] = {}
        try:
            values = self._take(number, data[1:] if numbered else data, time)
        except Exception as error:  # costs this report
            fault = self._wrong(number, error)
        self._tell(number, data, values, fault, time)

    def on_lost(self, error: BusbarError) -> None:
        """End the session."""
        if not self._lost.done():
            self._lost.set_exception(error)

    def _take(self, number: int, payload: bytes, time: float) -> dict[str, Any]:
        self._reader.check(payload)
        reading = self._reader.read("input", number, payload)
        self._outlet.values(reading.values, time)
        for path, error in reading.failed.items():
            self._outlet.failed([path], error)
        return reading.values

    def _wrong(self, number: int, error: Exception) -> str:
        if isinstance(error, LinkLost):
            self.on_lost(error)
        fault = self._outlet.failed([], error)
        self._bad += 1
        if self._bad == 1:
            name = self._settings.name
            log.warning("%s: input report %d: %s", name, number, fault.message)
        self._outlet.values({BAD_REPORTS.path: self._bad})
        return fault.message

    def _tell(
        self,
        number: int,
        data: bytes,
        values: dict[str, Any],
        fault: str | None,
        time: float,
    ) -> None:
        """Publish a report as an event, as far as the configuration wants them."""
        wanted = self._settings.reports
        same = self._last.get(number) == data
        self._last[number] = data
        if wanted == "none" or (wanted == "changed" and same):
            return
        event = ReportFields(number, data, values, fault)
        try:
            self._outlet.event(REPORT.name, msgspec.to_builtins(event), time)
        except Exception as error:  # costs this event
            self._outlet.failed([], error)

    async def _fail(self) -> None:
        await self._lost

    async def _poll(self, period: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + period, loop.time())  # what was missed is not caught up
            await asyncio.sleep(due - loop.time())
            async with self._port.poll():
                await self._read_features()

    async def _read_features(self) -> None:
        for number in self._reader.has("feature"):
            try:
                await self._read_feature(number)
            except LinkLost:
                raise
            except Exception as error:  # one report that is refused costs itself
                place: Place = ("feature", number)
                paths = self._paths_at(place)
                self._outlet.failed(paths, error)

    async def _read_feature(self, number: int) -> dict[str, Any]:
        payload = await self._feature(number)
        reading = self._reader.read("feature", number, payload)
        self._outlet.values(reading.values)
        for path, error in reading.failed.items():
            self._outlet.failed([path], error)
        return reading.values

    def _paths_at(self, place: Place) -> list[str]:
        return [path for path, point in self._points.items() if place in point.places]

    async def _feature(self, number: int) -> bytes:
        size = self._size("feature", number)
        data = await self._channel.get_report("feature", number, size)
        if not data:
            raise ProtocolError(f"feature report {number} came empty")
        return data[1:]

    def _size(self, kind: hid.Kind, number: int) -> int:
        """Return the bytes of a report; that the descriptor has not: what it needs."""
        return self._descriptor.length(kind, number) or 64

    async def _set_output(self, path: str, place: Place, value: Any) -> None:
        """Write a value into the report as it was sent last, and send it again."""
        number = place[1]
        sent = self._outputs.get(number, bytearray(self._size("output", number)))
        payload = bytearray(sent)
        self._points[path].write(place, payload, value)
        await self._channel.write(bytes([number]) + payload)
        self._outputs[number] = payload
        if self._points[path].declared.access == "w":
            self._outlet.values({path: value})

    async def _set_feature(self, path: str, place: Place, value: Any) -> Any:
        """Change one value of a feature report, and read back whether it took it."""
        number = place[1]
        payload = bytearray(await self._feature(number))
        self._points[path].write(place, payload, value)
        wanted = self._reader.read("feature", number, bytes(payload)).values
        await self._channel.send_feature(bytes([number]) + payload)
        values = await self._read_feature(number)
        if path in values and values[path] != wanted.get(path):
            raise DeviceRefused(f"it took the report, and {path} is {values.get(path)}")
        return values.get(path)

    async def _open(self, init: Init) -> None:
        """Send one of the reports that open the device."""
        try:
            if init.feature is not None:
                await self._channel.send_feature(bytes.fromhex(init.feature))
            else:
                await self._channel.write(bytes.fromhex(init.output or ""))
        except (DeviceRefused, DeviceTimeout) as error:
            raise LinkLost(f"the init report: {error.message}") from error
