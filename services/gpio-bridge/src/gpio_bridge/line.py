"""What lines of a device have in common: how they are taken and given back, whom they tell, how they hear of edges."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from busbar.describe import Property
from busbar.errors import BusbarError, DeviceRefused, ReadOnly
from busbar.session import Outlet
from gpio_bridge import settings
from gpio_bridge.behaviours import Losses
from gpio_bridge.chip import Chip, Edge, LineSettings, NoEdges, Pull, Pulses, Request
from gpio_bridge.filters import Filter, Glitch, Lockout, Settle, Unfiltered

POLL = 0.05  # s between looks at a line without an interrupt
WANTED = {"both": (True, False), "rising": (True,), "falling": (False,), "none": ()}
STEP = 1e-3  # s; a difference from what was kept that is no noise: somebody has set the wall clock

S = TypeVar("S", bound=settings.Line)
L = TypeVar("L", settings.In, settings.Counter, settings.Frequency, settings.Encoder)


class WallClock:
    """Unix times of the kernel's stamps, in their order: the two clocks are compared once, and when one was set."""

    def __init__(self, monotonic: Callable[[], float], unix: Callable[[], float] = time.time) -> None:
        self._monotonic, self._unix = monotonic, unix
        self._ahead = self._measured()

    def compare(self) -> None:
        """See whether the wall clock was set."""
        if abs(self._unix() - self._monotonic() - self._ahead) > STEP:
            self._ahead = self._measured()

    def _measured(self) -> float:
        """Return the largest of a few: whoever is interrupted between the two readings gets less."""
        return max(self._unix() - self._monotonic() for _ in range(3))

    def at(self, stamp: int) -> float:
        """Return Unix s of monotonic ns."""
        return stamp / 1e9 + self._ahead


@dataclass
class Place:
    """What the lines of one device share."""

    chip: Chip
    outlet: Outlet
    clock: WallClock
    pulses: Callable[[settings.Pwm | settings.Servo, int], Awaitable[Pulses]]  # opens the one that fits
    touched: Callable[[], None] = lambda: None  # a level or a function has changed
    lost: Callable[[str, int], None] = lambda name, count: None


class Line(Generic[S]):
    """One line of the configuration at work, or what keeps it from working (`error`)."""

    def __init__(self, about: S, offsets: Sequence[int], place: Place) -> None:
        self.about, self.offsets, self.place = about, tuple(offsets), place
        self.error: BusbarError | None = DeviceRefused(f"{about.name} is not taken yet")

    @classmethod
    def properties(cls, about: S) -> Iterator[Property]:
        """Return what such a line shows on the bus."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self.about.name

    async def open(self) -> None:
        """Take the line and publish its values; raise DeviceRefused."""
        raise NotImplementedError

    async def close(self, stopping: bool = False) -> None:
        """Give the line back, when the bridge stops as `at_exit` says."""
        raise NotImplementedError

    async def refresh(self) -> None:
        """Read it anew."""

    async def set(self, suffix: str, value: Any) -> Any:
        """Write one of its properties: "" or what follows its name; return the value as it is then."""
        raise ReadOnly(f"{self.name} is not written")

    async def broker_lost(self) -> None:
        """Do what `on_broker_loss` says."""

    def level(self) -> bool | None:
        """Return its value as far as it is known."""
        return None

    def path(self, suffix: str) -> str:
        return f"{self.name}/{suffix}" if suffix else self.name

    def say(self, value: Any, suffix: str = "", at: int | None = None) -> None:
        """Publish a value, read at a monotonic time (ns)."""
        self.place.outlet.values({self.path(suffix): value}, None if at is None else self.place.clock.at(at))


async def ended(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task, if there is one, and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def released(request: Request | None) -> None:
    if request is not None:
        await request.release()


def shown(about: settings.Line, type_: Any, access: Any = "r", suffix: str = "", **more: Any) -> Property:
    """Return a property of a line; the first one has its title, group and class."""
    path = f"{about.name}/{suffix}" if suffix else about.name
    if not suffix:
        more |= {"title": about.title, "class_": about.class_}
    return Property(path, type_, access, group=about.group, **more)


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

    def wanted(self) -> Sequence[bool]:
        """Return the values to which an edge counts."""
        return WANTED[getattr(self.about, "edges", "both")]

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
        tells = True
        try:
            about = self._settings(edges=True)
            self._request = await self.place.chip.request(dict.fromkeys(self.offsets, about), self.heard)
        except NoEdges:
            tells, about = False, self._settings(edges=False)
            self._request = await self.place.chip.request(dict.fromkeys(self.offsets, about))
        for offset in self.offsets:
            value = await self._request.read(offset)
            self.filters[offset] = self._filter(value, settled=tells)
            self.follows(offset, value, self.now())
        if not tells:
            self._polling = asyncio.create_task(self._poll(), name=f"poll-{self.name}")

    async def close(self, stopping: bool = False) -> None:
        request, self._request = self._request, None
        if self._timer is not None:
            self._timer.cancel()
        await ended(self._polling)
        await ended(self._checking)
        await released(request)

    def confirmed(self) -> None:
        """Say again what is known: it has been read."""

    async def refresh(self) -> None:
        await self._read_anew()
        self.confirmed()

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

    async def _read_anew(self) -> None:
        """Read the lines; what an edge should have told is put right."""
        for offset in self.offsets:
            if self._request is not None:
                self._true(offset, await self._request.read(offset))

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
            await self._read_anew()
        except BusbarError as error:
            self.place.outlet.bad([self.name], error)

    async def _poll(self) -> None:
        """Look at lines that cannot tell."""
        last = {offset: Edge(offset, each.value, 0, 0) for offset, each in self.filters.items()}
        while True:
            await asyncio.sleep(getattr(self.about, "poll", POLL))
            with contextlib.suppress(BusbarError):  # `refresh` says so
                for offset, before in last.items():
                    value = await self.read(offset)
                    if value != before.value:
                        last[offset] = Edge(offset, value, self.now(), before.seq + 1)
                        self.heard([last[offset]])

    def _settings(self, edges: bool) -> LineSettings:
        about, debounce = self.about, self.about.debounce
        settle = debounce.time if debounce and debounce.mode == "settle" and edges else 0.0
        return LineSettings("in", about.pull, active_low=about.active_low, edges=edges, debounce=settle)

    def _filter(self, value: bool, settled: bool) -> Filter:
        """Return what filters the edges; `settled`: the chip has done that."""
        match self.about.debounce:
            case settings.Debounce(mode="settle", time=time) if not settled:
                return Settle(value, time)
            case settings.Debounce(mode="glitch", time=time):
                return Glitch(value, time)
            case settings.Debounce(mode="lockout", time=time):
                return Lockout(value, time, self.wanted())
        return Unfiltered(value)
