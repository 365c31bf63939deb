"""Traffic on one bus: sending, listening, periodic frames."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from busbar.bridge.errors import BadRequest, Forbidden, Overloaded, UnknownTarget
from busbar.codecs.can import FD, SENT, Frame, Mask
from can_bridge.interfaces.interface import CanInterface, CyclicFrame, TimedFrame

T = TypeVar("T")
# frames that a command may leave unread: twice the longest ISO-TP message
LISTENER_LIMIT = 20_000
# periodic frames of one bus; the kernel's timers and our loop carry them
CYCLIC_LIMIT = 200


class Listener(Generic[T]):
    """What one command waits for, as it comes."""

    def __init__(
        self, wanted: Callable[[T], bool], masks: Sequence[Mask] | None
    ) -> None:
        self.wanted = wanted
        self.masks = masks
        self._queue: deque[T] = deque()
        self._ready = asyncio.Event()

    def put(self, item: T) -> None:
        """Keep an item; beyond the limit the first ones count: they are the answer."""
        if len(self._queue) < LISTENER_LIMIT:
            self._queue.append(item)
            self._ready.set()

    async def get(self) -> T:
        """Wait for the next one; the caller limits the wait."""
        while not self._queue:
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()


class Listeners(Generic[T]):
    """Commands that wait for items of one kind."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.all: list[Listener[T]] = []
        self._on_change = on_change

    @contextlib.contextmanager
    def listen(
        self, wanted: Callable[[T], bool], masks: Sequence[Mask] | None = None
    ) -> Iterator[Listener[T]]:
        """Listen from here on.

        The interface has to receive `masks` for it, None = all frames.
        """
        listener = Listener(wanted, masks)
        self.all.append(listener)
        self._on_change()
        try:
            yield listener
        finally:
            self.all.remove(listener)
            self._on_change()

    def take(self, items: Iterable[T]) -> None:
        """Hand items to the listeners that want them."""
        if not self.all:
            return
        for item in items:
            for listener in self.all:
                if listener.wanted(item):
                    listener.put(item)


@dataclass(frozen=True)
class PeriodicFrame:
    """A frame that is sent periodically, and how it was asked for."""

    cyclic: CyclicFrame
    frame: Frame
    period: float  # s
    count: int


class CanTraffic:
    """Sending and listening on one bus.

    `on_sent` is called with every frame that went out, `on_echo` with what is to be
    received of them.
    """

    def __init__(
        self,
        name: str,
        bus: CanInterface,
        masks: Sequence[Mask] | None,
        *,
        sends: bool,
        fd: bool,
        own: bool,
    ) -> None:
        self.name = name
        self.bus = bus
        self.frames: Listeners[Frame] = Listeners(self._accept)
        self.on_echo: Callable[[Sequence[Frame]], None] = lambda frames: None
        self.on_sent: Callable[[Sequence[Frame]], None] = lambda frames: None
        self._masks = masks
        self._sends = sends
        self._fd = fd
        self._receive_own = own
        self._periodic: dict[str, PeriodicFrame] = {}
        self._accept()

    def accept(self, masks: Sequence[Mask] | None) -> None:
        """Receive these frames, and those that commands listen for; None = all."""
        self._masks = masks
        self._accept()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames in order.

        Raise Forbidden, BadRequest, Overloaded with how many are out, LinkLost.
        """
        self._check(frames)
        for done, frame in enumerate(frames):
            try:
                await self._out(frame)
            except Overloaded as error:
                raise Overloaded(
                    f"{error.message}; {done} of {len(frames)} frames are sent",
                    sent=done,
                ) from error

    def start(self, name: str, frame: Frame, period: float, count: int = 0) -> None:
        """Send a frame periodically, instead of the one that had this name.

        Raise as `send`.
        """
        self._check([frame])
        names = self.prune_periodic()
        if name in names:
            self.stop(name)
        elif len(names) >= CYCLIC_LIMIT:
            raise Overloaded(f"{CYCLIC_LIMIT} periodic frames are being sent already")
        cyclic = self.bus.cyclic(frame, period, count)
        if cyclic is None:
            title = f"{self.name}: periodic frame {name}"
            cyclic = TimedFrame(title, self._out, frame, period, count)
        self._periodic[name] = PeriodicFrame(cyclic, frame, period, count)

    def update(self, name: str, frame: Frame) -> None:
        """Send a frame now, and from now on instead of the periodic one."""
        old = self._periodic[name]
        if old.frame.key == frame.key and old.frame.flags == frame.flags:
            old.cyclic.update(frame)
        else:  # another database has another identifier for it
            self.start(name, frame, old.period, old.count)

    def stop(self, name: str) -> None:
        """Stop a periodic frame; raise UnknownTarget."""
        if name not in self._periodic:
            listed = ", ".join(self._periodic) or "none"
            raise UnknownTarget(f"no periodic frame {name!r:.60}; there are: {listed}")
        self._periodic.pop(name).cyclic.stop()

    def prune_periodic(self) -> list[str]:
        """Forget the periodic frames that have ended; return the other names."""
        for name, each in list(self._periodic.items()):
            if each.cyclic.poll_ended():
                self.stop(name)
        return list(self._periodic)

    def close(self) -> None:
        """Stop all periodic frames."""
        for name in list(self._periodic):
            self.stop(name)

    async def _out(self, frame: Frame) -> None:
        await self.bus.send(frame)
        self.on_sent([frame])
        if self._receive_own and not self.bus.echoes:
            flags = frame.flags | SENT
            self.on_echo([frame._replace(time=round(time.time(), 6), flags=flags)])

    def _check(self, frames: Sequence[Frame]) -> None:
        if not self._sends:
            raise Forbidden(
                "refused: this bus is listened to only "
                "(`listen_only` or `direction: receive`)"
            )
        if not self._fd and any(frame.flags & FD for frame in frames):
            raise BadRequest(
                "fd: this bus is a classic one (`fd: true` in the configuration "
                "allows it)"
            )

    def _accept(self) -> None:
        wanted = [self._masks]
        wanted += [listener.masks for listener in self.frames.all]
        self.bus.accept(join_masks(wanted))


def join_masks(parts: Iterable[Sequence[Mask] | None]) -> list[Mask] | None:
    """Return the filters of all parts together; None = all frames."""
    found: list[Mask] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return found
