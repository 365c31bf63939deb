"""Interfaces of python-can: a reader thread for each, a bounded ring to the event loop.

Frames that the loop does not fetch in time are counted: python-can's own reader loses
them silently (its issue 1291), and its notifier dies of an exception of a driver (907).
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import can

from busbar.bridge.errors import BadRequest, LinkLost, Overloaded
from busbar.codecs.can import (
    BRS,
    ERROR,
    ESI,
    EXTENDED,
    FD,
    REMOTE,
    SENT,
    Frame,
    Mask,
    accepts,
)
from can_bridge.interfaces.interface import Health

RING = 50_000  # frames, about 10 MB: six seconds at 8000 a second
LOOK = 0.1  # s in which the reader notices that it must end
FULL_PAUSE = 0.005  # s until another attempt when the driver's queue is full
_STATES = {
    can.BusState.ACTIVE: "active",
    can.BusState.PASSIVE: "passive",
    can.BusState.ERROR: "off",
}
# drivers whose state is what they were set to, not that of the controller
_STATE_AS_SET = ("PcanBus", "UcanBus")
# options that keep a driver passive
_LISTEN_ONLY: Mapping[str, Mapping[str, Any]] = {
    "pcan": {"state": can.BusState.PASSIVE},
    "systec": {"state": can.BusState.PASSIVE},
    "kvaser": {"driver_mode": False},
    "vector": {"listen_only": True},
    "nixnet": {"listen_only": True},
    "seeedstudio": {"operation_mode": "silent"},
}
# s; a smaller time stamp counts from the start of the driver, which we do not know
_EPOCH = 1e9
_GRACE = 0.5  # s that the driver may take beyond its time-out


class PythonCan:
    """One interface of python-can."""

    echoes = False
    skipped = refused = 0

    def __init__(
        self,
        bus: can.BusABC,
        send_timeout: float,
        bitrate: int | None,
        ring: int = RING,
    ) -> None:
        self.dropped = 0
        self._bus = bus
        self._timeout = send_timeout
        self._bitrate = bitrate
        self._limit = ring
        self._ring: deque[Frame] = deque()
        self._masks: Sequence[Mask] | None = None
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._asleep = False
        self._error: Exception | None = None
        self._ending = threading.Event()
        self._sender = ThreadPoolExecutor(1, "can-send")
        self._reader = threading.Thread(target=self._read, name="can-read", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Fetch frames, in the thread."""
        try:
            while not self._ending.is_set():
                message = self._bus.recv(LOOK)
                if message is None:
                    continue
                frame = frame_of(message)
                if accepts(self._masks, frame):
                    self._put(frame)
        except Exception as error:
            # a foreign driver may raise anything; `receive` raises it
            self._error = error
            self._wake()

    def _put(self, frame: Frame) -> None:
        if len(self._ring) >= self._limit:
            self._ring.popleft()
            self.dropped += 1
        self._ring.append(frame)
        if self._asleep:
            self._wake()

    def _wake(self) -> None:
        self._asleep = False
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._ready.set)

    async def receive(self) -> Sequence[Frame]:
        while not self._ring:
            self._ready.clear()
            # from here on the thread wakes us; it may have put something in just before
            self._asleep = True
            if self._ring:
                break
            if self._error is not None:
                raise LinkLost(f"the driver failed: {self._error}") from self._error
            await self._ready.wait()
        self._asleep = False
        return [self._ring.popleft() for _ in range(len(self._ring))]

    async def send(self, frame: Frame) -> None:
        message = message_of(frame)
        deadline = self._loop.time() + self._timeout
        while True:
            try:
                await self._hand_over(message)
                return
            except (can.CanError, OSError) as error:
                if not _is_full(error):
                    raise LinkLost(f"the driver failed: {error}") from error
                if self._loop.time() >= deadline:
                    raise Overloaded(
                        f"the send queue has been full for {self._timeout:g} s: {error}"
                    ) from error
                await asyncio.sleep(FULL_PAUSE)

    async def _hand_over(self, message: can.Message) -> None:
        """Give the driver a frame; raise LinkLost, BadRequest, CanError or OSError."""
        try:
            async with asyncio.timeout(self._timeout + _GRACE):
                await self._loop.run_in_executor(
                    self._sender, self._bus.send, message, self._timeout
                )
        except TimeoutError as error:
            raise LinkLost(
                f"the driver did not take the frame within {self._timeout:g} s"
            ) from error
        except (can.CanError, OSError):
            raise
        except Exception as error:
            # a foreign driver may raise anything for what it cannot send
            raise BadRequest(
                f"the driver refuses the frame: {error or type(error).__name__}"
            ) from error

    def accept(self, masks: Sequence[Mask] | None) -> None:
        # python-can's own filters stop error frames, too, and cannot stop all
        self._masks = masks

    def cyclic(self, frame: Frame, period: float, count: int) -> None:
        """Return None: it has no clock."""

    async def health(self) -> Health:
        state = None
        driver = type(self._bus)
        # BusABC says "active" in any case
        tells = driver.state is not can.BusABC.state
        if tells and driver.__name__ not in _STATE_AS_SET:
            with contextlib.suppress(NotImplementedError, can.CanError, OSError):
                state = _STATES.get(self._bus.state)
        return Health(state, self._bitrate)

    def close(self) -> None:
        """End the threads and the bus; blocking, at most a few LOOKs."""
        self._ending.set()
        self._reader.join(10 * LOOK)
        self._sender.shutdown(wait=False, cancel_futures=True)
        _shut(self._bus)


