"""One bus and all that goes on with it.

Who may send, who listens to what, what is sent again and again.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from busbar.bridge.errors import BadRequest, Forbidden, Overloaded, UnknownTarget
from busbar.codecs.can import FD, SENT, Frame, Mask
from can_bridge.interfaces.interface import Bus, Cyclic, Timed

T = TypeVar("T")
# frames that a command may leave unread: twice the longest ISO-TP message
LISTENER_LIMIT = 20_000
# periodic frames of one bus; the kernel's timers and our loop carry them
CYCLIC_LIMIT = 200


class Listener(Generic[T]):
    """What came for one command."""

    def __init__(
        self, wanted: Callable[[T], bool], masks: Sequence[Mask] | None
    ) -> None:
        self.wanted, self.masks = wanted, masks
        self._queue: deque[T] = deque()
        self._ready = asyncio.Event()

    def put(self, item: T) -> None:
        """Keep it; beyond the limit the first ones count: they are the answer."""
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
    """Commands that wait for something to come."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.all: list[Listener[T]] = []
        self._changed = changed

    @contextlib.contextmanager
    def listen(
        self, wanted: Callable[[T], bool], masks: Sequence[Mask] | None = None
    ) -> Iterator[Listener[T]]:
        """Listen from here on.

        `masks` is what the interface has to let through for it, None = everything.
        """
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


@dataclass(frozen=True)
class Periodic:
    """What is sent again and again, and how it was asked for."""

    cyclic: Cyclic
    frame: Frame
    period: float  # s
    count: int


class Line:
    """What commands and protocols do with a bus."""

    def __init__(
        self,
        name: str,
        bus: Bus,
        masks: Sequence[Mask] | None,
        *,
        sends: bool,
        fd: bool,
        own: bool,
    ) -> None:
        self.name, self.bus = name, bus
        self.frames: Listeners[Frame] = Listeners(self._accept)
        self.echoed: Callable[[Sequence[Frame]], None] = lambda frames: None
        self.sent: Callable[[Sequence[Frame]], None] = lambda frames: None
        self._masks, self._sends, self._fd, self._own = masks, sends, fd, own
        self._periodic: dict[str, Periodic] = {}
        self._accept()

    def want(self, masks: Sequence[Mask] | None) -> None:
        """Let the interface pass these frames, and what commands listen to; None = all."""
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
                    (f"{error.message}; {done} of {len(frames)} frames are sent"),
                    sent=done,
                ) from error

    def start(self, name: str, frame: Frame, period: float, count: int = 0) -> None:
        """Send a frame again and again, in place of what had this name.

        Raise as `send`.
        """
        self._check([frame])
        names = self.periodic
        if name in names:
            self.stop(name)
        elif len(names) >= CYCLIC_LIMIT:
            raise Overloaded(f"{CYCLIC_LIMIT} periodic frames are being sent already")
        cyclic = self.bus.cyclic(frame, period, count)
        if cyclic is None:
            cyclic = Timed(
                f"{self.name}: periodic frame {name}", self._out, frame, period, count
            )
        self._periodic[name] = Periodic(cyclic, frame, period, count)

    def update(self, name: str, frame: Frame) -> None:
        """Send this now, and from now on in place of what is sent again and again."""
        old = self._periodic[name]
        if (old.frame.key, old.frame.flags) == (frame.key, frame.flags):
            old.cyclic.update(frame)
        else:  # another database has another identifier for it
            self.start(name, frame, old.period, old.count)

    def stop(self, name: str) -> None:
        """Send it no more; raise UnknownTarget."""
        if name not in self._periodic:
            listed = ", ".join(self._periodic) or "none"
            raise UnknownTarget(f"no periodic frame {name!r:.60}; there are: {listed}")
        self._periodic.pop(name).cyclic.stop()

    @property
    def periodic(self) -> list[str]:
        """The names of what is sent again and again.

        What has been sent often enough is forgotten.
        """
        for name in [name for name, each in self._periodic.items() if each.cyclic.done]:
            self.stop(name)
        return list(self._periodic)

    def close(self) -> None:
        """End everything that is sent again and again."""
        for name in list(self._periodic):
            self.stop(name)

    async def _out(self, frame: Frame) -> None:
        await self.bus.send(frame)
        self.sent([frame])
        self._echo(frame)

    def _check(self, frames: Sequence[Frame]) -> None:
        if not self._sends:
            raise Forbidden(
                "refused: this bus is listened to only (`listen_only` or "
                "`direction: "
                "receive`)"
            )
        if not self._fd and any(frame.flags & FD for frame in frames):
            raise BadRequest(
                "fd: this bus is a classic one (`fd: true` in the configuration "
                "allows "
                "it)"
            )

    def _echo(self, frame: Frame) -> None:
        if self._own and not self.bus.echoes:
            self.echoed(
                [frame._replace(time=round(time.time(), 6), flags=frame.flags | SENT)]
            )

    def _accept(self) -> None:
        wanted: list[Mask] | None = None if self._masks is None else list(self._masks)
        for listener in self.frames.all:
            wanted = (
                None
                if wanted is None or listener.masks is None
                else [*wanted, *listener.masks]
            )
        self.bus.accept(wanted)
