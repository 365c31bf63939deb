"""Lines that are read: inputs, buttons, counters, frequencies, encoders."""

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
from gpio_bridge.lines.edge_line import COUNTED, EdgeLine
from gpio_bridge.lines.line import end, line_property

NAMES = {True: "rising", False: "falling"}
# significant digits
TOTAL = 15  # all that a float holds for certain
MEASURED = 9  # what stamps in ns are good for

M = TypeVar("M", settings.Counter, settings.Frequency)


class Input(EdgeLine[settings.In]):
    """A level; its edges as events, and what a finger does with it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._value: bool | None = None
        self._buttons: list[Button] = []
        if self.about.press:
            self._buttons += _buttons(self.about.press)

    @classmethod
    def properties(cls, about: settings.In) -> Iterator[Property]:
        yield line_property(about, bool)

    def counted(self) -> Sequence[bool]:
        # a finger and a mere level need both debounced
        if self._buttons:
            return COUNTED["both"]
        return super().counted() or COUNTED["both"]

    def publish_known(self) -> None:
        self.publish(self._value)

    def on_edge(self, edge: Edge, lost: int) -> None:
        if edge.value not in COUNTED[self.about.edges]:
            return
        fields = {
            "line": self.name,
            "edge": NAMES[edge.value],
            "value": edge.value,
            "line_seq": edge.seq,
            "timestamp_ns": edge.time,
            "lost": lost,
        }
        self.outlet.event("edge", fields, self.clock.at(edge.time))

    def on_value(self, offset: int, value: bool, at: int) -> None:
        before = self._value
        if value == before:
            return
        self._value = value
        self.publish(value, at=at)
        if before is not None:
            edge = Edge(offset, value, at, 0)
            for button in self._buttons:
                self._publish_presses(button.edge(edge))

    def due_times(self) -> Iterator[int | None]:
        yield from super().due_times()
        for button in self._buttons:
            yield button.due

    def tick(self, now: int) -> None:
        for button in self._buttons:
            self._publish_presses(button.tick(now))

    def _publish_presses(self, presses: Sequence[Press]) -> None:
        for each in presses:
            fields = {
                "line": self.name,
                "kind": each.kind,
                "count": each.count,
                "held": round(each.held, 6),
            }
            self.outlet.event("press", fields, self.clock.at(each.time))


class Measured(EdgeLine[M]):
    """Pulses that are counted, published every `interval`."""

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
        await end(self._reporting)
        if self._request is not None:
            self.publish_known()
        await super().close(stopping)

    def on_edge(self, edge: Edge, lost: int) -> None:
        counted = self.counted()
        counts = edge.value in counted
        pulses = int(counts)
        # edges alternate, so the number of lost ones says how many were to be counted
        if self.about.debounce is None:
            if len(counted) == 2:
                pulses += lost
            else:
                pulses += (lost + (not counts)) // 2
        if pulses:
            self.on_pulses(edge, pulses)

    def on_pulses(self, edge: Edge, pulses: int) -> None:
        """Take an edge that stands for so many pulses."""
        self._frequency.edge(edge, pulses)

    def frequency(self) -> float:
        """Return the pulses per second now."""
        return self._frequency.value(self.now())

    async def _report(self) -> None:
        while True:
            self.publish_known()
            await asyncio.sleep(self.about.interval)


class CounterLine(Measured[settings.Counter]):
    """Pulses: their number in units of the configuration, and their rate."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._count = 0
        self._offset = 0.0  # what a set has asked for

    @classmethod
    def properties(cls, about: settings.Counter) -> Iterator[Property]:
        yield line_property(about, float, "rw", unit=about.unit)
        rate_unit = f"{about.unit}/s" if about.unit else "Hz"
        yield line_property(about, float, suffix="rate", unit=rate_unit)

    def publish_known(self) -> None:
        scale = self.about.scale
        total = self._offset + self._count * scale
        rate = self.frequency() * abs(scale)
        self.publish(_rounded(total, TOTAL))
        self.publish(_rounded(rate, MEASURED), "rate")

    async def set(self, suffix: str, value: Any) -> Any:
        self._count = 0
        self._offset = value
        self.publish_known()
        return value

    def on_pulses(self, edge: Edge, pulses: int) -> None:
        super().on_pulses(edge, pulses)
        self._count += pulses


class FrequencyLine(Measured[settings.Frequency]):
    """Pulses a second, scaled."""

    @classmethod
    def properties(cls, about: settings.Frequency) -> Iterator[Property]:
        yield line_property(about, float, unit=about.unit)

    def publish_known(self) -> None:
        frequency = self.frequency() * self.about.scale
        self.publish(_rounded(frequency, MEASURED))


class EncoderLine(EdgeLine[settings.Encoder]):
    """A rotary encoder: its position, and each turn as an event."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._values: dict[int, bool] = {}
        self._encoder: Encoder | None = None

    @classmethod
    def properties(cls, about: settings.Encoder) -> Iterator[Property]:
        yield line_property(about, int, "rw")

    def publish_known(self) -> None:
        if self._encoder is not None:
            self.publish(self._encoder.position)

    async def set(self, suffix: str, value: Any) -> Any:
        if self._encoder is not None:
            self._encoder.position = value
        self.publish(value)
        return value

    def on_value(self, offset: int, value: bool, at: int) -> None:
        self._values[offset] = value
        if len(self._values) < 2:
            return
        one, other = self.offsets
        a = self._values[one]
        b = self._values[other]
        if self._encoder is None:
            self._encoder = Encoder(a, b, self.about.steps)
            self.publish(0)
            return
        step = self._encoder.turn(a, b)
        if step:
            fields = {
                "line": self.name,
                "steps": step,
                "position": self._encoder.position,
            }
            self.outlet.event("turn", fields, self.clock.at(at))
            self.publish(self._encoder.position, at=at)


def _buttons(about: settings.Press) -> Iterator[Button]:
    yield Clicks(about.double, about.long)
    if about.long is not None:
        yield LongPress(about.long)
    if about.hold is not None:
        yield Hold(about.hold_after, about.hold)


def _rounded(value: float, digits: int) -> float:
    """Return so many significant digits: 3 * 0.1 is 0.3."""
    return float(f"{value:.{digits}g}")
