"""Lines of one chip that are ours: taken, given back, tried again."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from busbar.bridge import (
    BusbarError,
    DeviceRefused,
    LinkLost,
    Property,
    UnknownTarget,
    by_path,
)
from gpio_bridge import settings
from gpio_bridge.lines.kinds import KINDS
from gpio_bridge.lines.line import GpioLine, LineContext
from gpio_bridge.pins.numbering import Pins

log = logging.getLogger("busbar.gpio")


class PinState(msgspec.Struct, frozen=True):
    """One row of `inspect`: `pin` is the BOARD number.

    `level`, at the pin, is known of our lines and those read.
    """

    pin: int | None
    line: int
    name: str
    function: str | None
    level: bool | None
    pull: str
    consumer: str
    used_as: str | None = None  # name of the line in the configuration


INSPECT = Property(
    "_inspect",
    list[PinState],
    title="The header: function, level, pull and consumer of each pin",
)
LOST = Property("_lost", dict[str, int], title="Edges that were lost, by line")


@dataclass(frozen=True)
class Wanted:
    """A line that is to be ours.

    `offsets` where a command said which, else the configuration's numbering does.
    """

    about: settings.AnyLine
    offsets: tuple[int, ...] = ()

    @property
    def temporary(self) -> bool:
        """Made by a command: gone after a restart."""
        return bool(self.offsets)


class LineSet:
    """The lines of one chip by name, each at work or with its error.

    `wanted` outlives it: what commands have set up and released stays so when the chip
    is opened again.
    """

    def __init__(
        self,
        about: settings.Device,
        context: LineContext,
        pins: Pins,
        wanted: dict[str, Wanted],
    ) -> None:
        self.about = about
        self.context = context
        self.pins = pins
        self.wanted = wanted
        self.by_name: dict[str, GpioLine[Any]] = {}
        self._edges_lost: dict[str, int] = {}
        context.on_lost = self._count_lost

    @property
    def listed(self) -> str:
        """The names, for an error text."""
        return ", ".join(self.by_name) or "none"

    def working(self, name: str) -> GpioLine[Any]:
        """Return a line; raise UnknownTarget, or why it does not work."""
        line = self.by_name.get(name)
        if line is None:
            raise UnknownTarget(f"no line {name!r:.100}; there are: {self.listed}")
        if line.error is not None:
            raise line.error
        return line

    def owner(self, offset: int) -> GpioLine[Any] | None:
        """Return our line on a line of the chip, whether it works or not."""
        for line in self.by_name.values():
            if offset in line.offsets:
                return line
        return None

    def at(self, offset: int) -> GpioLine[Any] | None:
        """Return our line that works on a line of the chip, None if there is none."""
        for line in self.by_name.values():
            if offset in line.offsets and not line.error:
                return line
        return None

    def waits_for(self, offset: int) -> bool:
        """Return whether a line of ours that does not work could be on this one."""
        for line in self.by_name.values():
            if line.error and offset in line.offsets:
                return True
        return False

    async def open(self) -> None:
        """Take all lines; one that cannot be taken is bad, and the others work."""
        self.context.outlet.values({LOST.path: {}})
        for wanted in list(self.wanted.values()):
            await self._open(wanted)

    async def close(self) -> None:
        """Give the lines back as the configuration says."""
        for line in list(self.by_name.values()):
            try:
                await line.close(stopping=True)
            except Exception as error:  # the others are left as asked
                self._warn(line, "is not left as asked", error)

    async def add(self, wanted: Wanted) -> GpioLine[Any]:
        """Take a line; it is there in any case, with its error."""
        self.wanted[wanted.about.name] = wanted
        self.describe()
        return await self._open(wanted)

    async def remove(self, name: str, stopping: bool = True) -> None:
        """Give a line back; if that is cancelled, it is taken again."""
        line = self.by_name[name]
        failure = None
        line.error = DeviceRefused(f"{name} is being given back")
        try:
            await line.close(stopping)
        except BusbarError as error:
            failure = error
        del self.by_name[name], self.wanted[name]
        if failure is not None:
            raise failure

    async def refresh(self) -> None:
        """Take what is free now, and read the rest.

        An edge that was lost as the last one has no other witness.
        """
        for line in list(self.by_name.values()):
            if line.error is not None:
                await self._take(line)
                continue
            try:
                await line.refresh()
            except Exception as error:  # it costs this line only
                self.context.outlet.failed(settings.paths(line.about), error)

    async def set_for_broker_loss(self) -> None:
        """Do what each line has for the loss of the broker."""
        for line in list(self.by_name.values()):
            try:
                if line.error is None:
                    await line.set_for_broker_loss()
            except Exception as error:  # the others are set
                self._warn(line, "is not set", error)

    def describe(self) -> None:
        """Publish which lines there are now."""
        properties = line_properties(each.about for each in self.wanted.values())
        outlet = self.context.outlet
        outlet.describe(outlet.description.with_(properties=properties))

    async def _open(self, wanted: Wanted) -> GpioLine[Any]:
        kind = KINDS[type(wanted.about)]
        line: GpioLine[Any] = kind(wanted.about, wanted.offsets, self.context)
        self.by_name[line.name] = line
        await self._take(line)
        return line

    async def _take(self, line: GpioLine[Any]) -> None:
        try:
            self._place(line)
            await line.open()
            line.error = None
        except LinkLost:
            raise
        except BusbarError as error:
            await line.close()
            self._mark_bad(line, error)
        except Exception as error:
            await line.close()
            paths = settings.paths(line.about)
            self._mark_bad(line, self.context.outlet.failed(paths, error))

    def _place(self, line: GpioLine[Any]) -> None:
        """Find the lines of the chip; raise DeviceRefused if one is taken."""
        if not line.offsets:
            places = settings.places(line.about)
            line.offsets = tuple(self.pins.offset(each) for each in places)
        for offset in line.offsets:
            other = self.at(offset)
            if other is not None and other is not line:
                taken = other.offsets[0]
                raise DeviceRefused(f"line {taken} is {other.name} already")

    def _mark_bad(self, line: GpioLine[Any], error: BusbarError) -> None:
        """Publish why a line does not work; one that stays taken is logged once."""
        known = line.error
        kind = type(error)
        line.error = kind(f"{line.name}: {error.message}", **error.detail)
        paths = settings.paths(line.about)
        self.context.outlet.bad(paths, line.error)
        if str(known) != str(line.error):
            name = self.about.name
            log.warning("%s/%s", name, line.error, extra={"device": name})

    def _warn(self, line: GpioLine[Any], what: str, error: Exception) -> None:
        log.warning("%s/%s %s: %s", self.about.name, line.name, what, error)

    def _count_lost(self, name: str, count: int) -> None:
        self._edges_lost[name] = self._edges_lost.get(name, 0) + count
        self.context.outlet.values({LOST.path: dict(self._edges_lost)})


def line_properties(lines: Iterable[settings.AnyLine]) -> dict[str, Property]:
    """Return the properties of a device with these lines."""
    ours: list[Property] = []
    for line in lines:
        ours += KINDS[type(line)].properties(line)
    return by_path([*ours, INSPECT, LOST])
