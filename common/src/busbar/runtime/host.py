"""Measurements of the machine: memory, clock, lag of the event loop."""

import asyncio
import ctypes
import resource
from pathlib import Path

_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_TIMEX_BYTES = 512  # more than struct timex on any architecture


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


def clock_synchronised() -> bool:
    """Return whether the kernel holds the wall clock for synchronised.

    False where it cannot be asked.
    """
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    return int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) not in (
        -1,
        _UNSYNCHRONISED,
    )


class Lag:
    """Measures how late the event loop is; the worst since it was last asked."""

    def __init__(self) -> None:
        self._worst = 0.0

    async def tick(self, seconds: float) -> None:
        """Sleep, and notice how much later it became."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        self._worst = max(self._worst, loop.time() - due)

    def take(self) -> float:
        worst, self._worst = self._worst, 0.0
        return round(worst, 4)
