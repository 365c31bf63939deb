"""What a device owes after a question without an answer.

The answer may still come, and must not be taken for that to the next question. A debt
ends when the connection is a new one, or when so much time has passed in silence that
nothing late can follow.
"""

import asyncio

MEMORY = 10.0  # s, or as many timeouts, that an answer may be late


class Debt:
    """What one conversation owes; `seconds` of silence settle it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None  # loop time
        self._latest = 0.0  # loop time at which it ends however much comes

    @property
    def owed(self) -> bool:
        """Whether an answer may still come."""
        return self._until is not None and self._until > self._now()

    @property
    def left(self) -> float:
        """Seconds of silence until nothing is owed any more."""
        return max(0.0, self._until - self._now()) if self._until is not None else 0.0

    def add(self, timeout: float) -> None:
        """An answer did not come within its timeout (s)."""
        self._seconds = max(self._seconds, timeout)
        self._latest = self._now() + MEMORY * max(1.0, timeout)
        self.extend()

    def extend(self) -> None:
        """Something came: what is owed may follow it."""
        self._until = min(self._now() + self._seconds, self._latest)

    async def settled(self) -> None:
        """Return when nothing is owed; whatever comes meanwhile makes it longer."""
        while (left := self.left) > 0:  # noqa: ASYNC110  # the end moves
            await asyncio.sleep(left)

    def clear(self) -> None:
        """Nothing is owed: the connection is a new one."""
        self._until = None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
