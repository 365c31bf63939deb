"""One open conversation with one instrument: readings, writes, the watch over it."""

import asyncio
import heapq
from typing import Any

from busbar.bridge import (
    DeviceTimeout,
    LinkLost,
    Outlet,
    Port,
    Property,
    Turn,
    UnknownTarget,
)
from scpi_bridge import settings as configuration
from scpi_bridge.commands import InstrumentCommands, explained
from scpi_bridge.instrument import Instrument
from scpi_bridge.settings import Device

SILENCES = 3  # queries in a row without an answer: see whether anybody is there
CHECK = 1.0  # s between looks whether an idle instrument has closed the connection
RESYNCS = Property(
    "_resyncs",
    int,
    title=("Answers that did not come, each followed by a new connection"),
)


class ScpiSession:
    """One open conversation with one instrument."""

    def __init__(self, settings: Device, port: Port, instrument: Instrument) -> None:
        self._settings = settings
        self._port = port
        self._instrument = instrument
        self._outlet: Outlet = port.outlet(settings.name)
        self._unread = 0  # readings in a row that failed
        self._commands = InstrumentCommands(settings, self._outlet, instrument)
        self.commands = (self._commands,)
        self._properties = {each.path: each for each in settings.properties}

    async def start(self) -> None:
        """Ask who it is and forget its old errors; raise when it does not answer."""
        self._outlet.values({RESYNCS.path: self._instrument.resyncs})
        if self._settings.identify:
            await self._commands.ask_identity(None)
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
            async with explained(self._instrument):
                await self._take(each)
            self._unread = 0
        except Exception as error:  # one bad answer costs one property
            self._unread += 1
            self._outlet.failed([each.path], error)

    async def _take(self, each: configuration.Property) -> Any:
        """Read a property, publish and return it."""
        value = each.parse(await self._instrument.query(each.query or ""))
        self._outlet.values({each.path: value})
        return value
