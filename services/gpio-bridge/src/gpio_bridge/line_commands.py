"""Commands of our own lines: toggle, pulse, blink, timed, stop, pulses."""

from typing import Annotated

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, Turn, command
from gpio_bridge.chip import Pulse as OnePulse
from gpio_bridge.edges.detectors import Pattern
from gpio_bridge.lines.line import GpioLine
from gpio_bridge.lines.outputs import Output, Pulsed, PwmLine
from gpio_bridge.targets import Target, Targets, wrong_direction

Seconds = Annotated[float, Meta(ge=0.001, le=86400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Micros = Annotated[int, Meta(ge=0, le=10_000_000)]

LONGEST = 3600.0  # s of a command that waits for its end


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


class LineCommands:
    """What can be done with lines of the configuration."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    @command(holds="exchange")
    async def toggle(self, device: str, arguments: Target, turn: Turn) -> bool:
        """Turn an output over; the result is its value."""
        return await self._targets.line(arguments, Output).toggle()

    @command(holds="exchange", timeout=LONGEST)
    async def pulse(self, device: str, arguments: Pulse, turn: Turn) -> None:
        """Pulse an output; done when it is off again."""
        output = self._targets.line(arguments, Output)
        pattern = Pattern(True, arguments.seconds, arguments.seconds, arguments.count)
        if pattern.seconds > LONGEST:
            raise BadRequest(
                f"that takes {pattern.seconds:g} s; allowed: {LONGEST:g}; `blink` "
                "goes on by itself"
            )
        await output.run(pattern, turn.release)

    @command(holds="exchange")
    async def blink(self, device: str, arguments: Blink, turn: Turn) -> None:
        """Let an output blink by itself."""
        output = self._targets.line(arguments, Output)
        pattern = Pattern(True, arguments.on, arguments.off, arguments.count)
        await output.start(pattern)

    @command(holds="exchange")
    async def timed(self, device: str, arguments: Timed, turn: Turn) -> None:
        """Set an output for a time, then to the opposite by itself."""
        output = self._targets.line(arguments, Output)
        pattern = Pattern(arguments.value, arguments.seconds, 0.0, 1)
        await output.start(pattern)

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
        found = self._targets.line(arguments, GpioLine)
        if isinstance(found, Output):
            await found.stop()
        elif isinstance(found, Pulsed):
            await found.off()
        else:
            raise wrong_direction(found)

    @command(holds="exchange")
    async def pulses(self, device: str, arguments: Pulses, turn: Turn) -> None:
        """Repeat several pulses in each subcycle on a line of direction pwm."""
        found = self._targets.line(arguments, PwmLine)
        period = arguments.subcycle / 1e6
        await found.play(period, _in_order(arguments.pulses, period))


def _in_order(wanted: list[PulseOf], period: float) -> list[OnePulse]:
    """Return the pulses in order, in seconds.

    Raise BadRequest when they overlap or leave the subcycle.
    """
    pulses = sorted(OnePulse(each.start / 1e6, each.width / 1e6) for each in wanted)
    latest = period * (1 + 1e-9)
    end = 0.0
    for pulse in pulses:
        if pulse.start < end or pulse.start + pulse.width > latest:
            start = round(pulse.start * 1e6)
            width = round(pulse.width * 1e6)
            raise BadRequest(
                f"the pulse from {start} us for {width} us overlaps another, or "
                "leaves the subcycle"
            )
        end = pulse.start + pulse.width
    return pulses
