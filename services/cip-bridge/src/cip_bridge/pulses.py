"""Pulses that wait for each other: those of one join go out one by one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from busbar.bridge import Overloaded, Turn
from busbar.codecs.cip import Join
from cip_bridge.joins import generic

PULSES_LIMIT = 100  # of one join, waiting and under way
SECONDS_LIMIT = 20.0  # s that all of them take
PULSE_TIMEOUT = SECONDS_LIMIT + 10.0  # s for the last of them


@dataclass
class _Queue:
    """Pulses of one join."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0
    seconds: float = 0.0


class Pulses:
    """Queues of one device, by join."""

    def __init__(self) -> None:
        self._queues: dict[Join, _Queue] = {}

    @contextlib.asynccontextmanager
    async def turn(self, join: Join, seconds: float, turn: Turn) -> AsyncIterator[None]:
        """Wait for the pulses before; raise Overloaded if they are too many.

        To wait does not hold the link.
        """
        queue = self._queues.setdefault(join, _Queue())
        if queue.count >= PULSES_LIMIT or queue.seconds + seconds > SECONDS_LIMIT:
            raise Overloaded(
                f"{queue.count} pulses of {generic(join)} wait already; allowed: "
                f"{PULSES_LIMIT}, of {SECONDS_LIMIT:g} s together"
            )
        queue.count += 1
        queue.seconds += seconds
        try:
            if queue.lock.locked():
                turn.release()
            async with queue.lock:
                yield
        finally:
            queue.count -= 1
            queue.seconds -= seconds
            if not queue.count:
                del self._queues[join]
