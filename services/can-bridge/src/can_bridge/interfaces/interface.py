"""The seam to CAN interfaces: all that the bridge knows of one, whatever drives it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from busbar.bridge.errors import BusbarError
from busbar.codecs.can import Frame, Mask

log = logging.getLogger("busbar.can")


class Health(NamedTuple):
    """State of an interface; None where the interface does not say."""

    state: str | None = None  # active, warning, passive, off
    bitrate: int | None = None  # bit/s
    data_bitrate: int | None = None  # bit/s
    tx_errors: int | None = None
    rx_errors: int | None = None
    # s after bus-off that the interface itself waits; 0 = it does not restart
    restart: float | None = None


class CyclicFrame(Protocol):
    """A frame that is sent periodically."""

    def poll_ended(self) -> bool:
        """Return whether it was sent as often as asked for."""

    def update(self, frame: Frame) -> None:
        """Send this frame now and from now on; its identifier is the same."""

    def stop(self) -> None:
        """Stop sending."""


class CanInterface(Protocol):
    """One open interface."""

    # True: it returns our own frames where asked to, once they were on the wire
    echoes: bool

    @property
    def dropped(self) -> int:
        """Frames that were lost because they were not read in time."""

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
        """Receive what passes one filter, as far as the interface can; None = all."""

    def cyclic(self, frame: Frame, period: float, count: int) -> CyclicFrame | None:
        """Send a frame now and every `period` s, `count` times (0 = until stopped).

        Return None where the interface has no clock of its own; raise LinkLost.
        """

    async def health(self) -> Health:
        """Read the state of the interface; raise LinkLost when it is down or gone."""


class TimedFrame:
    """A cyclic frame by the clock of this process, for interfaces without one."""

    def __init__(
        self,
        name: str,
        send: Callable[[Frame], Awaitable[None]],
        frame: Frame,
        period: float,
        count: int,
    ) -> None:
        self._name = name
        self._send = send
        self._frame = frame
        self._period = period
        self._count = count
        self._changed = asyncio.Event()
        self._warned = False
        self._task = asyncio.create_task(self._run(), name=name)

    def poll_ended(self) -> bool:
        return self._task.done()

    def update(self, frame: Frame) -> None:
        self._frame = frame
        self._changed.set()

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        sent = 1
        await self._out()
        while not self._count or sent < self._count:
            # missed frames are not sent later
            due = max(due + self._period, loop.time())
            await self._pause(due)
            await self._out()
            sent += 1

    async def _pause(self, due: float) -> None:
        """Wait until `due`; send at once what changes meanwhile."""
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
        except BusbarError as error:  # the next one may be sent again
            if not self._warned:
                log.warning("%s: %s", self._name, error)
            self._warned = True


async def readable(fd: int) -> None:
    """Wait until a file can be read."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, _set_done, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def writable(fd: int, timeout: float) -> None:
    """Wait until a file can be written, at most `timeout` s."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _set_done, ready)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await ready
    finally:
        loop.remove_writer(fd)


def _set_done(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
