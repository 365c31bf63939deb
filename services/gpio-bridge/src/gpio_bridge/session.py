"""One open chip as a session.

Its lines, what keeps them working, and the view of the whole header.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from busbar.bridge import (
    BusbarError,
    DeviceRefused,
    LinkLost,
    Port,
    Property,
    Turn,
    UnknownTarget,
    by_path,
)
from gpio_bridge import settings
from gpio_bridge.backends import pinctrl
from gpio_bridge.chip import LineInfo
from gpio_bridge.lines.kinds import KINDS
from gpio_bridge.lines.line import Line, Place
from gpio_bridge.lines.outputs import Pulsed
from gpio_bridge.pins.numbering import Pins
from gpio_bridge.settings import Device

log = logging.getLogger("busbar.gpio")

# s between looks: lines that could not be taken are tried again, levels of the others
# are read anew
AGAIN = 10.0


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


@dataclass(frozen=True)
class Wanted:
    """A line that is to be ours.

    `offsets` where a command said which, else the configuration's numbering does.
    """

    about: settings.Line
    offsets: tuple[int, ...] = ()

    @property
    def temporary(self) -> bool:
        """Made by a command: gone after a restart."""
        return bool(self.offsets)


INSPECT = Property(
    "_inspect",
    list[PinState],
    title=("The header: function, level, pull and consumer of each pin"),
)
LOST = Property("_lost", dict[str, int], title="Edges that were lost, by line")


class Core:
    """The lines of one device; entered by `start`, left by `leave`.

    `wanted` outlives it: what commands have set up and released stays so when the chip
    is opened anew.
    """

    def __init__(
        self,
        about: Device,
        port: Port,
        place: Place,
        pins: Pins,
        wanted: dict[str, Wanted],
    ) -> None:
        self.about, self.place, self.pins, self.wanted = about, place, pins, wanted
        self.lines: dict[str, Line[Any]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._port = port
        self._lost: dict[str, int] = {}
        self._news, self._freed = asyncio.Event(), asyncio.Event()
        place.chip.broken = self.broken
        place.touched, place.lost = self._news.set, self._count_lost

    def broken(self, error: LinkLost) -> None:
        """The chip has gone."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def start(self) -> None:
        """Take all lines; one that cannot be taken is bad, and the others work."""
        self.place.outlet.values({LOST.path: {}})
        self.place.chip.watch(self._changed)
        for wanted in list(self.wanted.values()):
            await self._open(wanted)
        self.show()

    async def leave(self) -> None:
        """Give the lines back as the configuration says."""
        for line in list(self.lines.values()):
            try:
                await line.close(stopping=True)
            except BusbarError as error:
                log.warning(
                    "%s/%s is not left as asked: %s", self.about.name, line.name, error
                )
        if not self.failed.done():
            self.failed.cancel()

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fail(), name="chip")
            tasks.create_task(self._mind_lines(), name="lines")
            tasks.create_task(self._mind_broker(), name="broker")
            if self.about.inspect_every:
                tasks.create_task(self._inspect(), name="inspect")

    async def refresh(self, device: str) -> None:
        await self._look_again()
        self.show()

    async def set(self, device: str, path: str, value: Any, turn: Turn) -> Any:
        name, suffix = self._split(path)
        return await self.working(name).set(suffix, value)

    def working(self, name: str) -> Line[Any]:
        """Return a line; raise UnknownTarget, or why it does not work."""
        line = self.lines.get(name)
        if line is None:
            raise UnknownTarget(
                f"no line {name!r:.100}; there are: {', '.join(self.lines) or 'none'}"
            )
        if line.error is not None:
            raise line.error
        return line

    def owner(self, offset: int) -> Line[Any] | None:
        """Return our line on a line of the chip, whether it works or not.

        None if there is none.
        """
        return next(
            (each for each in self.lines.values() if offset in each.offsets), None
        )

    def at(self, offset: int) -> Line[Any] | None:
        """Return our line that works on a line of the chip, None if there is none."""
        return next(
            (
                each
                for each in self.lines.values()
                if offset in each.offsets and not each.error
            ),
            None,
        )

    async def add(self, wanted: Wanted) -> Line[Any]:
        """Take a line; it is there in any case, with its error."""
        self.wanted[wanted.about.name] = wanted
        self.describe()
        return await self._open(wanted)

    async def remove(self, name: str, stopping: bool = True) -> None:
        """Give a line back; if that is cancelled, it is taken again."""
        line, failure = self.lines[name], None
        line.error = DeviceRefused(f"{name} is being given back")
        try:
            await line.close(stopping)
        except BusbarError as error:
            failure = error
        del self.lines[name], self.wanted[name]
        if failure is not None:
            raise failure

    def describe(self) -> None:
        """Tell which lines there are now."""
        about = self.place.outlet.description
        self.place.outlet.describe(
            about.with_(
                properties=described(each.about for each in self.wanted.values())
            )
        )

    def show(self) -> None:
        if self.about.inspect_every:
            self.place.outlet.values(
                {INSPECT.path: [msgspec.to_builtins(each) for each in self.rows({})]}
            )

    def rows(self, levels: Mapping[int, bool]) -> Iterator[PinState]:
        """Return the view of the header; `levels` are those of lines that are not ours."""
        functions, reason = self.functions()
        for offset in self.pins.header():
            yield self._row(
                self.place.chip.info(offset), functions, reason, levels.get(offset)
            )

    def functions(self) -> tuple[Mapping[int, str], str | None]:
        """Return what pinctrl says, and why it says nothing."""
        try:
            return pinctrl.functions(
                self.place.chip.label, Path(self.about.pinctrl_root)
            ), None
        except BusbarError as error:
            return {}, error.message

    def function(
        self, about: LineInfo, functions: Mapping[int, str], reason: str | None
    ) -> tuple[str | None, str | None]:
        """Return the function of a line, or None and the reason."""
        muxed = functions.get(about.offset)
        if muxed is not None and muxed.startswith("alt"):
            return muxed, None
        if muxed is not None and not muxed.startswith("gpio"):
            return None, f"pinctrl calls it {muxed}"
        if about.used or reason is None or self.about.backend == "sim":
            return about.direction, None
        return None, reason

    def _row(
        self,
        about: LineInfo,
        functions: Mapping[int, str],
        reason: str | None,
        level: bool | None,
    ) -> PinState:
        ours = self.at(about.offset)
        function, _ = self.function(about, functions, reason)
        value = ours.level(about.offset) if ours else None
        known = level if value is None else value != about.active_low
        consumer = about.consumer or (
            f"{ours.by} PWM" if isinstance(ours, Pulsed) else ""
        )
        pin, name = self.pins.pin(about.offset), ours.name if ours else None
        return PinState(
            pin, about.offset, about.name, function, known, about.pull, consumer, name
        )

    async def _open(self, wanted: Wanted) -> Line[Any]:
        line: Line[Any] = KINDS[type(wanted.about)](
            wanted.about, wanted.offsets, self.place
        )
        self.lines[line.name] = line
        await self._take(line)
        return line

    async def _take(self, line: Line[Any]) -> None:
        try:
            line.offsets = line.offsets or tuple(
                self.pins.offset(each) for each in settings.places(line.about)
            )
            if taken := next(
                (
                    self.at(each)
                    for each in line.offsets
                    if self.at(each) not in (None, line)
                ),
                None,
            ):
                raise DeviceRefused(f"line {taken.offsets[0]} is {taken.name} already")
            await line.open()
            line.error = None
        except LinkLost:
            raise
        except BusbarError as error:
            await line.close()
            known, line.error = (
                line.error,
                type(error)(f"{line.name}: {error.message}", **error.detail),
            )
            self.place.outlet.bad(settings.paths(line.about), line.error)
            if str(known) != str(line.error):  # a line that stays taken is told once
                log.warning(
                    "%s/%s",
                    self.about.name,
                    line.error,
                    extra={"device": self.about.name},
                )

    async def _look_again(self) -> None:
        """Take what is free now, and read the rest.

        An edge that was lost as the last one has no other witness.
        """
        for line in list(self.lines.values()):
            if line.error is not None:
                await self._take(line)
                continue
            try:
                await line.refresh()
            except DeviceRefused as error:
                self.place.outlet.bad(settings.paths(line.about), error)

    def _split(self, path: str) -> tuple[str, str]:
        """Return the line and what follows its name."""
        if path in self.lines:
            return path, ""
        name, _, suffix = path.rpartition("/")
        return name, suffix

    def _changed(self, about: LineInfo) -> None:
        """Somebody takes or gives back a line."""
        self._news.set()
        if not about.used and any(
            about.offset in each.offsets for each in self.lines.values() if each.error
        ):
            self._freed.set()

    def _count_lost(self, name: str, count: int) -> None:
        self._lost[name] = self._lost.get(name, 0) + count
        self.place.outlet.values({LOST.path: dict(self._lost)})

    async def _fail(self) -> None:
        await self.failed

    async def _mind_lines(self) -> None:
        while True:
            self._freed.clear()
            try:
                async with asyncio.timeout(AGAIN):
                    await self._freed.wait()
            except TimeoutError:
                pass
            async with self._port.poll():
                await self._look_again()

    async def _mind_broker(self) -> None:
        """When the broker has been away for a while, do what the lines have for that."""
        broker = self._port.broker
        while True:
            await broker.wait_cleared(self.about.broker_grace)
            log.warning(
                ("%s: the broker is away; lines go to their `on_broker_loss`"),
                self.about.name,
            )
            for line in list(self.lines.values()):
                try:
                    if line.error is None:
                        await line.broker_lost()
                except BusbarError as error:
                    log.warning(
                        "%s/%s is not set: %s", self.about.name, line.name, error
                    )
            await broker.wait()

    async def _inspect(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            self.show()
            await asyncio.sleep(self.about.inspect_every)


def described(lines: Iterable[settings.Line]) -> dict[str, Property]:
    """Return the properties of a device with these lines."""
    ours = [each for line in lines for each in KINDS[type(line)].properties(line)]
    return by_path([*ours, INSPECT, LOST])
