"""Lines that are driven: outputs with their patterns, PWM, servos."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from busbar.bridge import BusbarError, Cancelled, OutOfRange, Property, values
from gpio_bridge import settings
from gpio_bridge.chip import LineSettings, Pulse, Pulses, Request
from gpio_bridge.edges.detectors import Pattern
from gpio_bridge.lines.line import GpioLine, end, line_property, release


class Output(GpioLine[settings.Out]):
    """A level of ours, read back after each write."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._request: Request | None = None
        self._value: bool | None = None
        self._playing: asyncio.Task[BusbarError | None] | None = None

    @classmethod
    def properties(cls, about: settings.Out) -> Iterator[Property]:
        yield line_property(about, bool, "rw")

    async def open(self) -> None:
        """Take the line.

        With `initial: keep` it stays as it is: there is no edge outside.
        """
        (offset,) = self.offsets
        wanted = self._value_of(self.about.initial)
        request = self.context.chip.request
        if wanted is not None:
            self._request = await request({offset: self._settings(wanted)})
        else:
            as_is = LineSettings(active_low=self.about.active_low)
            self._request = await request({offset: as_is})
            kept = await self._request.read(offset)
            await self._request.configure({offset: self._settings(kept)})
        await self.refresh()

    async def close(self, stopping: bool = False) -> None:
        await self.stop()
        request = self._request
        wanted = self._value_of(self.about.at_exit)
        try:
            if stopping and wanted is not None and request is not None:
                await self.write(wanted)
        finally:
            self._request = None
            await release(request)

    async def refresh(self) -> None:
        if self._request is not None:
            self._value = await self._request.read(self.offsets[0])
            self.publish(self._value)
            self.context.on_change()

    async def set(self, suffix: str, value: Any) -> Any:
        await self.stop()
        return await self.write(value)

    async def set_for_broker_loss(self) -> None:
        wanted = self._value_of(self.about.on_broker_loss)
        if wanted is not None:
            await self.set("", wanted)

    def level(self, offset: int) -> bool | None:
        return self._value if self._request is not None else None

    async def write(self, value: bool) -> bool:
        """Write, read back, publish and return what was read."""
        assert self._request is not None
        await self._request.write(self.offsets[0], value)
        await self.refresh()
        return bool(self._value)

    async def read(self, offset: int) -> bool:
        """Return its value now."""
        assert self._request is not None
        return await self._request.read(offset)

    async def toggle(self) -> bool:
        await self.stop()
        await self.refresh()
        return await self.write(not self._value)

    async def stop(self) -> None:
        """End a pattern, wherever it is."""
        playing = self._playing
        self._playing = None
        await end(playing)

    async def start(self, pattern: Pattern) -> "asyncio.Task[BusbarError | None]":
        """Let a pattern run by itself, instead of another.

        Raise what keeps it from beginning.
        """
        await self.stop()
        await self.write(pattern.value)
        self._playing = asyncio.create_task(
            self._play(pattern), name=f"pattern-{self.name}"
        )
        return self._playing

    async def run(self, pattern: Pattern, begun: Callable[[], None]) -> None:
        """Let a pattern run to its end.

        Raise Cancelled when another command takes the line over once it has begun.
        """
        try:
            task = await self.start(pattern)
            begun()
            failure = await task
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            if ours is None or not ours.cancelling():
                raise Cancelled(f"another command has taken over {self.name}") from None
            if self._request is not None:  # else it was released meanwhile
                await self.write(not pattern.value)
            raise
        if failure is not None:
            raise failure

    async def _play(self, pattern: Pattern) -> BusbarError | None:
        """Play what follows the first step; a late one does not delay the rest.

        Return what has ended it early.
        """
        loop = asyncio.get_running_loop()
        seconds = {pattern.value: pattern.first, not pattern.value: pattern.then}
        at = loop.time()
        value = pattern.value
        played = 0
        try:
            while played != pattern.count:
                at = max(at + seconds[value], loop.time())
                await asyncio.sleep(at - loop.time())
                value = not value
                await self.write(value)
                played += value is not pattern.value
        except BusbarError as error:
            self.outlet.bad([self.name], error)
            return error
        return None

    def _value_of(self, level: settings.Level) -> bool | None:
        """Return the value of a level, None to keep it.

        High and low are at the pin, on and off are values.
        """
        if level == "keep":
            return None
        if level in ("on", "off"):
            return level == "on"
        return (level == "high") != self.about.active_low

    def _settings(self, value: bool) -> LineSettings:
        about = self.about
        return LineSettings(
            "out", about.pull, about.drive, about.active_low, value=value
        )


