"""Pauses between attempts to open something, and which failures are worth a warning.

One policy for the links to devices and for the broker: full jitter, twice the ceiling
after each failure, a new start after the link has held for a while.
"""

import random
from typing import NamedTuple

DOUBLINGS = 10  # more would only make large numbers


class Delays(NamedTuple):
    """Pauses in seconds: never below `least`, the ceiling from `first` to `most`."""

    least: float
    first: float
    most: float
    held: float  # a link that held this long starts again with `first`


class Backoff:
    """Counts the attempts of one link."""

    def __init__(self, delays: Delays) -> None:
        self._delays = delays
        self._attempt = 0
        self._reported: object = None

    def succeed(self) -> None:
        """Start again: the link was closed on purpose."""
        self._attempt = 0

    def fail(self, lasted: float) -> None:
        """Count an attempt that failed, or a link that broke after `lasted` seconds."""
        if lasted > self._delays.held:
            self._attempt = 0
        else:
            self._attempt += 1

    def report(self, problem: object) -> bool:
        """Return whether a problem differs from the one reported before."""
        differs = problem != self._reported
        self._reported = problem
        return differs

    def pause(self, delays: Delays | None = None) -> float:
        """Return the seconds before the next attempt, by `delays` or the usual ones."""
        chosen = delays or self._delays
        doubled = chosen.first * 2 ** min(self._attempt, DOUBLINGS)
        return random.uniform(chosen.least, min(chosen.most, doubled))