@contextlib.asynccontextmanager
async def open_pythoncan(
    interface: str,
    channel: str,
    *,
    bitrate: int | None,
    data_bitrate: int | None,
    fd: bool,
    listen_only: bool,
    send_timeout: float,
    options: Mapping[str, Any],
    ring: int = RING,
) -> AsyncIterator[PythonCan]:
    """Open an interface; raise LinkLost with what the driver says."""
    known: dict[str, Any] = {
        "bitrate": bitrate,
        "data_bitrate": data_bitrate,
        "fd": fd or None,
    }
    if interface == "virtual":
        protocol = can.CanProtocol.CAN_FD if fd else can.CanProtocol.CAN_20
        known = {"protocol": protocol}
    given = {key: value for key, value in known.items() if value is not None}
    if listen_only:
        given |= _LISTEN_ONLY.get(interface, {})
    opened = await _open(interface, channel, {**given, **options})
    bus = PythonCan(opened, send_timeout, bitrate, ring)
    try:
        yield bus
    finally:
        await asyncio.to_thread(bus.close)


async def _open(interface: str, channel: str, options: Mapping[str, Any]) -> can.BusABC:
    """Open the driver in a thread; raise LinkLost.

    If the caller has been cancelled meanwhile, the driver is closed again.
    """
    number = int(channel) if channel.isdecimal() else channel
    opening = asyncio.ensure_future(
        asyncio.to_thread(can.Bus, channel=number, interface=interface, **options)
    )
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_shut_opened)
        raise
    except Exception as error:
        # a foreign driver may raise anything when it or its hardware is missing
        missing = isinstance(error, (NameError, ImportError, AttributeError))
        hint = "; is its driver installed?" if missing else ""
        what = error or type(error).__name__
        raise LinkLost(f"cannot open {interface} {channel}: {what}{hint}") from error


def _shut_opened(opening: "asyncio.Future[can.BusABC]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        _shut(opening.result())


def _is_full(error: Exception) -> bool:
    """True for an error of a driver whose send queue is full."""
    return isinstance(error, can.CanTimeoutError) or "full" in str(error).lower()


def _shut(bus: can.BusABC) -> None:
    # a foreign driver may raise anything; what it opened is gone or ends with us
    with contextlib.suppress(Exception):
        bus.shutdown()


def frame_of(message: can.Message) -> Frame:
    """Return a frame of python-can as ours."""
    flags = 0
    if message.is_extended_id:
        flags |= EXTENDED
    if message.is_fd:
        flags |= FD
    if message.bitrate_switch:
        flags |= BRS
    if message.error_state_indicator:
        flags |= ESI
    if message.is_error_frame:
        flags |= ERROR
    if not message.is_rx:
        flags |= SENT
    stamp = message.timestamp
    if stamp <= _EPOCH:
        stamp = time.time()
    stamp = round(stamp, 6)
    id_ = message.arbitration_id
    if message.is_remote_frame:
        return Frame(stamp, id_, flags | REMOTE, message.dlc, b"")
    data = bytes(message.data)
    return Frame(stamp, id_, flags, len(data), data)


def message_of(frame: Frame) -> can.Message:
    """Return a frame as python-can has it."""
    return can.Message(
        arbitration_id=frame.id,
        is_extended_id=bool(frame.flags & EXTENDED),
        is_remote_frame=bool(frame.flags & REMOTE),
        is_fd=bool(frame.flags & FD),
        bitrate_switch=bool(frame.flags & BRS),
        dlc=frame.length,
        data=None if frame.flags & REMOTE else frame.data,
    )