P = TypeVar("P", settings.Pwm, settings.Servo)


class Pulsed(GpioLine[P]):
    """Pulses that repeat, by hardware or software."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pulses: Pulses | None = None

    @property
    def by(self) -> str | None:
        return None if self._pulses is None else self._pulses.by

    async def open(self) -> None:
        self._pulses = await self.context.pulses(self.about, self.offsets[0])
        await self.begin()

    async def begin(self) -> None:
        """Do what the configuration says for the start."""
        raise NotImplementedError

    async def close(self, stopping: bool = False) -> None:
        pulses = self._pulses
        self._pulses = None
        if pulses is not None:
            await pulses.close(keep=stopping and self.about.at_exit == "keep")

    async def set_for_broker_loss(self) -> None:
        if self.about.on_broker_loss == "off":
            await self.off()

    async def off(self) -> None:
        """Stop after the pulse that runs."""
        raise NotImplementedError

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        """Repeat pulses in each period (s); stop where there are none."""
        assert self._pulses is not None
        if pulses:
            await self._pulses.repeat(period, pulses)
        else:
            await self._pulses.stop()

    async def repeat_one(self, period: float, width: float) -> None:
        """Repeat one pulse of a width (s); stop where it is 0."""
        pulses = [Pulse(0.0, width)] if width else []
        await self.repeat(period, pulses)


class PwmLine(Pulsed[settings.Pwm]):
    """A duty cycle (%) and a frequency (Hz)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._duty = self.about.initial
        self._frequency = self.about.frequency

    @classmethod
    def properties(cls, about: settings.Pwm) -> Iterator[Property]:
        yield line_property(about, values.number(0, 100), "rw", unit="%")
        yield line_property(
            about, values.number(0.1, 10_000_000), "rw", "frequency", unit="Hz"
        )

    async def begin(self) -> None:
        await self._apply(self._duty, self._frequency)

    async def refresh(self) -> None:
        self.publish(self._duty)
        self.publish(self._frequency, "frequency")

    async def set(self, suffix: str, value: Any) -> Any:
        if suffix == "frequency":
            await self._apply(self._duty, value)
        else:
            await self._apply(value, self._frequency)
        return value

    async def off(self) -> None:
        await self._apply(0.0, self._frequency)

    async def play(self, period: float, pulses: Sequence[Pulse]) -> None:
        """Repeat pulses as they are given, until a duty cycle is set."""
        await self.repeat(period, pulses)
        width = sum(each.width for each in pulses)
        self._duty = 100 * width / period
        self._frequency = 1 / period
        await self.refresh()

    async def _apply(self, duty: float, frequency: float) -> None:
        await self.repeat_one(1 / frequency, duty / 100 / frequency)
        self._duty = duty
        self._frequency = frequency
        await self.refresh()


class ServoLine(Pulsed[settings.Servo]):
    """The width of a servo's pulses (us), or its angle (degrees).

    0 or null stops them after the pulse that runs.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._width = 0.0  # us

    @classmethod
    def properties(cls, about: settings.Servo) -> Iterator[Property]:
        low, high = sorted(about.angle_range)
        yield line_property(
            about, values.number(0, about.pulse_range[1]), "rw", unit="us"
        )
        yield line_property(
            about, values.number(low, high) | None, "rw", "angle", unit="deg"
        )

    async def begin(self) -> None:
        await self.off()  # hardware may still pulse: `at_exit: keep` of a run before

    async def refresh(self) -> None:
        self.publish(self._width)
        self.publish(self._angle(), "angle")

    async def set(self, suffix: str, value: Any) -> Any:
        width = self._width_at(value) if suffix == "angle" else value
        low, high = self.about.pulse_range
        if width and not low <= width <= high:
            allowed = f"0 (off), or {low:g} to {high:g}"
            raise OutOfRange(f"{width:g} us; allowed: {allowed}")
        await self.repeat_one(1 / self.about.frequency, width / 1e6)
        self._width = width
        await self.refresh()
        return value

    async def off(self) -> None:
        await self.set("", 0.0)

    def _width_at(self, angle: float | None) -> float:
        if angle is None:
            return 0.0
        low, high = self.about.pulse_range
        first, last = self.about.angle_range
        travel = (angle - first) * (high - low)
        return low + travel / (last - first)

    def _angle(self) -> float | None:
        if not self._width:
            return None
        low, high = self.about.pulse_range
        first, last = self.about.angle_range
        travel = (self._width - low) * (last - first)
        return round(first + travel / (high - low), 3)
