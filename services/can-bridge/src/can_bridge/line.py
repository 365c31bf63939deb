"""One bus and all that goes on with it: who may send, who listens to what, what is sent again and again."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from busbar.codecs.can import FD, SENT, Frame, Mask
from busbar.errors import BadRequest, Forbidden, Overloaded, UnknownTarget
from can_bridge.bus import Bus, Cyclic

T = TypeVar("T")
LISTENER_LIMIT = 4096  # frames that a command may leave unread: a whole ISO-TP message has less
CYCLIC_LIMIT = 200  # periodic frames of one bus; the kernel's timers and our loop carry them


class Listener(Generic[T]):
    """What came for one command."""

    def __init__(self, wanted: Callable[[T], bool], masks: Sequence[Mask] | None) -> None:
        self.wanted, self.masks = wanted, masks
        self._queue: deque[T] = deque(maxlen=LISTENER_LIMIT)
        self._ready = asyncio.Event()

    def put(self, item: T) -> None:
        self._queue.append(item)
        self._ready.set()

    async def get(self) -> T:
        """Wait for the next one; the caller limits the wait."""
        while not self._queue:
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()


class Listeners(Generic[T]):
    """Commands that wait for something to come."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.all: list[Listener[T]] = []
        self._changed = changed

    @contextlib.contextmanager
    def listen(self, wanted: Callable[[T], bool], masks: Sequence[Mask] | None = None) -> Iterator[Listener[T]]:
        """Listen from here on; `masks` is what the interface has to let through for it, None = everything."""
        listener = Listener(wanted, masks)
        self.all.append(listener)
        self._changed()
        try:
            yield listener
        finally:
            self.all.remove(listener)
            self._changed()

    def take(self, items: Iterable[T]) -> None:
        """Hand over what somebody waits for."""
        if self.all:
            for item in items:
                for listener in self.all:
                    if listener.wanted(item):
                        listener.put(item)


class Line:
    """What commands and protocols do with a bus."""

    def __init__(self, bus: Bus, masks: Sequence[Mask] | None, *, sends: bool, fd: bool, own: bool) -> None:
        self.bus = bus
        self.frames: Listeners[Frame] = Listeners(self._accept)
        self.echoed: Callable[[Sequence[Frame]], None] = lambda frames: None
        self.sent: Callable[[Sequence[Frame]], None] = lambda frames: None
        self._masks, self._sends, self._fd, self._own = masks, sends, fd, own
        self._cyclic: dict[str, Cyclic] = {}
        self._accept()

    def want(self, masks: Sequence[Mask] | None) -> None:
        """Let the interface pass these frames, and what commands listen to; None = all."""
        self._masks = masks
        self._accept()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames in order; raise Forbidden, BadRequest, Overloaded with how many are out, LinkLost."""
        self._check(frames)
        for done, frame in enumerate(frames):
            try:
                await self.bus.send(frame)
            except Overloaded as error:
                raise Overloaded(f"{error.message}; {done} of {len(frames)} frames are sent", sent=done) from error
            self.sent([frame])
            self._echo(frame)

    def start(self, name: str, frame: Frame, period: float, count: int = 0) -> None:
        """Send a frame again and again, in place of what had this name; raise as `send`, TooLarge."""
        self._check([frame])
        if name not in self._cyclic and len(self._cyclic) >= CYCLIC_LIMIT:
            raise Overloaded(f"{CYCLIC_LIMIT} periodic frames are being sent already")
        if name in self._cyclic:
            self._cyclic.pop(name).stop()
        self._cyclic[name] = self.bus.cyclic(frame, period, count)

    def update(self, name: str, frame: Frame) -> None:
        """Change what is sent again and again."""
        self._cyclic[name].update(frame)

    def stop(self, name: str) -> None:
        """Send it no more; raise UnknownTarget."""
        if name not in self._cyclic:
            listed = ", ".join(self._cyclic) or "none"
            raise UnknownTarget(f"no periodic frame {name!r:.60}; there are: {listed}")
        self._cyclic.pop(name).stop()

    @property
    def periodic(self) -> list[str]:
        """The names of what is sent again and again."""
        return list(self._cyclic)

    def close(self) -> None:
        """End everything that is sent again and again."""
        for cyclic in self._cyclic.values():
            cyclic.stop()
        self._cyclic.clear()

    def _check(self, frames: Sequence[Frame]) -> None:
        if not self._sends:
            raise Forbidden("refused: this bus is listened to only (`listen_only` or `direction: receive`)")
        if not self._fd and any(frame.flags & FD for frame in frames):
            raise BadRequest("fd: this bus is a classic one (`fd: true` in the configuration allows it)")

    def _echo(self, frame: Frame) -> None:
        if self._own and not self.bus.echoes:
            self.echoed([frame._replace(time=round(time.time(), 6), flags=frame.flags | SENT)])

    def _accept(self) -> None:
        wanted: list[Mask] | None = None if self._masks is None else list(self._masks)
        for listener in self.frames.all:
            wanted = None if wanted is None or listener.masks is None else [*wanted, *listener.masks]
        self.bus.accept(wanted)
