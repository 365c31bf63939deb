"""Lines that tell: inputs, buttons, counters, frequencies, encoders."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from busbar.describe import Property
from gpio_bridge import settings
from gpio_bridge.behaviours import Button, Clicks, Encoder, Frequency, Hold, LongPress, Press
from gpio_bridge.chip import Edge
from gpio_bridge.line import WANTED, Listener, ended, shown

NAMES = {True: "rising", False: "falling"}


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
        return told if told and not self._buttons else WANTED["both"]  # a finger and a mere level need both debounced

    def confirmed(self) -> None:
        self.say(self._value)

    def counts(self, edge: Edge, lost: int) -> None:
        if edge.value not in WANTED[self.about.edges]:
            return
        fields = {"line": self.name, "edge": NAMES[edge.value], "value": edge.value, "line_seq": edge.seq}
        fields |= {"timestamp_ns": edge.time, "lost": lost}
        self.place.outlet.event("edge", fields, self.place.clock.at(edge.time))

    def follows(self, offset: int, value: bool, at: int) -> None:
        if value == self._value:
            return
        first, self._value = self._value is None, value
        self.say(value, at=at)
        self.place.touched()
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
            fields = {"line": self.name, "kind": each.kind, "count": each.count, "held": round(each.held, 6)}
            self.place.outlet.event("press", fields, self.place.clock.at(each.time))


class CounterLine(Listener[settings.Counter]):
    """Pulses: their number in units of the configuration, and their rate."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._count, self._frequency = 0, Frequency(self.about.interval)
        self._offset = 0.0  # what a set has asked for
        self._before = False
        self._reporting: asyncio.Task[None] | None = None

    @classmethod
    def properties(cls, about: settings.Counter) -> Iterator[Property]:
        yield shown(about, float, "rw", unit=about.unit)
        yield shown(about, float, suffix="rate", unit=f"{about.unit}/s" if about.unit else "Hz")

    async def open(self) -> None:
        await super().open()
        self._reporting = asyncio.create_task(self._report(), name=f"report-{self.name}")

    async def close(self, stopping: bool = False) -> None:
        await ended(self._reporting)
        if self._request is not None:
            self._say()
        await super().close(stopping)

    def confirmed(self) -> None:
        self._say()

    async def set(self, suffix: str, value: Any) -> Any:
        self._count, self._offset = 0, value
        self._say()
        return value

    def counts(self, edge: Edge, lost: int) -> None:
        wanted = self.wanted()
        if lost and self.about.debounce is None:  # edges alternate, so their number says how many were wanted
            self._count += lost if len(wanted) == 2 else (lost + (self._before not in wanted)) // 2
        self._before = edge.value
        if edge.value in wanted:
            self._count += 1
            self._frequency.edge(edge)

    def follows(self, offset: int, value: bool, at: int) -> None:
        self._before = value

    async def _report(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(self.about.interval)

    def _say(self) -> None:
        scale = self.about.scale
        self.say(_rounded(self._offset + self._count * scale))
        self.say(_rounded(self._frequency.value(self.now()) * abs(scale)), "rate")


class FrequencyLine(Listener[settings.Frequency]):
    """Pulses a second, scaled."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._frequency = Frequency(self.about.interval)
        self._reporting: asyncio.Task[None] | None = None

    @classmethod
    def properties(cls, about: settings.Frequency) -> Iterator[Property]:
        yield shown(about, float, unit=about.unit)

    async def open(self) -> None:
        await super().open()
        self._reporting = asyncio.create_task(self._report(), name=f"report-{self.name}")

    async def close(self, stopping: bool = False) -> None:
        await ended(self._reporting)
        await super().close(stopping)

    def counts(self, edge: Edge, lost: int) -> None:
        if edge.value in self.wanted():
            self._frequency.edge(edge)

    async def _report(self) -> None:
        while True:
            self.say(_rounded(self._frequency.value(self.now()) * self.about.scale))
            await asyncio.sleep(self.about.interval)


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
        missed, step = self._encoder.missed, self._encoder.turn(a, b)
        if self._encoder.missed > missed:
            self.place.lost(self.name, 1)
        if step:
            fields = {"line": self.name, "steps": step, "position": self._encoder.position}
            self.place.outlet.event("turn", fields, self.place.clock.at(at))
            self.say(self._encoder.position, at=at)


def _buttons(about: settings.Press) -> Iterator[Button]:
    yield Clicks(about.double, about.long)
    if about.long is not None:
        yield LongPress(about.long)
    if about.hold is not None:
        yield Hold(about.hold_after, about.hold)


def _rounded(value: float) -> float:
    """Return nine significant digits: 3 * 0.1 is 0.3."""
    return float(f"{value:.9g}")
