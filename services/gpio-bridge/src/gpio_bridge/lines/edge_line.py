"""Base of lines with edges, by interrupt or by polling, debounced.

In the end the value is always the true level.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from busbar.bridge.errors import BusbarError
from gpio_bridge import settings
from gpio_bridge.chip import Edge, LineSettings, NoEdges, Pull, Request
from gpio_bridge.edges.debounce import Filter, Glitch, Lockout, Settle, Unfiltered
from gpio_bridge.edges.detectors import Losses
from gpio_bridge.lines.line import GpioLine, end, release

POLL = 0.05  # s between looks at a line without an interrupt
# values to which an edge counts
COUNTED = {
    "both": (True, False),
    "rising": (True,),
    "falling": (False,),
    "none": (),
}

L = TypeVar(
    "L",
    settings.In,
    settings.Counter,
    settings.Frequency,
    settings.Encoder,
)


class EdgeLine(GpioLine[L]):
    """Filters the edges of its lines and hands on those that count."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.filters: dict[int, Filter] = {}
        self._losses = Losses()
        self._request: Request | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._polling: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    def counted(self) -> Sequence[bool]:
        """Return the values to which an edge counts."""
        return COUNTED[getattr(self.about, "edges", "both")]

    def on_edge(self, edge: Edge, lost: int) -> None:
        """Take an edge that has come through the filter.

        `lost` came before it and was never seen.
        """

    def on_value(self, offset: int, value: bool, at: int) -> None:
        """Take the value that a line has now."""

    def due_times(self) -> Iterator[int | None]:
        """Return the times (ns) at which `tick` has something to do."""
        for filter_ in self.filters.values():
            yield filter_.due

    def tick(self, now: int) -> None:
        """Do what is due."""

    async def open(self) -> None:
        request = self.context.chip.request
        interrupts = True
        try:
            wanted = dict.fromkeys(self.offsets, self._settings(edges=True))
            self._request = await request(wanted, self.on_edges)
        except NoEdges:
            interrupts = False
            wanted = dict.fromkeys(self.offsets, self._settings(edges=False))
            self._request = await request(wanted)
        for offset in self.offsets:
            value = await self._request.read(offset)
            self.filters[offset] = self._filter(value, settled=interrupts)
            self.on_value(offset, value, self.now())
        if not interrupts:
            name = f"poll-{self.name}"
            self._polling = asyncio.create_task(self._poll(), name=name)

    async def close(self, stopping: bool = False) -> None:
        request = self._request
        self._request = None
        if self._timer is not None:
            self._timer.cancel()
        await end(self._polling)
        await end(self._checking)
        await release(request)

    def publish_known(self) -> None:
        """Publish what is known: it has been read."""

    async def refresh(self) -> None:
        await self._read_again()
        self.publish_known()

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
        if self._request is None or offset not in self.filters:
            return None
        return self.filters[offset].value

    def on_edges(self, edges: Sequence[Edge]) -> None:
        """Take edges of the chip, in order."""
        self.context.clock.compare()
        for edge in edges:
            lost = self._losses.gap(edge)
            filter_ = self.filters.get(edge.offset)
            if filter_ is None:
                continue  # it came before the first reading, which is newer
            if lost:
                self._on_lost(lost)
            try:
                counted = filter_.edge(edge)
                self._deliver(edge.offset, filter_, counted, lost, edge.time)
            except Exception as error:  # it costs this edge only
                self._fail(error)
        self._arm()

    def now(self) -> int:
        return round(self._loop.time() * 1e9)

    def _deliver(
        self, offset: int, filter_: Filter, edges: Sequence[Edge], lost: int, now: int
    ) -> None:
        for each in edges:
            self.on_edge(each, lost)
            self.on_value(offset, each.value, each.time)
            lost = 0
        self.on_value(offset, filter_.value, now)
        self.context.on_change()

    def _arm(self) -> None:
        """Look again when something is due."""
        due_times = [each for each in self.due_times() if each is not None]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_times and self._request is not None:
            due = min(due_times)
            self._timer = self._loop.call_at(due / 1e9, self._look, due)

    def _look(self, due: int) -> None:
        now = max(due, self.now())  # a timer may come a moment early
        try:
            for offset, filter_ in self.filters.items():
                counted = filter_.tick(now)
                self._deliver(offset, filter_, counted, 0, now)
            self.tick(now)
        except Exception as error:  # it costs what was due only
            self._fail(error)
        self._arm()

    async def _read_again(self) -> None:
        """Read the lines; correct what an edge should have said."""
        for offset in self.offsets:
            if self._request is not None:
                self._correct(offset, await self._request.read(offset))

    def _correct(self, offset: int, value: bool) -> None:
        filter_ = self.filters[offset]
        if filter_.due is None and value != filter_.value:
            filter_.value = value
            self.on_value(offset, value, self.now())
            self.context.on_change()
            self._arm()

    def _on_lost(self, count: int) -> None:
        self.context.on_lost(self.name, count)
        if self._checking is None or self._checking.done():
            name = f"check-{self.name}"
            self._checking = asyncio.create_task(self._check(), name=name)

    async def _check(self) -> None:
        try:
            await self._read_again()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.outlet.failed(settings.paths(self.about), error)

    async def _poll(self) -> None:
        """Look at lines that have no interrupt."""
        last: dict[int, Edge] = {}
        for offset, filter_ in self.filters.items():
            last[offset] = Edge(offset, filter_.value, 0, 0)
        while True:
            await asyncio.sleep(getattr(self.about, "poll", POLL))
            try:
                await self._look_for_edges(last)
            except BusbarError:
                continue  # `refresh` says so
            except Exception as error:
                self._fail(error)

    async def _look_for_edges(self, last: dict[int, Edge]) -> None:
        for offset, before in last.items():
            value = await self.read(offset)
            if value != before.value:
                edge = Edge(offset, value, self.now(), before.seq + 1)
                last[offset] = edge
                self.on_edges([edge])

    def _settings(self, edges: bool) -> LineSettings:
        about = self.about
        debounce = about.debounce
        settle = 0.0
        if edges and debounce and debounce.mode == "settle":
            settle = debounce.time
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
                return Lockout(value, time, self.counted())
        return Unfiltered(value)
