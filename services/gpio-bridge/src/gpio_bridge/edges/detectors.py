"""Detectors of what edges mean: clicks, long presses, frequencies, turns, losses.

No I/O and no clock; times are ns. A detector of a button takes values that changed;
`due` is when it needs its next `tick`.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gpio_bridge.chip import Edge

NS = 1_000_000_000
QUIET = 2.0  # periods without an edge after which a frequency falls
# edges that one window holds at most: beyond 1 kHz the window is shorter
PERIODS_KEPT = 1000


@dataclass(frozen=True)
class Press:
    """One press of a button."""

    kind: Literal["click", "double", "long", "hold"]
    time: int  # ns
    count: int = 1  # of a hold: which repetition
    held: float = 0.0  # s


class Button(Protocol):
    due: int | None

    def edge(self, edge: Edge) -> Sequence[Press]:
        """Take an edge that counts."""

    def tick(self, now: int) -> Sequence[Press]:
        """Return what time has brought."""


class Clicks:
    """Presses shorter than `longest`.

    A click, or with `window` between two of them (s) a double click.
    """

    def __init__(self, window: float | None, longest: float | None) -> None:
        self.due: int | None = None
        self._window = _nanoseconds(window)
        self._longest = _nanoseconds(longest)
        self._pressed: int | None = None
        self._first: Press | None = None  # a click that may become a double one

    def edge(self, edge: Edge) -> Sequence[Press]:
        before = self.tick(edge.time)
        if edge.value:
            self._pressed = edge.time
            self.due = None  # a second press has come in time
            return before
        return [*before, *self._release(edge.time)]

    def tick(self, now: int) -> Sequence[Press]:
        if self.due is None or now < self.due or self._first is None:
            return ()
        first = self._first
        self._first = None
        self.due = None
        return (first,)

    def _release(self, now: int) -> Sequence[Press]:
        pressed = self._pressed
        if pressed is None:
            return ()
        first = self._first
        self._pressed = None
        self._first = None
        if self._longest is not None and now - pressed >= self._longest:
            return () if first is None else (first,)
        held = (now - pressed) / NS
        if first is not None:
            return (Press("double", now, held=held),)
        click = Press("click", now, held=held)
        if self._window is None:
            return (click,)
        self._first = click
        self.due = now + self._window
        return ()


class LongPress:
    """A press detected while the button is still down, `after` so long (s)."""

    def __init__(self, after: float) -> None:
        self.due: int | None = None
        self._after = round(after * NS)

    def edge(self, edge: Edge) -> Sequence[Press]:
        before = self.tick(edge.time)
        self.due = edge.time + self._after if edge.value else None
        return before

    def tick(self, now: int) -> Sequence[Press]:
        due = self.due
        if due is None or now < due:
            return ()
        self.due = None
        return (Press("long", due, held=self._after / NS),)


class Hold:
    """Repeats every `every` s while the button is down, first `after` s."""

    def __init__(self, after: float, every: float) -> None:
        self.due: int | None = None
        self._after = round(after * NS)
        self._every = round(every * NS)
        self._pressed = 0
        self._count = 0

    def edge(self, edge: Edge) -> Sequence[Press]:
        before = self.tick(edge.time)
        self._pressed = edge.time
        self._count = 0
        self.due = edge.time + self._after if edge.value else None
        return before

    def tick(self, now: int) -> Sequence[Press]:
        """Return one repetition; those that came too late are left out."""
        if self.due is None or now < self.due:
            return ()
        self._count += 1 + (now - self.due) // self._every
        first = self._pressed + self._after
        self.due = first + self._count * self._every
        held = (now - self._pressed) / NS
        return (Press("hold", now, self._count, held),)


class Frequency:
    """Edges per second over a window (s), falling towards 0 when they stop coming."""

    def __init__(self, window: float) -> None:
        self._window = round(window * NS)
        self._number = 0
        # time and number of each that was seen
        self._edges: deque[tuple[int, int]] = deque(maxlen=PERIODS_KEPT)

    def edge(self, edge: Edge, count: int = 1) -> None:
        """Take an edge; `count` is more where others before it were lost."""
        self._number += count
        self._edges.append((edge.time, self._number))

    def value(self, now: int) -> float:
        """Return the frequency (Hz).

        Two edges are needed, within ten windows of each other.
        """
        edges = self._edges
        while len(edges) > 2 and now - edges[1][0] > self._window:
            edges.popleft()
        if len(edges) < 2:
            return 0.0
        first, low = edges[0]
        last, high = edges[-1]
        period = (last - first) / (high - low)
        silent = now - last
        if period <= 0 or silent > 10 * self._window:
            return 0.0
        if silent > QUIET * period:
            return NS / silent
        return NS / period


# (A, B before, A, B now) -> quarter step; none where nothing or both have changed
_QUADRATURE = {
    (False, False, True, False): 1,
    (True, False, True, True): 1,
    (True, True, False, True): 1,
    (False, True, False, False): 1,
    (True, False, False, False): -1,
    (True, True, True, False): -1,
    (False, True, True, True): -1,
    (False, False, False, True): -1,
}


class Encoder:
    """A rotary encoder in quadrature; `detent` quarter steps are one step."""

    def __init__(self, a: bool, b: bool, detent: int = 4) -> None:
        self.position = 0  # steps
        self._state = (a, b)
        self._detent = detent
        self._quarters = 0

    def turn(self, a: bool, b: bool) -> int:
        """Take both values after an edge; return the steps made: 1, 0 or -1."""
        quarter = _QUADRATURE.get((*self._state, a, b), 0)
        self._state = (a, b)
        self._quarters += quarter
        if abs(self._quarters) < self._detent:
            return 0
        self._quarters = 0
        self.position += quarter
        return quarter


class Losses:
    """Edges that were never seen: gaps in their numbers, and edges that repeat.

    The kernel reads the level after the interrupt: where a pulse is too short for that,
    it reports the same edge twice.

    Source: docs/protocols/gpio.md, 4.2
    """

    def __init__(self) -> None:
        self._last: dict[int, Edge] = {}

    def gap(self, edge: Edge) -> int:
        """Return how many edges of its line were lost before this one, at least."""
        before = self._last.get(edge.offset)
        self._last[edge.offset] = edge
        if before is None:
            return max(0, edge.seq - 1)
        missing = max(0, edge.seq - before.seq - 1)
        same = edge.value == before.value
        if same == (missing % 2 == 1):  # they alternate
            return missing
        return missing + 1


@dataclass(frozen=True)
class Pattern:
    """A pattern that an output plays by itself.

    `value` for `first` s, then the opposite for `then` s, `count` times.
    """

    value: bool
    first: float  # s
    then: float  # s
    count: int | None  # None: without end

    @property
    def seconds(self) -> float:
        """How long it takes, without the pause behind the last one."""
        if self.count is None:
            return math.inf
        return self.count * (self.first + self.then) - self.then


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * NS)
