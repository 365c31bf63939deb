"""Rate at which the values of a bridge change.

Below a limit each value goes out at once, above it they gather. A message of its own
costs about 200 us of CPU with its value topic and its acknowledgement, a value among
others 25 us (measured: docs/benchmarks.md).
"""

from collections.abc import Callable

WINDOW = 0.1  # s
LIMIT = 2000  # changes per second


class ChangeRate:
    """Counts changes; `fast` is what the last whole window was."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._count = 0
        self._fast = False

    def count(self, changes: int) -> None:
        """Take note of changes that are published."""
        self._roll()
        self._count += changes

    @property
    def fast(self) -> bool:
        """True when values should gather."""
        self._roll()
        return self._fast

    def _roll(self) -> None:
        passed = self._clock() - self._start
        if passed >= WINDOW:
            self._fast = self._count > LIMIT * passed
            self._start = self._clock()
            self._count = 0
