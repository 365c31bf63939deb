"""The seam to a CAN bus.

What the rest of the bridge knows of an interface, whatever drives it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from busbar.bridge.errors import BusbarError
from busbar.codecs.can import Frame, Mask

log = logging.getLogger("busbar.can")


class Health(NamedTuple):
    """What an interface tells of itself; None where it does not."""

    state: str | None = None  # active, warning, passive, off
    bitrate: int | None = None  # bit/s
    data_bitrate: int | None = None  # bit/s
    tx_errors: int | None = None
    rx_errors: int | None = None
    # s after bus-off that the interface itself waits; 0 = it does not restart
    restart: float | None = None


class Cyclic(Protocol):
    """A frame that is being sent again and again."""

    @property
    def done(self) -> bool:
        """True once it was sent as often as was asked for."""

    def update(self, frame: Frame) -> None:
        """Send this now, and from now on in place of the other one, which has the same identifier."""

    def stop(self) -> None:
        """Send it no more."""


class Bus(Protocol):
    """One open bus."""

    # it tells of what we sent by itself where that was asked for: the frame was on the
    # wire then
    echoes: bool

    @property
    def dropped(self) -> int:
        """Frames that were lost because we did not read them in time."""

    @property
    def skipped(self) -> int:
        """Pieces of input that were no frames."""

    @property
    def refused(self) -> int:
        """Commands and frames of ours that an adapter did not take."""

    async def receive(self) -> Sequence[Frame]:
        """Wait for frames and return those that are there, in order.

        Raise LinkLost, ProtocolError.
        """

    async def send(self, frame: Frame) -> None:
        """Send one frame.

        Raise Overloaded when there is no room for it in time, LinkLost, BadRequest.
        """

    def accept(self, masks: Sequence[Mask] | None) -> None:
        """Receive only what one of the filters lets pass, as far as the interface can.

        None = all.
        """

    def cyclic(self, frame: Frame, period: float, count: int) -> Cyclic | None:
        """Send a frame every `period` s, `count` times (0 = until stopped).

        The first at once.

        None where the interface has no clock of its own; raise LinkLost.
        """

    async def health(self) -> Health:
        """Look how the interface is; raise LinkLost when it is down or gone."""


class Timed:
    """A cyclic frame by the clock of this process, for interfaces that have none."""

    def __init__(
        self,
        name: str,
        send: Callable[[Frame], Awaitable[None]],
        frame: Frame,
        period: float,
        count: int,
    ) -> None:
        self._name, self._send, self._frame, self._period, self._count = (
            name,
            send,
            frame,
            period,
            count,
        )
        self._changed = asyncio.Event()
        self._told = False
        self._task = asyncio.create_task(self._run(), name=name)

    @property
    def done(self) -> bool:
        return self._task.done()

    def update(self, frame: Frame) -> None:
        self._frame = frame
        self._changed.set()

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due, sent = loop.time(), 1
        await self._out()
        while not self._count or sent < self._count:
            # what was missed is not caught up with
            due = max(due + self._period, loop.time())
            await self._pause(due)
            await self._out()
            sent += 1

    async def _pause(self, due: float) -> None:
        """Wait until then; what changes meanwhile is sent at once, in between."""
        while True:
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                return
            await self._out()

    async def _out(self) -> None:
        self._changed.clear()
        try:
            await self._send(self._frame)
        except BusbarError as error:  # this one is not sent; the next may be
            if not self._told:
                log.warning("%s: %s", self._name, error)
            self._told = True


async def readable(fd: int) -> None:
    """Wait until a file can be read."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, _done, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def writable(fd: int, timeout: float) -> None:
    """Wait until a file can be written, at most `timeout` s."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _done, ready)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await ready
    finally:
        loop.remove_writer(fd)


def _done(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
