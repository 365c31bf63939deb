"""Commands of our own lines: toggle, pulse, blink, timed, stop, pulses."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, Turn, UnknownTarget, command
from gpio_bridge import settings
from gpio_bridge.chip import Pulse as OnePulse
from gpio_bridge.edges.detectors import Pattern
from gpio_bridge.lines.line import Line
from gpio_bridge.lines.outputs import Output, Pulsed, PwmLine
from gpio_bridge.session import Core

Seconds = Annotated[float, Meta(ge=0.001, le=86400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Channel = Annotated[int, Meta(ge=0, le=1023)]
Micros = Annotated[int, Meta(ge=0, le=10_000_000)]

LONGEST = 3600.0  # s of a command that waits for its end
T = TypeVar("T", bound=Line[Any])


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which line: `line` is its name, or a number as the configuration counts.

    `bcm` and `board` are what they say.
    """

    line: Channel | settings.Path | None = None
    bcm: Channel | None = None
    board: Channel | None = None

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.line, self.bcm, self.board)) != 1:
            raise ValueError("which line? allowed: one of line, bcm and board")


class Pulse(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `pulse`: on for `seconds`, off for as long, `count` times."""

    seconds: Seconds = 0.1
    count: Count = 1


class Blink(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `blink`: seconds on and off.

    Without `count` until it is told otherwise.
    """

    on: Seconds = 0.5
    off: Seconds = 0.5
    count: Count | None = None


class Timed(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `timed`: a value for so many seconds, then the opposite."""

    value: bool
    seconds: Seconds


class PulseOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One pulse (us from the beginning of the subcycle)."""

    start: Micros
    width: Annotated[int, Meta(ge=1, le=10_000_000)]


class Pulses(Target, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `pulses`: repeated every `subcycle` (us).

    No pulses stop them at the end of a subcycle.
    """

    subcycle: Annotated[int, Meta(ge=100, le=10_000_000)] = 20_000
    pulses: Annotated[list[PulseOf], Meta(max_length=500)]


class LineCommands(Core):
    """What can be done with lines of the configuration."""

    def offset(self, target: Target) -> int:
        """Return the line of the chip that is meant; raise UnknownTarget, OutOfRange."""
        if target.bcm is not None:
            return self.pins.offset(target.bcm, "BCM")
        if target.board is not None:
            return self.pins.offset(target.board, "BOARD")
        assert target.line is not None
        return (
            self._named(target.line)
            if isinstance(target.line, str)
            else self.pins.offset(target.line)
        )

    def configured(self, name: str | int | None) -> settings.Line | None:
        """Return the line that has this name in the configuration, released or not.

        None if there is none.
        """
        return next((each for each in self.about.lines if each.name == name), None)

    def ours(self, target: Target) -> Line[Any]:
        """Return our line that is meant, whether it works or not.

        Raise UnknownTarget, BadRequest.
        """
        if isinstance(target.line, str) and target.line in self.lines:
            return self.lines[target.line]
        offset = self.offset(target)
        found = self.owner(offset)
        if found is None:
            raise BadRequest(
                f"line {offset} is not set up; there are: "
                f"{', '.join(self.lines) or 'none'}"
            )
        return found

    def line(self, target: Target, kind: type[T]) -> T:
        """Return our line of a kind.

        Raise UnknownTarget, BadRequest for another kind, or why it does not work.
        """
        found = self.ours(target)
        if found.error is not None:
            raise found.error
        if not isinstance(found, kind):
            raise BadRequest(
                f"{found.name} has the wrong direction: it is {_direction(found)}"
            )
        return found

    @command(holds="exchange")
    async def toggle(self, device: str, arguments: Target, turn: Turn) -> bool:
        """Turn an output over; the result is its value."""
        return await self.line(arguments, Output).toggle()

    @command(holds="exchange", timeout=LONGEST)
    async def pulse(self, device: str, arguments: Pulse, turn: Turn) -> None:
        """Pulse an output; done when it is off again."""
        output = self.line(arguments, Output)
        pattern = Pattern(True, arguments.seconds, arguments.seconds, arguments.count)
        if pattern.seconds > LONGEST:
            raise BadRequest(
                f"that takes {pattern.seconds:g} s; allowed: {LONGEST:g}; `blink` "
                f"goes "
                f"on by itself"
            )
        await output.run(pattern, turn.release)

    @command(holds="exchange")
    async def blink(self, device: str, arguments: Blink, turn: Turn) -> None:
        """Let an output blink by itself."""
        output = self.line(arguments, Output)
        await output.start(Pattern(True, arguments.on, arguments.off, arguments.count))

    @command(holds="exchange")
    async def timed(self, device: str, arguments: Timed, turn: Turn) -> None:
        """Set an output for a time, then to the opposite by itself."""
        output = self.line(arguments, Output)
        await output.start(Pattern(arguments.value, arguments.seconds, 0.0, 1))

    @command(
        title=(
            "End what an output does by itself, where it is; end PWM or a "
            "servo's pulses after the pulse that runs"
        ),
        holds="exchange",
    )
    async def stop(self, device: str, arguments: Target, turn: Turn) -> None:
        """End what an output does by itself, where it is.

        End PWM or a servo's pulses after the pulse that runs.
        """
        found = self.line(arguments, Line)
        if isinstance(found, Output):
            await found.stop()
        elif isinstance(found, Pulsed):
            await found.off()
        else:
            raise BadRequest(
                f"{found.name} has the wrong direction: it is {_direction(found)}"
            )

    @command(holds="exchange")
    async def pulses(self, device: str, arguments: Pulses, turn: Turn) -> None:
        """Repeat several pulses in each subcycle on a line of direction pwm."""
        found = self.line(arguments, PwmLine)
        wanted = [
            OnePulse(each.start / 1e6, each.width / 1e6) for each in arguments.pulses
        ]
        await found.play(
            arguments.subcycle / 1e6, _checked(wanted, arguments.subcycle / 1e6)
        )

    def _named(self, name: str) -> int:
        """Return the line with a name of ours, of the configuration, or of the kernel.

        Raise UnknownTarget.
        """
        ours, configured = self.lines.get(name), self.configured(name)
        if ours is not None and ours.offsets:
            return ours.offsets[0]
        if configured is not None:
            return self.pins.offset(settings.places(configured)[0])
        try:
            return self.pins.offset(name)
        except UnknownTarget as error:
            raise UnknownTarget(
                f"{error.message}; set up are: {', '.join(self.lines) or 'none'}"
            ) from error


def _checked(pulses: list[OnePulse], period: float) -> list[OnePulse]:
    """Return the pulses in order.

    Raise BadRequest when they overlap or leave the subcycle.
    """
    at = 0.0
    for each in sorted(pulses):
        if each.start < at or each.start + each.width > period * (1 + 1e-9):
            start, width = round(each.start * 1e6), round(each.width * 1e6)
            raise BadRequest(
                f"the pulse from {start} us for {width} us overlaps another, or "
                f"leaves "
                f"the subcycle"
            )
        at = each.start + each.width
    return sorted(pulses)


def _direction(line: Line[Any]) -> str:
    return str(line.about.__struct_config__.tag)
