"""Commands of any line of the chip, ours or not: what RPIO could do with a pin."""

import contextlib
import importlib.metadata
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from busbar.bridge import (
    BadRequest,
    BusbarError,
    DeviceRefused,
    Forbidden,
    NoArguments,
    Turn,
    UnknownTarget,
    command,
)
from gpio_bridge import settings
from gpio_bridge.chip import LineSettings, Pull
from gpio_bridge.header_view import HeaderView
from gpio_bridge.lines.edge_line import EdgeLine
from gpio_bridge.lines.kinds import KINDS
from gpio_bridge.lines.line import GpioLine
from gpio_bridge.lines.line_set import LineSet, PinState, Wanted
from gpio_bridge.lines.outputs import Output, Pulsed
from gpio_bridge.targets import Target, Targets

# keys that `setup` takes
_SET_UP = ("pull", "active_low", "initial", "edges", "debounce", "press", "frequency")
# keys of each direction
_KEYS = {each.__struct_config__.tag: each.__struct_fields__ for each in KINDS}
PACKAGES = ("busbar-gpio-bridge", "gpiod", "lgpio", "RPi.GPIO", "rpi-lgpio")


class ForceOutput(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `forceoutput`."""

    value: bool


class SetPull(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `set_pullupdn`."""

    pull: Literal["off", "up", "down"]


class SetUp(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `setup`: the keys of a line of the configuration.

    `name` is that of its property.
    """

    direction: Literal["in", "out", "pwm", "servo", "counter", "frequency"]
    name: settings.Path | None = None
    pull: Pull | None = None
    active_low: bool | None = None
    initial: settings.Level | float | None = None
    edges: settings.Edges | None = None
    debounce: settings.Debounce | None = None
    press: settings.Press | None = None
    frequency: float | None = None

    def about(self, name: str, offset: int) -> settings.AnyLine:
        """Return the settings of that line.

        Raise BadRequest for what its direction does not have.
        """
        given = self._given()
        self._check_keys(given)
        wanted = {
            **msgspec.to_builtins(given),
            "direction": self.direction,
            "name": name,
            "line": offset,
        }
        try:
            made: settings.AnyLine = msgspec.convert(wanted, settings.AnyLine)
        except msgspec.ValidationError as error:
            raise BadRequest(
                f"a line of direction {self.direction} cannot be that: {error}"
            ) from error
        return made

    def _given(self) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in _SET_UP}
        return {key: value for key, value in values.items() if value is not None}

    def _check_keys(self, given: Iterable[str]) -> None:
        """Raise BadRequest for a key that a line of this direction does not have."""
        keys = _KEYS[self.direction]
        for key in given:
            if key not in keys:
                listed = ", ".join(each for each in _SET_UP if each in keys)
                raise BadRequest(
                    f"a line of direction {self.direction} has no {key}; it has: "
                    f"{listed}"
                )


class Resolve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `resolve`; without `numbering` as the configuration counts."""

    channel: int | str
    numbering: Literal["BCM", "BOARD", "names", "offset"] | None = None


class Resolved(msgspec.Struct, frozen=True):
    """One line by all its numbers; `used_as` is its name in the configuration."""

    bcm: int
    board: int | None
    name: str
    used_as: str | None


class Function(msgspec.Struct, frozen=True):
    """`function` is in, out, alt0 to alt5, or null with the reason."""

    function: str | None
    reason: str | None = None


class SysInfo(msgspec.Struct, frozen=True):
    """What the revision code of the board says.

    Memory in MB, `generation` of the header as RPIO counts.
    """

    code: str
    model: str | None
    revision: str | None
    memory: int | None
    maker: str | None
    processor: str | None
    generation: int
    chip: str
    lines: int


class Inspect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `inspect`.

    `levels` also of lines that nobody uses, each requested as it is for one read.
    """

    levels: bool = False


class PinCommands:
    """What can be done with every line."""

    def __init__(self, targets: Targets, lines: LineSet, header: HeaderView) -> None:
        self._targets = targets
        self._lines = lines
        self._header = header
        self._chip = lines.context.chip

    @command(holds="exchange")
    async def forceinput(self, device: str, arguments: Target, turn: Turn) -> bool:
        """Read a line without setting it up; its direction stays as it is."""
        offset = self._targets.offset(arguments)
        ours = self._lines.at(offset)
        if isinstance(ours, Pulsed):
            raise DeviceRefused(
                f"{ours.name} is driven with pulses: it has no level to read"
            )
        if isinstance(ours, EdgeLine | Output):
            return await ours.read(offset)
        return await self._glance(offset)

    @command(
        title=(
            "Drive a line that was not set up, until it is released; needs "
            "`allow_force: true`"
        ),
        holds="exchange",
    )
    async def forceoutput(
        self, device: str, arguments: ForceOutput, turn: Turn
    ) -> bool:
        """Drive a line that was not set up, until it is released.

        Needs `allow_force: true`.
        """
        offset = self._targets.offset(arguments)
        ours = self._lines.at(offset)
        if isinstance(ours, Output):
            return bool(await ours.set("", arguments.value))
        if not self._lines.about.allow_force:
            raise Forbidden(
                "forceoutput is off: `allow_force: true` in the configuration of "
                "the device allows it"
            )
        if ours is not None:
            raise BadRequest(f"{ours.name} has the wrong direction; `release` it first")
        initial: settings.Level = "on" if arguments.value else "off"
        line = await self._put(
            settings.Out(name=self._free_name(offset), line=offset, initial=initial),
            offset,
        )
        return bool(line.level(offset))

    @command(holds="exchange")
    async def set_pullupdn(self, device: str, arguments: SetPull, turn: Turn) -> None:
        """Set the pull of an input of ours."""
        await self._targets.line(arguments, EdgeLine).pull(arguments.pull)
        self._header.publish()

    @command(holds="exchange")
    async def gpio_function(
        self, device: str, arguments: Target, turn: Turn
    ) -> Function:
        """Tell the function of a line."""
        about = self._chip.info(self._targets.offset(arguments))
        functions, why = self._header.functions()
        function, reason = self._header.function(about, functions, why)
        return Function(function, reason)

    @command(
        title=(
            "Set a line up, or change it, until the bridge restarts; the result is "
            "the name of its property"
        ),
        holds="exchange",
    )
    async def setup(self, device: str, arguments: SetUp, turn: Turn) -> str:
        """Set a line up, or change it, until the bridge restarts.

        The result is the name of its property.
        """
        offset = self._targets.offset(arguments)
        ours = self._lines.owner(offset)
        if ours is not None and len(ours.offsets) > 1:
            raise BadRequest(
                f"line {offset} is one of two of {ours.name}; `release` that first"
            )
        about = arguments.about(self._name(arguments, ours, offset), offset)
        self._check_paths(about, ours)
        return (await self._put(about, offset)).name

    @command(holds="exchange")
    async def release(self, device: str, arguments: Target, turn: Turn) -> None:
        """Give a line back, until the bridge restarts or `cleanup`."""
        try:
            await self._lines.remove(self._targets.ours(arguments).name)
        finally:
            self._lines.describe()
            self._header.publish()

    @command(
        title=(
            "Undo `setup`, `release` and `forceoutput`: lines beyond the "
            "configuration become inputs without pull"
        ),
        holds="exchange",
    )
    async def cleanup(self, device: str, arguments: NoArguments, turn: Turn) -> None:
        """Undo `setup`, `release` and `forceoutput`.

        Lines beyond the configuration become inputs without pull.
        """
        temporary = [each for each in self._lines.wanted.values() if each.temporary]
        for each in temporary:
            await self._lines.remove(each.about.name, stopping=False)
        for about in self._lines.about.lines:
            if about.name not in self._lines.wanted:
                await self._lines.add(Wanted(about))
        for offset in {each.offsets[0] for each in temporary}:
            if self._lines.owner(offset) is None:
                await self._make_input(offset)
        self._lines.describe()
        self._header.publish()

    @command(holds="exchange")
    async def resolve(self, device: str, arguments: Resolve, turn: Turn) -> Resolved:
        """Tell which line a number or a name is."""
        offset = self._lines.pins.offset(arguments.channel, arguments.numbering)
        ours = self._lines.at(offset)
        used_as = None if ours is None else ours.name
        name = self._chip.info(offset).name
        return Resolved(offset, self._lines.pins.pin(offset), name, used_as)

    @command(holds="exchange")
    async def sysinfo(self, device: str, arguments: NoArguments, turn: Turn) -> SysInfo:
        """Tell which Raspberry Pi this is."""
        board = self._lines.pins.board
        if board is None:
            raise UnknownTarget("this is no Raspberry Pi that is known")
        return SysInfo(
            f"{board.code:x}",
            board.model,
            board.revision,
            board.memory,
            board.maker,
            board.processor,
            board.generation,
            self._chip.label,
            self._chip.count,
        )

    @command(
        title=(
            "Tell the versions of the bridge and of the libraries under it; "
            "null = not installed"
        ),
        holds="exchange",
    )
    async def version(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> dict[str, str | None]:
        """Tell the versions of the bridge and of the libraries under it.

        Null = not installed.
        """
        return {name: _version(name) for name in PACKAGES}

    @command(holds="exchange")
    async def inspect(
        self, device: str, arguments: Inspect, turn: Turn
    ) -> list[PinState]:
        """Show every pin of the header: function, level, pull, consumer."""
        levels: dict[int, bool] = {}
        if arguments.levels:
            levels = await self._levels()
        self._header.publish()
        return list(self._header.rows(levels))

    async def _levels(self) -> dict[int, bool]:
        """Read the lines of the header that are not ours and that nobody uses."""
        levels: dict[int, bool] = {}
        for offset in self._lines.pins.header():
            if self._lines.at(offset) is None:
                # busy: its row says by whom
                with contextlib.suppress(BusbarError):
                    levels[offset] = await self._glance(offset)
        return levels

    async def _glance(self, offset: int) -> bool:
        """Read a line that is not ours."""
        functions, _ = self._header.functions()
        muxed = functions.get(offset, "")
        # some drivers make an input of it when it is released
        if muxed.startswith("alt"):
            raise DeviceRefused(
                f"line {offset} has the function {muxed}: to request it could "
                "change that"
            )
        request = await self._chip.request({offset: LineSettings()})
        try:
            return await request.read(offset)
        finally:
            await request.release()

    async def _put(self, about: settings.AnyLine, offset: int) -> GpioLine[Any]:
        """Take a line instead of what was there; if that fails, put that back."""
        old = self._lines.owner(offset)
        before = None
        if old is not None:
            before = self._lines.wanted[old.name]
            await self._lines.remove(old.name, stopping=False)
        line = await self._lines.add(Wanted(about, (offset,)))
        failure = line.error
        if failure is not None:
            await self._lines.remove(about.name, stopping=False)
            if before is not None:
                await self._lines.add(before)
            self._lines.describe()
            raise failure
        self._header.publish()
        return line

    async def _make_input(self, offset: int) -> None:
        request = await self._chip.request({offset: LineSettings("in", "off")})
        await request.release()

    def _name(self, arguments: SetUp, ours: GpioLine[Any] | None, offset: int) -> str:
        """Return the name that a line is set up with."""
        if arguments.name:
            return arguments.name
        if ours is not None:
            return ours.name
        configured = self._targets.configured(arguments.line)
        if configured is not None:
            return configured.name
        return self._free_name(offset)

    def _free_name(self, offset: int) -> str:
        name = f"gpio{offset}"
        number = 0
        while name in self._lines.by_name:
            number += 1
            name = f"gpio{offset}-{number}"
        return name

    def _check_paths(self, about: settings.AnyLine, ours: GpioLine[Any] | None) -> None:
        """Raise BadRequest if a property is one of another line."""
        paths = set(settings.paths(about))
        for line in self._lines.by_name.values():
            doubled = paths.intersection(settings.paths(line.about))
            if line is not ours and doubled:
                raise BadRequest(f"name: there is a property {doubled.pop()!r} already")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
