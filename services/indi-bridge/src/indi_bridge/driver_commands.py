"""Commands of a server that list, start, stop and restart its drivers."""

import asyncio
import fnmatch
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from busbar.bridge import (
    DeviceRefused,
    DeviceTimeout,
    Forbidden,
    NoArguments,
    Turn,
    command,
)
from indi_bridge.drivers import Verb, ask
from indi_bridge.model import IndiDevice, ServerModel
from indi_bridge.settings import Drivers

LIMIT = 30.0  # s until the devices of a driver have come or gone
LOOK = 0.1  # s between looks
# s between stop and start: indiserver opens its FIFO again after each writer, and loses
# what another one writes meanwhile (seen once in three with the web manager)
PAUSE = 0.5


class RunningDriver(msgspec.Struct, frozen=True):
    """A driver of the server: its program, and the INDI names of its devices."""

    driver: str
    devices: list[str]


class Driver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments: a driver's program, or its label in the web manager."""

    driver: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z")]


class DriverControl:
    """Starts and stops the drivers of one server."""

    def __init__(self, settings: Drivers | None, model: ServerModel) -> None:
        self._settings = settings
        self._model = model

    @command(holds="exchange")
    async def drivers(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> list[RunningDriver]:
        """List the drivers that run, and their devices."""
        found: dict[str, list[str]] = {}
        for each in self._model.devices.values():
            found.setdefault(_program(each), []).append(each.name)
        return [RunningDriver(name, sorted(found[name])) for name in sorted(found)]

    @command(timeout=LIMIT * 2, holds="exchange")
    async def start_driver(self, device: str, arguments: Driver, turn: Turn) -> None:
        """Start a driver; done when a device of it is there."""
        await self._ask("start", arguments.driver)

    @command(timeout=LIMIT * 2, holds="exchange")
    async def stop_driver(self, device: str, arguments: Driver, turn: Turn) -> None:
        """Stop a driver; done when its devices are gone."""
        await self._ask("stop", arguments.driver)

    @command(timeout=LIMIT * 3, holds="exchange")
    async def restart_driver(self, device: str, arguments: Driver, turn: Turn) -> None:
        """Stop a driver and start it again, as one that hangs needs it."""
        await self._ask("stop", arguments.driver)
        await asyncio.sleep(PAUSE)
        await self._ask("start", arguments.driver)

    async def _ask(self, verb: Verb, driver: str) -> None:
        settings = self._settings
        if settings is None:
            raise Forbidden("no `drivers:` are configured: neither fifo nor manager")
        if not any(fnmatch.fnmatchcase(driver, each) for each in settings.allow):
            allowed = ", ".join(settings.allow)
            raise Forbidden(f"{driver!r} is none of `drivers: allow:`: {allowed}")
        wanted = verb == "start"
        if not wanted and not self._is_there(driver):
            raise DeviceRefused(f"{driver!r} does not run; `drivers` lists those")
        await ask(settings, verb, driver)
        await self._until(lambda: self._is_there(driver) == wanted, verb, driver)

    def _is_there(self, driver: str) -> bool:
        return any(driver in _names(each) for each in self._model.devices.values())

    async def _until(self, done: Callable[[], bool], verb: str, driver: str) -> None:
        for _ in range(round(LIMIT / LOOK)):
            if done():
                return
            await asyncio.sleep(LOOK)
        raise DeviceTimeout(f"{verb} {driver}: no effect after {LIMIT:g} s")


def _info(device: IndiDevice, member: str) -> str:
    info = device.vectors.get("DRIVER_INFO")
    found = info.members.get(member) if info is not None else None
    return found.value if found is not None else ""


def _program(device: IndiDevice) -> str:
    return _info(device, "DRIVER_EXEC") or _info(device, "DRIVER_NAME") or device.name


def _names(device: IndiDevice) -> set[str]:
    """Return the names by which a driver of a device may be meant."""
    program = _info(device, "DRIVER_EXEC")
    return {device.name, program.rpartition("/")[2], _info(device, "DRIVER_NAME")}
