"""Lines that tell: inputs, buttons, counters, frequencies, encoders."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from busbar.describe import Property
from busbar.errors import BusbarError
from gpio_bridge import settings
from gpio_bridge.behaviours import Button, Clicks, Counter, Encoder, Frequency, Hold, LongPress, Losses, Press
from gpio_bridge.chip import Edge, LineSettings, NoEdges, Pull, Request
from gpio_bridge.filters import Filter, Glitch, Lockout, Unfiltered
from gpio_bridge.line import Line, ended, released, shown

POLL = 0.05  # s between looks at a line without an interrupt
NAMES = {True: "rising", False: "falling"}

L = TypeVar("L", settings.In, settings.Counter, settings.Frequency, settings.Encoder)


class Listener(Line[L]):
    """Hears edges of its lines, filters them, and hands on those that count; what stays is always the true level."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.filters: dict[int, Filter] = {}
        self._losses = Losses()
        self._request: Request | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._polling: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    def counts(self, edge: Edge, lost: int) -> None:
        """Take an edge that has come through the filter; `lost` came before it and was never seen."""

    def follows(self, offset: int, value: bool, at: int) -> None:
        """Take the value that a line has now."""

    def dues(self) -> Iterator[int | None]:
        """Return the times (ns) at which `passed` has something to do."""
        yield from (each.due for each in self.filters.values())

    def passed(self, now: int) -> None:
        """Do what time asks for."""

    async def open(self) -> None:
        about = self._settings(edges=True)
        try:
            self._request = await self.place.chip.request(dict.fromkeys(self.offsets, about), self.heard)
        except NoEdges:
            about = self._settings(edges=False)
            self._request = await self.place.chip.request(dict.fromkeys(self.offsets, about))
            self._polling = asyncio.create_task(self._poll(), name=f"poll-{self.name}")
        for offset in self.offsets:
            value = await self._request.read(offset)
            self.filters[offset] = self._filter(value)
            self.follows(offset, value, self.now())

    async def close(self, stopping: bool = False) -> None:
        request, self._request = self._request, None
        if self._timer is not None:
            self._timer.cancel()
        await ended(self._polling)
        await ended(self._checking)
        await released(request)

    async def refresh(self) -> None:
        """Read the lines; what an edge should have told is put right."""
        for offset in self.offsets:
            if self._request is not None:
                self._true(offset, await self._request.read(offset))

    async def read(self, offset: int) -> bool:
        """Return the value of one of its lines now."""
        assert self._request is not None
        return await self._request.read(offset)

    async def pull(self, pull: Pull) -> None:
        """Change the pull."""
        self.about = replace(self.about, pull=pull)
        if self._request is not None:
            changed = self._settings(edges=self._polling is None)
            await self._request.configure(dict.fromkeys(self.offsets, changed))

    def level(self) -> bool | None:
        return self.filters[self.offsets[0]].value if self.filters and self._request is not None else None

    def heard(self, edges: Sequence[Edge]) -> None:
        """Take edges of the chip, in order."""
        self.place.clock.compare()
        for edge in edges:
            lost, filter_ = self._losses.gap(edge), self.filters.get(edge.offset)
            if filter_ is None:
                continue  # it came before the first reading, which is newer
            if lost:
                self._lost(lost)
            self._passed(edge.offset, filter_, filter_.edge(edge), lost, edge.time)
        self._arm()

    def now(self) -> int:
        return round(self._loop.time() * 1e9)

    def _passed(self, offset: int, filter_: Filter, edges: Sequence[Edge], lost: int, now: int) -> None:
        for each in edges:
            self.counts(each, lost)
            self.follows(offset, each.value, each.time)
            lost = 0
        self.follows(offset, filter_.value, now)

    def _arm(self) -> None:
        """Look again when something is due."""
        due = min((each for each in self.dues() if each is not None), default=None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and self._request is not None:
            self._timer = self._loop.call_at(due / 1e9, self._look, due)

    def _look(self, due: int) -> None:
        now = max(due, self.now())  # a timer may come a moment early
        for offset, filter_ in self.filters.items():
            self._passed(offset, filter_, filter_.tick(now), 0, now)
        self.passed(now)
        self._arm()

    def _true(self, offset: int, value: bool) -> None:
        filter_ = self.filters[offset]
        if filter_.due is None and value != filter_.value:
            filter_.value = value
            self.follows(offset, value, self.now())
            self._arm()

    def _lost(self, count: int) -> None:
        self.place.lost(self.name, count)
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check(), name=f"check-{self.name}")

    async def _check(self) -> None:
        try:
            await self.refresh()
        except BusbarError as error:
            self.place.outlet.bad([self.name], error)

    async def _poll(self) -> None:
        """Look at lines that cannot tell."""
        numbers = dict.fromkeys(self.offsets, 0)
        while True:
            await asyncio.sleep(getattr(self.about, "poll", POLL))
            with contextlib.suppress(BusbarError):
                for offset in self.offsets:
                    value = await self._request.read(offset) if self._request else False
                    if value != self._raw(offset):
                        numbers[offset] += 1
                        self.heard([Edge(offset, value, self.now(), numbers[offset])])

    def _raw(self, offset: int) -> bool:
        return self.filters[offset].value if offset in self.filters else False

    def _settings(self, edges: bool) -> LineSettings:
        about, debounce = self.about, self.about.debounce
        settle = debounce.time if debounce and debounce.mode == "settle" and edges else 0.0
        return LineSettings("in", about.pull, active_low=about.active_low, edges=edges, debounce=settle)

    def _filter(self, value: bool) -> Filter:
        match self.about.debounce:
            case settings.Debounce(mode="glitch", time=time):
                return Glitch(value, time)
            case settings.Debounce(mode="lockout", time=time):
                return Lockout(value, time)
        return Unfiltered(value)


class Input(Listener[settings.In]):
    """A level; its edges as events, and what a finger does with it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._value: bool | None = None
        self._buttons = list(_buttons(self.about.press)) if self.about.press else []

    @classmethod
    def properties(cls, about: settings.In) -> Iterator[Property]:
        yield shown(about, bool)

    def counts(self, edge: Edge, lost: int) -> None:
        name = NAMES[edge.value]
        if self.about.edges not in ("both", name):
            return
        fields = {"line": self.name, "edge": name, "value": edge.value, "line_seq": edge.seq}
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
        self._counter, self._frequency = Counter(), Frequency(self.about.interval)
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
        await super().close(stopping)
        self._say()

    async def refresh(self) -> None:
        await super().refresh()
        self._say()

    async def set(self, suffix: str, value: Any) -> Any:
        self._counter.count, self._offset = 0, value
        self._say()
        return value

    def counts(self, edge: Edge, lost: int) -> None:
        wanted = self.about.edges
        if lost and self.about.debounce is None:  # edges alternate, so their number says how many were wanted
            self._counter.count += lost if wanted == "both" else (lost + (self._before != (wanted == "rising"))) // 2
        self._before = edge.value
        if wanted in ("both", NAMES[edge.value]):
            self._counter.edge(edge)
            self._frequency.edge(edge)

    def follows(self, offset: int, value: bool, at: int) -> None:
        self._before = value

    async def _report(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(self.about.interval)

    def _say(self) -> None:
        scale = self.about.scale
        self.say(_rounded(self._offset + self._counter.count * scale))
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
        if self.about.edges == NAMES[edge.value]:
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
