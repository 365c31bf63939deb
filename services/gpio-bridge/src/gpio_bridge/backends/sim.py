"""Simulated chip in this process: levels, pulls, wires, edges, lost edges on request.

It behaves as the kernel's character devices do: lines are exclusive, a request has
numbered edges, debouncing settles.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from busbar.bridge.errors import DeviceRefused, LinkLost, UnknownTarget
from gpio_bridge.chip import Edge, LineInfo, LineSettings, NoEdges, OnEdges, Pulse
from gpio_bridge.edges.debounce import Settle

LINES = 54  # as on a BCM2711


class Net:
    """Pins that are connected to one another: they have one level."""

    def __init__(self, pin: "Pin") -> None:
        self.pins = [pin]
        self.level = False

    def settle(self) -> None:
        """Find the level.

        Low wins over high, whoever drives wins over pulls, and a floating net keeps its
        level.
        """
        level = self._driven()
        if level is None:
            level = self._pulled()
        if level is not None and level != self.level:
            self.level = level
            for pin in self.pins:
                pin.report_edge()

    def _driven(self) -> bool | None:
        driven = None
        for pin in self.pins:
            for level in (pin.outside, pin.driven):
                if level is False:
                    return False
                driven = driven or level
        return driven

    def _pulled(self) -> bool | None:
        for pin in self.pins:
            if pin.pull in ("up", "down"):
                return pin.pull == "up"
        return None

    def join(self, other: "Net") -> None:
        """Become one with another net."""
        if other is self:
            return
        self.pins += other.pins
        for pin in other.pins:
            pin.net = self
            if self.level != other.level:
                pin.report_edge()
        self.settle()


class Pin:
    """One line of a simulated chip: its level at the metal, and who has it."""

    def __init__(self, chip: "SimChip", offset: int) -> None:
        self.chip = chip
        self.offset = offset
        self.settings = LineSettings("in")
        self.request: SimRequest | None = None
        self.holder = ""  # the consumer that has it
        self.outside: bool | None = None  # driven from outside the chip
        self.net = Net(self)
        self.has_interrupt = True
        self.lose = 0  # edges to lose
        self._seq = 0
        self._debounce: Settle | None = None

    @property
    def value(self) -> bool:
        return self.net.level != self.settings.active_low

    @property
    def reading(self) -> bool:
        """The value as it is read: with debouncing, the one that has settled."""
        if self._debounce is not None:
            return self._debounce.value
        return self.value

    @property
    def pull(self) -> str:
        about = self.settings
        if about.direction != "in" and about.drive == "push_pull":
            return "off"
        return about.pull

    @property
    def driven(self) -> bool | None:
        """The level that it drives, None if it drives none."""
        about = self.settings
        if about.direction != "out":
            return None
        level = about.value != about.active_low
        passive = {"open_drain": True, "open_source": False}.get(about.drive)
        return None if level is passive else level

    def take(self, settings: LineSettings, request: "SimRequest") -> None:
        """Let a request have the pin; as_is changes nothing.

        What the settings themselves bring about is no edge yet.
        """
        self.configure(settings)
        self.request = request
        self._seq = 0

    def configure(self, settings: LineSettings) -> None:
        if settings.direction == "as_is":
            settings = self._as_is(settings.active_low)
        if settings.pull == "as_is":
            settings = replace(settings, pull=self.settings.pull)
        self.settings = settings
        self.net.settle()
        self._debounce = None
        if settings.debounce:
            self._debounce = Settle(self.value, settings.debounce)

    def _as_is(self, active_low: bool) -> LineSettings:
        return replace(
            self.settings,
            edges=False,
            debounce=0.0,
            active_low=active_low,
            value=self.net.level != active_low,
        )

    def write(self, value: bool) -> None:
        self.settings = replace(self.settings, value=value)
        self.net.settle()

    def report_edge(self) -> None:
        """Report an edge to whoever has requested the line."""
        if self.request is None or not self.settings.edges:
            return
        edge = Edge(self.offset, self.value, self.chip.now(), 0)
        if self._debounce is None:
            self._report(edge)
            return
        for each in self._debounce.edge(edge):
            self._report(each)
        if self._debounce.due is not None:
            self.chip.call_at(self._debounce.due, self._look)

    def _look(self) -> None:
        if self._debounce is None:
            return
        for each in self._debounce.tick(self.chip.now()):
            self._report(each)

    def _report(self, edge: Edge) -> None:
        self._seq += 1
        if self.lose:
            self.lose -= 1
        elif self.request is not None:
            self.request.tell(edge._replace(seq=self._seq))


class SimChip:
    """A simulated chip; it outlives the sessions that open it, as a chip does."""

    def __init__(
        self,
        name: str = "sim",
        label: str = "sim",
        count: int = LINES,
        names: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.label = label
        self.count = count
        self.names = list(names) or [f"GPIO{offset}" for offset in range(count)]
        self.pins = [Pin(self, offset) for offset in range(count)]
        self.waves: dict[int, SimPulses] = {}
        self.failing: LinkLost | None = None  # raised instead of opening it
        self.on_broken: Callable[[LinkLost], None] = lambda error: None
        self._watchers: list[Callable[[LineInfo], None]] = []

    # What a person at the header can do.

    def drive(self, offset: int, level: bool | None) -> None:
        """Drive a line from outside; None lets it go."""
        self.pins[offset].outside = level
        self.pins[offset].net.settle()

    def unplug(self) -> None:
        """Remove the chip, until `plug`."""
        self.failing = LinkLost(f"{self.label}: no such device")
        self.on_broken(self.failing)

    def plug(self) -> None:
        self.failing = None

    def level(self, offset: int) -> bool:
        """Return the level at the metal."""
        return self.pins[offset].net.level

    def wire(self, offset: int, other: "SimChip", there: int) -> None:
        """Connect two lines."""
        self.pins[offset].net.join(other.pins[there].net)

    def occupy(self, offset: int, consumer: str) -> None:
        """Let another program have a line; "" gives it back."""
        self.pins[offset].holder = consumer
        self.notify(offset)

    # The interface of a chip.

    def info(self, offset: int) -> LineInfo:
        pin = self.pins[offset]
        about = pin.settings
        direction: Literal["in", "out"] = "out" if about.direction == "out" else "in"
        pull = "unknown" if about.pull == "as_is" else about.pull
        return LineInfo(
            offset,
            self.names[offset],
            bool(pin.holder),
            pin.holder,
            direction,
            pull,
            about.drive,
            about.active_low,
        )

    def offset(self, name: str) -> int:
        if name not in self.names:
            raise UnknownTarget(
                f"no line {name!r} on {self.label}; there are: "
                f"{', '.join(self.names[:12])}, ..."
            )
        return self.names.index(name)

    async def request(
        self,
        lines: Mapping[int, LineSettings],
        on_edges: OnEdges | None = None,
        consumer: str = "busbar",
    ) -> "SimRequest":
        for offset, settings in lines.items():
            self._check(offset, settings)
        request = SimRequest(self, list(lines), on_edges)
        for offset, settings in lines.items():
            self.pins[offset].holder = consumer
            self.pins[offset].take(settings, request)
            self.notify(offset)
        return request

    def _check(self, offset: int, settings: LineSettings) -> None:
        if offset >= self.count:
            raise DeviceRefused(
                f"{self.label} has no line {offset}; allowed: 0 to {self.count - 1}"
            )
        pin = self.pins[offset]
        if pin.holder:
            raise DeviceRefused(f"line {offset} is busy: {pin.holder!r} holds it")
        if settings.edges and not pin.has_interrupt:
            raise NoEdges(f"line {offset} has no interrupt")

    def watch(self, on_change: Callable[[LineInfo], None]) -> None:
        self._watchers.append(on_change)

    async def close(self) -> None:
        self._watchers.clear()
        for request in {pin.request for pin in self.pins if pin.request}:
            await request.release()

    # For its pins and requests.

    def now(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def call_at(self, at: int, what: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_at(at / 1e9, what)

    def notify(self, offset: int) -> None:
        """Report the state of a line to those who watch."""
        for each in self._watchers:
            each(self.info(offset))


class SimRequest:
    """Lines that are ours."""

    def __init__(
        self, chip: SimChip, offsets: Sequence[int], on_edges: OnEdges | None
    ) -> None:
        self._chip = chip
        self._offsets = offsets
        self._on_edges = on_edges

    def tell(self, edge: Edge) -> None:
        if self._on_edges is not None:
            self._on_edges([edge])

    async def read(self, offset: int) -> bool:
        return self._chip.pins[offset].reading

    async def write(self, offset: int, value: bool) -> None:
        if self._chip.pins[offset].settings.direction != "out":
            raise DeviceRefused(f"line {offset} is no output")
        self._chip.pins[offset].write(value)

    async def configure(self, lines: Mapping[int, LineSettings]) -> None:
        for offset, settings in lines.items():
            self._chip.pins[offset].configure(settings)
            self._chip.notify(offset)

    async def release(self) -> None:
        for offset in self._offsets:
            pin = self._chip.pins[offset]
            if pin.request is self:
                pin.request = None
                pin.holder = ""
                self._chip.notify(offset)


@dataclass
class SimPulses:
    """Pulses on a line: kept, not played."""

    chip: SimChip
    offset: int
    by: str = "sim"
    period: float = 0.0  # s
    pulses: Sequence[Pulse] = field(default_factory=tuple)

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        self.period = period
        self.pulses = tuple(pulses)

    async def stop(self) -> None:
        self.pulses = ()

    async def close(self, keep: bool = False) -> None:
        self.chip.pins[self.offset].holder = ""
        self.chip.notify(self.offset)
        if not keep:
            self.pulses = ()

    @classmethod
    async def take(cls, chip: SimChip, offset: int) -> "SimPulses":
        """Take a free line for pulses; it is an output then, and low."""
        chip.pins[offset].configure(LineSettings("out"))
        chip.pins[offset].holder = "busbar"
        chip.notify(offset)
        pulses = cls(chip, offset)
        chip.waves[offset] = pulses
        return pulses
