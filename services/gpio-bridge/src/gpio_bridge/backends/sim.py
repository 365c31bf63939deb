"""A chip in this process.

Levels, pulls, wires between chips, edges with time stamps, lost edges on request.

It behaves as the kernel's character devices do: lines are exclusive, a request has
numbered edges, debouncing settles.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from busbar.bridge.errors import DeviceRefused, LinkLost, UnknownTarget
from gpio_bridge.chip import Edge, Heard, LineInfo, LineSettings, NoEdges, Pulse
from gpio_bridge.edges.debounce import Settle

LINES = 54  # as on a BCM2711


class Net:
    """What is connected to one another: it has one level."""

    def __init__(self, pin: "Pin") -> None:
        self.pins = [pin]
        self.level = False

    def settle(self) -> None:
        """Find the level.

        Low wins over high, whoever drives wins over pulls, and a floating net keeps its
        level.
        """
        driven = [
            level
            for pin in self.pins
            for level in (pin.outside, pin.driven)
            if level is not None
        ]
        pulls = [pin.pull for pin in self.pins if pin.pull in ("up", "down")]
        level = all(driven) if driven else (pulls[0] == "up" if pulls else self.level)
        if level != self.level:
            self.level = level
            for pin in self.pins:
                pin.moved()

    def join(self, other: "Net") -> None:
        """Become one with another net."""
        if other is self:
            return
        self.pins += other.pins
        for pin in other.pins:
            pin.net = self
            if self.level != other.level:
                pin.moved()
        self.settle()


class Pin:
    """One line of a simulated chip: its level at the metal, and who has it."""

    def __init__(self, chip: "SimChip", offset: int) -> None:
        self.chip, self.offset = chip, offset
        self.settings = LineSettings("in")
        self.request: SimRequest | None = None
        self.holder = ""  # who has it: one of us, or somebody else
        self.outside: bool | None = None  # driven by somebody outside
        self.net = Net(self)
        self.can_tell = True  # of its edges
        self.lose = 0  # edges to lose
        self._seq = 0
        self._debounce: Settle | None = None

    @property
    def value(self) -> bool:
        return self.net.level != self.settings.active_low

    @property
    def settled(self) -> bool:
        """The value as it is read.

        With debouncing, the one that has settled, as in the kernel.
        """
        return self._debounce.value if self._debounce else self.value

    @property
    def pull(self) -> str:
        return (
            self.settings.pull
            if self.settings.direction == "in" or self.settings.drive != "push_pull"
            else "off"
        )

    @property
    def driven(self) -> bool | None:
        """The level that it drives, None = none."""
        about = self.settings
        if about.direction != "out":
            return None
        level = about.value != about.active_low
        passive = {"open_drain": True, "open_source": False}.get(about.drive)
        return None if level is passive else level

    def take(self, settings: LineSettings, request: "SimRequest") -> None:
        """Be requested; as_is changes nothing.

        What the settings themselves bring about is no edge yet.
        """
        self.configure(settings)
        self.request, self._seq = request, 0

    def configure(self, settings: LineSettings) -> None:
        old = self.settings
        if settings.direction == "as_is":
            low = settings.active_low
            settings = replace(
                old,
                edges=False,
                debounce=0.0,
                active_low=low,
                value=self.net.level != low,
            )
        if settings.pull == "as_is":
            settings = replace(settings, pull=old.pull)
        self.settings = settings
        self.net.settle()
        self._debounce = (
            Settle(self.value, settings.debounce) if settings.debounce else None
        )

    def write(self, value: bool) -> None:
        self.settings = replace(self.settings, value=value)
        self.net.settle()

    def moved(self) -> None:
        """Tell of an edge."""
        if self.request is None or not self.settings.edges:
            return
        edge = Edge(self.offset, self.value, self.chip.now(), 0)
        if self._debounce is None:
            self._tell(edge)
            return
        for each in self._debounce.edge(edge):
            self._tell(each)
        if self._debounce.due is not None:
            self.chip.later(self._debounce.due, self._look)

    def _look(self) -> None:
        for each in self._debounce.tick(self.chip.now()) if self._debounce else ():
            self._tell(each)

    def _tell(self, edge: Edge) -> None:
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
        self.name, self.label, self.count = name, label, count
        self.names = list(names) or [f"GPIO{offset}" for offset in range(count)]
        self.pins = [Pin(self, offset) for offset in range(count)]
        self.waves: dict[int, SimPulses] = {}
        self.failing: LinkLost | None = None  # raised instead of opening it
        self.broken: Callable[[LinkLost], None] = lambda error: None
        self._watchers: list[Callable[[LineInfo], None]] = []

    # What somebody at the header can do.

    def drive(self, offset: int, level: bool | None) -> None:
        """Drive a line from outside; None lets it go."""
        self.pins[offset].outside = level
        self.pins[offset].net.settle()

    def unplug(self) -> None:
        """Be gone, until `plug`."""
        self.failing = LinkLost(f"{self.label}: no such device")
        self.broken(self.failing)

    def plug(self) -> None:
        self.failing = None

    def level(self, offset: int) -> bool:
        """Return the level at the metal."""
        return self.pins[offset].net.level

    def wire(self, offset: int, other: "SimChip", there: int) -> None:
        """Connect two lines."""
        self.pins[offset].net.join(other.pins[there].net)

    def occupy(self, offset: int, consumer: str) -> None:
        """Let somebody else have a line; "" gives it back."""
        self.pins[offset].holder = consumer
        self.changed(offset)

    # The seam.

    def info(self, offset: int) -> LineInfo:
        pin = self.pins[offset]
        about = pin.settings
        return LineInfo(
            offset,
            self.names[offset],
            bool(pin.holder),
            pin.holder,
            "out" if about.direction == "out" else "in",
            "unknown" if about.pull == "as_is" else about.pull,
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
        heard: Heard | None = None,
        consumer: str = "busbar",
    ) -> "SimRequest":
        for offset, settings in lines.items():
            if offset >= self.count:
                raise DeviceRefused(
                    f"{self.label} has no line {offset}; allowed: 0 to {self.count - 1}"
                )
            if self.pins[offset].holder:
                raise DeviceRefused(
                    f"line {offset} is busy: {self.pins[offset].holder!r} holds it"
                )
            if settings.edges and not self.pins[offset].can_tell:
                raise NoEdges(f"line {offset} has no interrupt")
        request = SimRequest(self, list(lines), heard)
        for offset, settings in lines.items():
            self.pins[offset].holder = consumer
            self.pins[offset].take(settings, request)
            self.changed(offset)
        return request

    def watch(self, changed: Callable[[LineInfo], None]) -> None:
        self._watchers.append(changed)

    async def close(self) -> None:
        self._watchers.clear()
        for request in {pin.request for pin in self.pins if pin.request}:
            await request.release()

    # Time, and who is told.

    def now(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def later(self, at: int, what: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_at(at / 1e9, what)

    def changed(self, offset: int) -> None:
        for each in self._watchers:
            each(self.info(offset))


class SimRequest:
    """Lines that are ours."""

    def __init__(
        self, chip: SimChip, offsets: Sequence[int], heard: Heard | None
    ) -> None:
        self._chip, self._offsets, self._heard = chip, offsets, heard

    def tell(self, edge: Edge) -> None:
        if self._heard is not None:
            self._heard([edge])

    async def read(self, offset: int) -> bool:
        return self._chip.pins[offset].settled

    async def write(self, offset: int, value: bool) -> None:
        if self._chip.pins[offset].settings.direction != "out":
            raise DeviceRefused(f"line {offset} is no output")
        self._chip.pins[offset].write(value)

    async def configure(self, lines: Mapping[int, LineSettings]) -> None:
        for offset, settings in lines.items():
            self._chip.pins[offset].configure(settings)
            self._chip.changed(offset)

    async def release(self) -> None:
        for offset in self._offsets:
            pin = self._chip.pins[offset]
            if pin.request is self:
                pin.request, pin.holder = None, ""
                self._chip.changed(offset)


@dataclass
class SimPulses:
    """Pulses on a line: kept, not played."""

    chip: SimChip
    offset: int
    by: str = "sim"
    period: float = 0.0  # s
    pulses: Sequence[Pulse] = field(default_factory=tuple)

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        self.period, self.pulses = period, tuple(pulses)

    async def stop(self) -> None:
        self.pulses = ()

    async def close(self, keep: bool = False) -> None:
        self.chip.pins[self.offset].holder = ""
        self.chip.changed(self.offset)
        if not keep:
            self.pulses = ()

    @classmethod
    async def take(cls, chip: SimChip, offset: int) -> "SimPulses":
        """Take a free line for pulses; it is an output then, and low."""
        chip.pins[offset].configure(LineSettings("out"))
        chip.pins[offset].holder = "busbar"
        chip.changed(offset)
        chip.waves[offset] = made = cls(chip, offset)
        return made
