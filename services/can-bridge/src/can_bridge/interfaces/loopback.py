"""A bus within this process: what one device sends, the others on it receive."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from busbar.codecs.can import Frame, Mask, accepts
from can_bridge.interfaces.interface import Health

QUEUE_LIMIT = 20_000  # frames that one device may leave unread


class Loopback:
    """One device on the bus."""

    echoes = False
    skipped = refused = 0

    def __init__(self, bus: "set[Loopback]") -> None:
        self.dropped = 0
        self._bus = bus
        self._queue: deque[Frame] = deque()
        self._masks: Sequence[Mask] | None = None
        self._ready = asyncio.Event()

    async def receive(self) -> Sequence[Frame]:
        await self._ready.wait()
        self._ready.clear()
        frames = list(self._queue)
        self._queue.clear()
        return frames

    async def send(self, frame: Frame) -> None:
        stamped = frame._replace(time=round(time.time(), 6))
        for each in self._bus:
            if each is not self:
                each.put(stamped)

    def put(self, frame: Frame) -> None:
        """Take a frame of another device; drop the oldest when there are too many."""
        if not accepts(self._masks, frame):
            return
        if len(self._queue) >= QUEUE_LIMIT:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(frame)
        self._ready.set()

    def accept(self, masks: Sequence[Mask] | None) -> None:
        self._masks = masks

    def cyclic(self, frame: Frame, period: float, count: int) -> None:
        """Return None: it has no clock."""

    async def health(self) -> Health:
        return Health("active")


BUS: set[Loopback] = set()  # the one of this process


@contextlib.asynccontextmanager
async def open_loopback(bus: set[Loopback] = BUS) -> AsyncIterator[Loopback]:
    """Join a bus, by default that of this process."""
    device = Loopback(bus)
    bus.add(device)
    try:
        yield device
    finally:
        bus.discard(device)
