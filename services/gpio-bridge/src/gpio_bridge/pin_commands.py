"""Commands of any line of the chip, ours or not: what RPIO could do with a pin."""

import importlib.metadata
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
from gpio_bridge.line_commands import LineCommands, Target
from gpio_bridge.lines.edge_line import Listener
from gpio_bridge.lines.kinds import KINDS
from gpio_bridge.lines.line import Line
from gpio_bridge.lines.outputs import Output, Pulsed
from gpio_bridge.session import PinState, Wanted

# keys that `setup` takes
_SET_UP = ("pull", "active_low", "initial", "edges", "debounce", "press", "frequency")
PACKAGES = ("gpio-bridge", "gpiod", "lgpio", "RPi.GPIO", "rpi-lgpio")


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

    def about(self, name: str, offset: int) -> settings.Line:
        """Return the settings of that line.

        Raise BadRequest for what its direction does not have.
        """
        keys = {each.__struct_config__.tag: each.__struct_fields__ for each in KINDS}[
            self.direction
        ]
        given = {
            key: value for key in _SET_UP if (value := getattr(self, key)) is not None
        }
        if unknown := [key for key in given if key not in keys]:
            listed = ", ".join(key for key in _SET_UP if key in keys)
            raise BadRequest(
                f"a line of direction {self.direction} has no {unknown[0]}; it "
                f"has: "
                f"{listed}"
            )
        wanted = {
            **msgspec.to_builtins(given),
            "direction": self.direction,
            "name": name,
            "line": offset,
        }
        try:
            made: settings.Line = msgspec.convert(wanted, settings.Line)
        except msgspec.ValidationError as error:
            raise BadRequest(
                f"a line of direction {self.direction} cannot be that: {error}"
            ) from error
        return made


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


class PinCommands(LineCommands):
    """What can be done with every line."""

    @command(holds="exchange")
    async def forceinput(self, device: str, arguments: Target, turn: Turn) -> bool:
        """Read a line without setting it up; its direction stays as it is."""
        offset = self.offset(arguments)
        ours = self.at(offset)
        if isinstance(ours, Pulsed):
            raise DeviceRefused(
                f"{ours.name} is driven with pulses: it has no level to read"
            )
        if isinstance(ours, Listener | Output):
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
        offset = self.offset(arguments)
        ours = self.at(offset)
        if isinstance(ours, Output):
            return bool(await ours.set("", arguments.value))
        if not self.about.allow_force:
            raise Forbidden(
                "forceoutput is off: `allow_force: true` in the configuration of "
                "the "
                "device allows it"
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
        await self.line(arguments, Listener).pull(arguments.pull)
        self.show()

    @command(holds="exchange")
    async def gpio_function(
        self, device: str, arguments: Target, turn: Turn
    ) -> Function:
        """Tell the function of a line."""
        return Function(
            *self.function(
                self.place.chip.info(self.offset(arguments)), *self.functions()
            )
        )

    @command(
        title=(
            "Set a line up, or anew, until the bridge restarts; the result is "
            "the name of its property"
        ),
        holds="exchange",
    )
    async def setup(self, device: str, arguments: SetUp, turn: Turn) -> str:
        """Set a line up, or anew, until the bridge restarts.

        The result is the name of its property.
        """
        offset = self.offset(arguments)
        ours = self.owner(offset)
        if ours is not None and len(ours.offsets) > 1:
            raise BadRequest(
                f"line {offset} is one of two of {ours.name}; `release` that first"
            )
        known = ours.about if ours else self.configured(arguments.line)
        about = arguments.about(
            arguments.name or (known.name if known else self._free_name(offset)), offset
        )
        others = [each.about for each in self.lines.values() if each is not ours]
        if doubled := {path for each in others for path in settings.paths(each)} & {
            *settings.paths(about)
        }:
            raise BadRequest(f"name: there is a property {doubled.pop()!r} already")
        return (await self._put(about, offset)).name

    @command(holds="exchange")
    async def release(self, device: str, arguments: Target, turn: Turn) -> None:
        """Give a line back, until the bridge restarts or `cleanup`."""
        try:
            await self.remove(self.ours(arguments).name)
        finally:
            self.describe()
            self.show()

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
        temporary = [each for each in self.wanted.values() if each.temporary]
        for each in temporary:
            await self.remove(each.about.name, stopping=False)
        for about in self.about.lines:
            if about.name not in self.wanted:
                await self.add(Wanted(about))
        for offset in {
            offset
            for each in temporary
            for offset in each.offsets
            if self.owner(offset) is None
        }:
            await self._as_input(offset)
        self.describe()
        self.show()

    @command(holds="exchange")
    async def resolve(self, device: str, arguments: Resolve, turn: Turn) -> Resolved:
        """Tell which line a number or a name is."""
        offset = self.pins.offset(arguments.channel, arguments.numbering)
        ours = self.at(offset)
        name = self.place.chip.info(offset).name
        return Resolved(
            offset, self.pins.pin(offset), name, ours.name if ours else None
        )

    @command(holds="exchange")
    async def sysinfo(self, device: str, arguments: NoArguments, turn: Turn) -> SysInfo:
        """Tell which Raspberry Pi this is."""
        board, chip = self.pins.board, self.place.chip
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
            chip.label,
            chip.count,
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
        for offset in self.pins.header() if arguments.levels else ():
            if self.at(offset) is None:
                try:
                    levels[offset] = await self._glance(offset)
                except BusbarError:  # busy: its row says by whom
                    continue
        self.show()
        return list(self.rows(levels))

    async def _glance(self, offset: int) -> bool:
        """Read a line that is not ours."""
        functions, _ = self.functions()
        muxed = functions.get(offset, "")
        # some drivers make an input of it when it is released
        if muxed.startswith("alt"):
            raise DeviceRefused(
                f"line {offset} has the function {muxed}: to request it could "
                f"change "
                f"that"
            )
        request = await self.place.chip.request({offset: LineSettings()})
        try:
            return await request.read(offset)
        finally:
            await request.release()

    async def _put(self, about: settings.Line, offset: int) -> Line[Any]:
        """Take a line in place of what was there; if that fails, put it back and raise."""
        old = self.owner(offset)
        before = self.wanted[old.name] if old is not None else None
        if old is not None:
            await self.remove(old.name, stopping=False)
        line = await self.add(Wanted(about, (offset,)))
        failure = line.error
        if failure is not None:
            await self.remove(about.name, stopping=False)
            if before is not None:
                await self.add(before)
            self.describe()
            raise failure
        self.show()
        return line

    async def _as_input(self, offset: int) -> None:
        request = await self.place.chip.request({offset: LineSettings("in", "off")})
        await request.release()

    def _free_name(self, offset: int) -> str:
        return next(
            name
            for n in range(1000)
            if (name := f"gpio{offset}" + f"-{n}" * bool(n)) not in self.lines
        )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
