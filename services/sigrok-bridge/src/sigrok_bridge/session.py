"""One open conversation with one instrument: its options, looks whether it is there."""

import asyncio
from typing import Any

from busbar.bridge import Outlet, Port, Turn, UnknownTarget
from sigrok_bridge.commands import InstrumentCommands
from sigrok_bridge.instrument import Instrument
from sigrok_bridge.options import OptionProperty, option_properties, path_of
from sigrok_bridge.settings import Device


class SigrokSession:
    """One instrument that has answered."""

    def __init__(
        self,
        settings: Device,
        port: Port,
        instrument: Instrument,
        latest: dict[str, Any],
    ) -> None:
        self._settings = settings
        self._port = port
        self._instrument = instrument
        self._outlet: Outlet = port.outlet(settings.name)
        self.commands = (InstrumentCommands(self._outlet, instrument, latest),)
        self._latest = latest
        self._options: dict[str, OptionProperty] = {}

    async def start(self) -> None:
        """Describe what it is and what can be set; raise LinkLost where it is gone."""
        await self._instrument.open()
        self._describe()
        self._outlet.values(self._latest)  # they are still the latest
        await self._look()
        for path, each in self._options.items():
            if each.option.group is not None:
                await self._read(path, each)

    async def serve(self) -> None:
        """Look every so often; raise LinkLost when the instrument is gone."""
        while True:
            await asyncio.sleep(self._settings.every)
            async with self._port.poll():
                await self._look()

    async def refresh(self, device: str) -> None:
        await self._look()
        for path, each in self._options.items():
            if each.option.group is not None:
                await self._read(path, each)

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        each = self._options.get(path)
        if each is None:
            raise UnknownTarget(f"{path!r} is not an option of the instrument")
        now = await self._instrument.set(each.option, value)
        self._outlet.values({path: now})
        return now

    def _describe(self) -> None:
        known = self._outlet.description
        max_age = 3 * self._settings.every + self._settings.timeout
        described = self._instrument.options
        self._options = option_properties(described, OWN, max_age)
        declared = {path: each.declared for path, each in self._options.items()}
        self._outlet.describe(
            known.with_(
                model=described.device.title,
                properties={**known.properties, **declared},
            )
        )

    async def _look(self) -> None:
        """Publish the options of the device itself."""
        found = await self._instrument.look()
        for option, value in found.items():
            path = path_of(option)
            if path in self._options:
                self._outlet.values({path: value})

    async def _read(self, path: str, each: OptionProperty) -> None:
        try:
            self._outlet.values({path: await self._instrument.look_at(each.option)})
        except Exception as error:  # one odd option costs this option
            self._outlet.failed([path], error)


OWN = frozenset({"capture", "annotations"})
