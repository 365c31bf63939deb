"""A line that hears of its edges.

By interrupt or by looking, debounced, and in the end always at the true level.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from busbar.bridge.errors import BusbarError
from gpio_bridge import settings
from gpio_bridge.chip import Edge, LineSettings, NoEdges, Pull, Request
from gpio_bridge.edges.debounce import Filter, Glitch, Lockout, Settle, Unfiltered
from gpio_bridge.edges.detectors import Losses
from gpio_bridge.lines.line import Line, ended, released

POLL = 0.05  # s between looks at a line without an interrupt
WANTED = {"both": (True, False), "rising": (True,), "falling": (False,), "none": ()}

L = TypeVar("L", settings.In, settings.Counter, settings.Frequency, settings.Encoder)


class Listener(Line[L]):
    """Hears edges of its lines, filters them, and hands on those that count.

    What stays is always the true level.
    """

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
        """Take an edge that has come through the filter.

        `lost` came before it and was never seen.
        """

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
            self._request = await self.place.chip.request(
                dict.fromkeys(self.offsets, about), self.heard
            )
        except NoEdges:
            tells, about = False, self._settings(edges=False)
            self._request = await self.place.chip.request(
                dict.fromkeys(self.offsets, about)
            )
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

    def level(self, offset: int) -> bool | None:
        return (
            self.filters[offset].value
            if offset in self.filters and self._request is not None
            else None
        )

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

    def _passed(
        self, offset: int, filter_: Filter, edges: Sequence[Edge], lost: int, now: int
    ) -> None:
        for each in edges:
            self.counts(each, lost)
            self.follows(offset, each.value, each.time)
            lost = 0
        self.follows(offset, filter_.value, now)
        self.place.touched()

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
            self.place.touched()
            self._arm()

    def _lost(self, count: int) -> None:
        self.place.lost(self.name, count)
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(
                self._check(), name=f"check-{self.name}"
            )

    async def _check(self) -> None:
        try:
            await self._read_anew()
        except BusbarError as error:
            self.place.outlet.bad([self.name], error)

    async def _poll(self) -> None:
        """Look at lines that cannot tell."""
        last = {
            offset: Edge(offset, each.value, 0, 0)
            for offset, each in self.filters.items()
        }
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
        settle = (
            debounce.time if debounce and debounce.mode == "settle" and edges else 0.0
        )
        return LineSettings(
            "in", about.pull, active_low=about.active_low, edges=edges, debounce=settle
        )

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
