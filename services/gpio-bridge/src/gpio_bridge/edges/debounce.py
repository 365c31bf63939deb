"""Debouncing: the filters that decide which edges count.

No I/O and no clock; the time (ns) is passed in. A filter takes edges in order; `due` is
when it needs its next `tick`. Once nothing is due, `value` is that of the last edge.
"""

from collections.abc import Sequence
from typing import Protocol

from gpio_bridge.chip import Edge


class Filter(Protocol):
    value: bool  # as the filter sees it
    due: int | None  # ns at which `tick` has something to do

    def edge(self, edge: Edge) -> Sequence[Edge]:
        """Take an edge; return those that count now."""

    def tick(self, now: int) -> Sequence[Edge]:
        """Return the edges that count now that time has passed."""


class Unfiltered:
    """Every edge counts."""

    due: int | None = None

    def __init__(self, value: bool) -> None:
        self.value = value

    def edge(self, edge: Edge) -> Sequence[Edge]:
        self.value = edge.value
        return (edge,)

    def tick(self, now: int) -> Sequence[Edge]:
        return ()


class Settle:
    """An edge counts when the level has not changed for a time.

    Its time is when that was known, as in the kernel.
    """

    def __init__(self, value: bool, period: float) -> None:
        self.value = value
        self.due: int | None = None
        self._period = round(period * 1e9)
        self._last: Edge | None = None

    def edge(self, edge: Edge) -> Sequence[Edge]:
        stable = self.tick(edge.time)  # what was due before this edge
        self._take(edge)
        return stable

    def tick(self, now: int) -> Sequence[Edge]:
        if self.due is None or now < self.due or self._last is None:
            return ()
        settled = self._last
        at = self.due
        self.due = None
        self._last = None
        if settled.value == self.value:
            return ()
        self.value = settled.value
        return (self._stamped(settled, at),)

    def _take(self, edge: Edge) -> None:
        self._last = edge
        self.due = edge.time + self._period

    def _stamped(self, edge: Edge, at: int) -> Edge:
        return edge._replace(time=at)


class Glitch(Settle):
    """Pulses shorter than a time are dropped, with both of their edges.

    What counts keeps the time of its edge.
    """

    def _take(self, edge: Edge) -> None:
        # an edge that repeats its value begins nothing
        if self._last is None or edge.value != self._last.value:
            super()._take(edge)

    def _stamped(self, edge: Edge, at: int) -> Edge:
        return edge


class Lockout:
    """The first edge counts at once, then none for a time: RPIO's debounce.

    Edges to a value that is not `wanted` never count and lock nothing out. A level that
    changed meanwhile and stays is no edge that counts; only `value` follows.

    Source: docs/protocols/gpio.md, 5
    """

    def __init__(
        self, value: bool, period: float, wanted: Sequence[bool] = (True, False)
    ) -> None:
        self.value = value
        self.due: int | None = None
        self._period = round(period * 1e9)
        self._wanted = wanted
        self._true = value

    def edge(self, edge: Edge) -> Sequence[Edge]:
        self.tick(edge.time)
        self._true = edge.value
        if self.due is not None:
            return ()
        self.value = edge.value
        if edge.value not in self._wanted:
            return ()
        self.due = edge.time + self._period
        return (edge,)

    def tick(self, now: int) -> Sequence[Edge]:
        if self.due is not None and now >= self.due:
            self.due = None
            self.value = self._true
        return ()
