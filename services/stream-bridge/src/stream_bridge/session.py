"""One open stream: what comes is published, what is asked is sent."""

import asyncio
from typing import Any

from busbar.bridge import (
    BadRequest,
    DeviceTimeout,
    Outlet,
    Port,
    Property,
    Turn,
    UnknownTarget,
)
from stream_bridge.commands import StreamCommands
from stream_bridge.pipe import Pipe
from stream_bridge.publisher import DROPPED, LATE, WRONG, FramePublisher
from stream_bridge.settings import Device

LOOK = 0.5  # s between looks at modem lines and counters
OUTPUTS = ("dtr", "rts")
MODEM = [
    Property("dtr", bool, "rw", title="Data Terminal Ready (we set it)"),
    Property("rts", bool, "rw", title="Request To Send (we set it)"),
    Property("cts", bool, title="Clear To Send"),
    Property("dsr", bool, title="Data Set Ready"),
    Property("ri", bool, title="Ring Indicator"),
    Property("dcd", bool, title="Data Carrier Detect"),
]
COUNTED = [
    Property("_line/frame", int, title="Framing errors on the line"),
    Property("_line/overrun", int, title="Bytes that the port lost"),
    Property("_line/parity", int, title="Parity errors on the line"),
    Property("_line/breaks", int, title="Breaks on the line"),
    Property("_line/buffer_overrun", int, title="Bytes that the kernel lost"),
]


class StreamSession:
    """One open conversation with the device at the end of a stream."""

    def __init__(
        self, settings: Device, port: Port, pipe: Pipe, publisher: FramePublisher
    ) -> None:
        self._settings = settings
        self._outlet: Outlet = port.outlet(settings.name)
        self._pipe = pipe
        self._publisher = publisher
        self._fields = {each.path: each for each in settings.fields}
        self.commands = (StreamCommands(settings, pipe),)

    async def serve(self) -> None:
        """Publish what comes, look at the port; raise LinkLost."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pipe.run(), name="read")
            tasks.create_task(self._watch(), name="watch")

    async def refresh(self, device: str) -> None:
        self._count()
        pins = await self._pipe.pins()
        if pins is not None:
            known = {name: each for name, each in pins.items() if each is not None}
            self._outlet.values(known)

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        if path in OUTPUTS and path not in self._fields:
            await self._pipe.set_pin(path, value)
            await self.refresh(device)
            return value
        field = self._fields.get(path)
        if field is None or not field.set:
            raise UnknownTarget(f"{path!r} is not written to the device")
        try:
            data = self._pipe.framing.encode(field.payload(value))
        except ValueError as error:
            raise BadRequest(str(error)) from error
        if not (field.confirm and field.readable):
            await self._pipe.write(data)
            return None
        return await self._confirmed(path, data, turn)

    async def _confirmed(self, path: str, data: bytes, turn: Turn) -> Any:
        """Write, and return the value in the next frame that has it."""
        seconds = self._settings.timeout if turn.asked is None else turn.asked
        found = self._publisher.await_field(path)
        try:
            await self._pipe.write(data)
            async with asyncio.timeout(seconds):
                return await found
        except TimeoutError as error:
            said = f"written; no frame with {path!r} came within {seconds:g} s"
            raise DeviceTimeout(said) from error
        finally:
            found.cancel()

    async def _watch(self) -> None:
        while True:
            await self.refresh(self._settings.name)
            await asyncio.sleep(LOOK)

    def _count(self) -> None:
        found = {
            WRONG.path: self._pipe.framing.wrong,
            LATE.path: self._pipe.late,
            DROPPED.path: self._pipe.dropped,
        }
        for name, count in self._pipe.line_errors().items():
            found[f"_line/{name}"] = count
        self._outlet.values(found)
