"""Interface of a GPIO chip, which each back end implements.

Levels are values here: `active_low` has been applied, True is active. Times are
nanoseconds of the monotonic clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from busbar.bridge.errors import LinkLost

Direction = Literal["as_is", "in", "out"]
Pull = Literal["as_is", "off", "up", "down"]
Drive = Literal["push_pull", "open_drain", "open_source"]


@dataclass(frozen=True)
class LineSettings:
    """How a line is requested; `as_is` leaves it as it is and can only be read."""

    direction: Direction = "as_is"
    pull: Pull = "as_is"
    drive: Drive = "push_pull"
    active_low: bool = False
    edges: bool = False  # report both edges
    debounce: float = 0.0  # s that a level has to settle before its edge is reported
    value: bool = False  # of an output, from the first moment


class Edge(NamedTuple):
    """One edge.

    `seq` counts the edges of a line from 1 within a request, also those that were lost.
    """

    offset: int
    value: bool
    time: int  # ns
    seq: int


@dataclass(frozen=True)
class LineInfo:
    """State of a line, whoever has it."""

    offset: int
    name: str = ""
    used: bool = False
    consumer: str = ""
    direction: Literal["in", "out"] = "in"
    pull: Literal["unknown", "off", "up", "down"] = "unknown"
    drive: Drive = "push_pull"
    active_low: bool = False


OnEdges = Callable[[Sequence[Edge]], None]


class NoEdges(Exception):
    """This line cannot report its edges: it has no interrupt."""


class Request(Protocol):
    """Lines that are ours until they are released.

    Every call raises DeviceRefused or LinkLost.
    """

    async def read(self, offset: int) -> bool:
        """Return the value of a line."""

    async def write(self, offset: int, value: bool) -> None:
        """Set an output."""

    async def configure(self, lines: Mapping[int, LineSettings]) -> None:
        """Change the settings of all lines of the request, without letting them go."""

    async def release(self) -> None:
        """Let the lines go; the chip decides what becomes of their levels."""


class Chip(Protocol):
    """One open chip."""

    name: str
    label: str
    count: int  # of its lines
    on_broken: Callable[[LinkLost], None]  # called when the chip has gone

    def info(self, offset: int) -> LineInfo:
        """Return what is known of a line."""

    def offset(self, name: str) -> int:
        """Return the line of this name; raise UnknownTarget."""

    async def request(
        self, lines: Mapping[int, LineSettings], on_edges: OnEdges | None = None
    ) -> Request:
        """Take lines, all or none.

        Raise DeviceRefused (busy, no permission), NoEdges.
        """

    def watch(self, on_change: Callable[[LineInfo], None]) -> None:
        """Report who takes, changes or releases a line, where the chip can."""

    async def close(self) -> None:
        """Release everything."""


class Pulse(NamedTuple):
    """One pulse within a period."""

    start: float  # s
    width: float  # s


class Pulses(Protocol):
    """One line that repeats pulses: a channel of hardware PWM, or software."""

    by: str  # hardware, software or sim

    async def repeat(self, period: float, pulses: Sequence[Pulse]) -> None:
        """Repeat these pulses in each period (s).

        Raise DeviceRefused for what it cannot.
        """

    async def stop(self) -> None:
        """Stay low after the period that runs: no pulse is cut."""

    async def close(self, keep: bool = False) -> None:
        """Give the line back, still pulsing if it can and `keep`."""
