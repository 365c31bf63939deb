"""Lines that tell: inputs, buttons, counters, frequencies, encoders."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from busbar.bridge import Property
from gpio_bridge import settings
from gpio_bridge.chip import Edge
from gpio_bridge.edges.detectors import (
    Button,
    Clicks,
    Encoder,
    Frequency,
    Hold,
    LongPress,
    Press,
)
from gpio_bridge.lines.edge_line import WANTED, Listener
from gpio_bridge.lines.line import ended, shown

NAMES = {True: "rising", False: "falling"}
# significant digits: all that a float holds for certain; what stamps in ns are good for
TOTAL, MEASURED = 15, 9

M = TypeVar("M", settings.Counter, settings.Frequency)


class Input(Listener[settings.In]):
    """A level; its edges as events, and what a finger does with it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._value: bool | None = None
        self._buttons = list(_buttons(self.about.press)) if self.about.press else []

    @classmethod
    def properties(cls, about: settings.In) -> Iterator[Property]:
        yield shown(about, bool)

    def wanted(self) -> Sequence[bool]:
        told = super().wanted()
        # a finger and a mere level need both debounced
        return told if told and not self._buttons else WANTED["both"]

    def confirmed(self) -> None:
        self.say(self._value)

    def counts(self, edge: Edge, lost: int) -> None:
        if edge.value not in WANTED[self.about.edges]:
            return
        fields = {
            "line": self.name,
            "edge": NAMES[edge.value],
            "value": edge.value,
            "line_seq": edge.seq,
        }
        fields |= {"timestamp_ns": edge.time, "lost": lost}
        self.place.outlet.event("edge", fields, self.place.clock.at(edge.time))

    def follows(self, offset: int, value: bool, at: int) -> None:
        if value == self._value:
            return
        first, self._value = self._value is None, value
        self.say(value, at=at)
        if not first:
            for button in self._buttons:
                self._tell(button.edge(Edge(offset, value, at, 0)))

    def dues(self) -> Iterator[int | None]:
        yield from super().dues()
        yield from (each.due for each in self._buttons)

    def passed(self, now: int) -> None:
        for button in self._buttons:
            self._tell(button.tick(now))

    def _tell(self, presses: Sequence[Press]) -> None:
        for each in presses:
            fields = {
                "line": self.name,
                "kind": each.kind,
                "count": each.count,
                "held": round(each.held, 6),
            }
            self.place.outlet.event("press", fields, self.place.clock.at(each.time))


class Measured(Listener[M]):
    """Pulses that are counted; told every `interval`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._frequency = Frequency(self.about.interval)
        self._reporting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await super().open()
        self._reporting = asyncio.create_task(
            self._report(), name=f"report-{self.name}"
        )

    async def close(self, stopping: bool = False) -> None:
        await ended(self._reporting)
        if self._request is not None:
            self.confirmed()
        await super().close(stopping)

    def counts(self, edge: Edge, lost: int) -> None:
        wanted, missed = self.wanted(), 0
        # edges alternate, so the number of lost ones says how many were wanted
        if self.about.debounce is None:
            missed = (
                lost if len(wanted) == 2 else (lost + (edge.value not in wanted)) // 2
            )
        if pulses := missed + (edge.value in wanted):
            self.counted(edge, pulses)

    def counted(self, edge: Edge, pulses: int) -> None:
        """Take an edge that stands for so many pulses."""
        self._frequency.edge(edge, pulses)

    async def _report(self) -> None:
        while True:
            self.confirmed()
            await asyncio.sleep(self.about.interval)


class CounterLine(Measured[settings.Counter]):
    """Pulses: their number in units of the configuration, and their rate."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._count = 0
        self._offset = 0.0  # what a set has asked for

    @classmethod
    def properties(cls, about: settings.Counter) -> Iterator[Property]:
        yield shown(about, float, "rw", unit=about.unit)
        yield shown(
            about, float, suffix="rate", unit=f"{about.unit}/s" if about.unit else "Hz"
        )

    def confirmed(self) -> None:
        scale = self.about.scale
        self.say(_rounded(self._offset + self._count * scale, TOTAL))
        self.say(
            _rounded(self._frequency.value(self.now()) * abs(scale), MEASURED), "rate"
        )

    async def set(self, suffix: str, value: Any) -> Any:
        self._count, self._offset = 0, value
        self.confirmed()
        return value

    def counted(self, edge: Edge, pulses: int) -> None:
        super().counted(edge, pulses)
        self._count += pulses


class FrequencyLine(Measured[settings.Frequency]):
    """Pulses a second, scaled."""

    @classmethod
    def properties(cls, about: settings.Frequency) -> Iterator[Property]:
        yield shown(about, float, unit=about.unit)

    def confirmed(self) -> None:
        self.say(
            _rounded(self._frequency.value(self.now()) * self.about.scale, MEASURED)
        )


class EncoderLine(Listener[settings.Encoder]):
    """A rotary encoder: its position, and each turn as an event."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._values: dict[int, bool] = {}
        self._encoder: Encoder | None = None

    @classmethod
    def properties(cls, about: settings.Encoder) -> Iterator[Property]:
        yield shown(about, int, "rw")

    def confirmed(self) -> None:
        if self._encoder is not None:
            self.say(self._encoder.position)

    async def set(self, suffix: str, value: Any) -> Any:
        if self._encoder is not None:
            self._encoder.position = value
        self.say(value)
        return value

    def follows(self, offset: int, value: bool, at: int) -> None:
        self._values[offset] = value
        if len(self._values) < 2:
            return
        a, b = (self._values[each] for each in self.offsets)
        if self._encoder is None:
            self._encoder = Encoder(a, b, self.about.steps)
            self.say(0)
            return
        if step := self._encoder.turn(a, b):
            fields = {
                "line": self.name,
                "steps": step,
                "position": self._encoder.position,
            }
            self.place.outlet.event("turn", fields, self.place.clock.at(at))
            self.say(self._encoder.position, at=at)


def _buttons(about: settings.Press) -> Iterator[Button]:
    yield Clicks(about.double, about.long)
    if about.long is not None:
        yield LongPress(about.long)
    if about.hold is not None:
        yield Hold(about.hold_after, about.hold)


def _rounded(value: float, digits: int) -> float:
    """Return so many significant digits: 3 * 0.1 is 0.3."""
    return float(f"{value:.{digits}g}")
